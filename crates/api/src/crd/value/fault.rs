//! What is wrong with one value, and where.

use std::fmt;

use serde_json::Value;

use crate::field::{self, Bad, Kind, quote};

#[derive(Clone, Copy)]
enum Step<'a> {
    /// A member that the schema names.
    Property(&'a str),
    /// Another member; upstream puts a dot before it even at the top.
    Additional(&'a str),
    Index(usize),
}

/// Where a value is, as a list on the stack.
#[derive(Clone, Copy)]
pub(super) struct At<'a>(Option<(&'a At<'a>, Step<'a>)>);

impl<'a> At<'a> {
    pub(super) const fn root() -> At<'a> {
        At(None)
    }

    pub(super) fn property(&'a self, name: &'a str) -> At<'a> {
        At(Some((self, Step::Property(name))))
    }

    pub(super) fn additional(&'a self, name: &'a str) -> At<'a> {
        At(Some((self, Step::Additional(name))))
    }

    pub(super) fn index(&'a self, index: usize) -> At<'a> {
        At(Some((self, Step::Index(index))))
    }

    /// Whether it is a member of the whole value.
    pub(super) fn is_top(&self) -> bool {
        matches!(self.0, Some((At(None), _)))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((parent, step)) = self.0 else {
            return Ok(());
        };
        parent.fmt(f)?;
        match step {
            Step::Property(name) if parent.0.is_none() => f.write_str(name),
            Step::Property(name) | Step::Additional(name) => write!(f, ".{name}"),
            Step::Index(i) => write!(f, "[{i}]"),
        }
    }
}

/// What a fault becomes as an error of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Code {
    /// It has no field.
    Plain,
    Type,
    Required,
    Enum(Vec<Value>),
    TooLong(i64),
    TooMany(i64),
    Other,
}

/// Something wrong.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    name: String,
    code: Code,
    value: Value,
    pub(super) message: String,
}

impl Fault {
    /// `NAME in body WHAT`
    pub(super) fn new(at: At<'_>, code: Code, value: Value, what: &str) -> Fault {
        let name = at.to_string();
        Fault {
            message: format!("{name} in body {what}"),
            name,
            code,
            value,
        }
    }

    /// A fault without a field.
    pub(super) fn plain(message: String) -> Fault {
        Fault {
            name: String::new(),
            code: Code::Plain,
            value: Value::Null,
            message,
        }
    }

    pub(super) fn error(self, place: Option<&field::Path<'_>>) -> field::Error {
        let base = place.map(ToString::to_string);
        let name = self.name.strip_prefix('.').unwrap_or(&self.name);
        let field = match (base, self.code == Code::Plain || name.is_empty()) {
            (None, true) => "<nil>".to_owned(),
            (Some(base), true) => base,
            (None, false) => name.to_owned(),
            (Some(base), false) => format!("{base}.{name}"),
        };
        let shown = match self.value {
            Value::Null => Value::from(""),
            value => value,
        };
        let error = |kind, value: Bad, detail: String| field::Error {
            kind,
            field: field.clone(),
            value,
            detail,
        };
        match self.code {
            Code::Required => error(Kind::Required, Bad::Omitted, String::new()),
            Code::Enum(allowed) => {
                let words: Vec<String> = allowed.iter().map(word).collect();
                let detail = format!("supported values: {}", words.join(", "));
                // Here an absent value is shown as such.
                let value = if shown == "" { Value::Null } else { shown };
                error(Kind::NotSupported, value.into(), detail)
            }
            Code::TooLong(max) => {
                let detail = format!("may not be more than {max} bytes");
                error(Kind::TooLong, Bad::Omitted, detail)
            }
            Code::TooMany(max) => {
                let noun = if max == 1 { "item" } else { "items" };
                let detail = format!("must have at most {max} {noun}");
                error(Kind::TooMany, shown.into(), detail)
            }
            Code::Type => error(Kind::TypeInvalid, shown.into(), self.message),
            Code::Plain | Code::Other => error(Kind::Invalid, shown.into(), self.message),
        }
    }
}

/// One of the supported values: all are shown as texts.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => quote(&other.to_string()),
    }
}

/// `must be of type TYPE: "found"`
pub(super) fn wrong_type(at: At<'_>, expected: &str, found: &str) -> Fault {
    let what = format!("must be of type {expected}: {}", quote(found));
    Fault::new(at, Code::Type, found.into(), &what)
}

/// A required member that is missing.
pub(super) fn required(at: At<'_>) -> Fault {
    Fault::new(at, Code::Required, Value::Null, "is required")
}

/// A member that `additionalProperties: false` excludes.
pub(super) fn forbidden(at: At<'_>, name: &str) -> Fault {
    let owner = at.to_string();
    Fault {
        message: format!("{owner}.{name} in body is a forbidden property"),
        name: owner,
        code: Code::Other,
        value: name.into(),
    }
}
