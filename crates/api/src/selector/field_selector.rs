//! The text form of field selectors: `metadata.name=a,spec.nodeName!=b`.

use std::fmt;

/// Why a text is no field selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFieldError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The part that is wrong.
        term: String,
    },
    /// A backslash stands before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: \\{0}")]
    Escape(char),
    /// A character that needs a backslash has none.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// For example `metadata.name`.
    pub field: String,
    /// What it is compared with.
    pub value: String,
    /// Whether it is `!=`.
    pub negated: bool,
}

/// A condition on fields, not yet checked against a resource (see [`FieldSelector::compile`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    /// All of them hold; in the order of the text.
    pub terms: Vec<FieldTerm>,
}

/// Splits at commas that have no backslash before them; empty parts are left out.
fn split_terms(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c: char| {
        let comma = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        comma
    })
    .filter(|part| !part.is_empty())
}

fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    let at = term.find(['!', '=']).and_then(|first| {
        // A `!` alone is a part of the name.
        term[first..]
            .char_indices()
            .map(|(i, _)| first + i)
            .find(|i| term[*i..].starts_with("!=") || term[*i..].starts_with('='))
    })?;
    let (field, rest) = term.split_at(at);
    let negated = rest.starts_with('!');
    let width = if negated || rest.starts_with("==") {
        2
    } else {
        1
    };
    Some((field, &rest[width..], negated))
}

fn unescape(value: &str) -> Result<String, ParseFieldError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(ParseFieldError::Escape(c)),
                None => return Err(ParseFieldError::Escape('\\')),
            },
            ',' | '=' => return Err(ParseFieldError::Unescaped(c)),
            c => out.push(c),
        }
    }
    Ok(out)
}

impl FieldSelector {
    /// Reads the text form; empty matches everything. The error has the text of upstream's 400.
    pub fn parse(text: &str) -> Result<FieldSelector, ParseFieldError> {
        let terms = split_terms(text)
            .map(|term| {
                let (field, value, negated) =
                    split_term(term).ok_or_else(|| ParseFieldError::Term {
                        selector: text.to_owned(),
                        term: term.to_owned(),
                    })?;
                Ok(FieldTerm {
                    field: field.to_owned(),
                    value: unescape(value)?,
                    negated,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(FieldSelector { terms })
    }

    /// The selector that matches one name.
    pub fn name(name: &str) -> FieldSelector {
        FieldSelector {
            terms: vec![FieldTerm {
                field: "metadata.name".to_owned(),
                value: name.to_owned(),
                negated: false,
            }],
        }
    }

    /// The name that an object must have to match, when there is one: such a list counts as that name for authorization.
    pub fn exact_name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// The value that a field must have to match, when there is one.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.field == field && !t.negated)
            .map(|t| &*t.value)
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}", term.field)?;
            for c in term.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
