//! What a label selector is, and what it matches.

use crate::field::{self, Path};
use crate::names;
use serde_json::{Map, Value};
use std::fmt;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`
    NotEquals,
    /// `in`
    In,
    /// `notin`
    NotIn,
    /// The bare key.
    Exists,
    /// `!key`
    DoesNotExist,
    /// `>`
    GreaterThan,
    /// `<`
    LessThan,
}

/// One condition on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: Box<str>,
    operator: Operator,
    /// Sorted, without duplicates.
    values: Vec<Box<str>>,
}

fn invalid(path: &Path<'_>, value: &str, errors: Vec<String>) -> Option<field::Error> {
    match errors.is_empty() {
        true => None,
        false => Some(field::Error::invalid(path, value, errors.join("; "))),
    }
}

impl Requirement {
    /// A checked requirement; the errors are upstream's.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Result<Requirement, Vec<field::Error>> {
        let mut values: Vec<Box<str>> = values.into_iter().map(Into::into).collect();
        values.sort();
        values.dedup();
        let mut errors: Vec<field::Error> =
            invalid(&Path::root("key"), key, names::qualified_name(key))
                .into_iter()
                .collect();
        let path = Path::root("values");
        let shown = || Value::from(values.iter().map(|v| v.to_string()).collect::<Vec<_>>());
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.push(field::Error::invalid(
                    &path,
                    shown(),
                    "for 'in', 'notin' operators, values set can't be empty",
                ))
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals
                if values.len() != 1 =>
            {
                errors.push(field::Error::invalid(
                    &path,
                    shown(),
                    "exact-match compatibility requires one single value",
                ))
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.push(field::Error::invalid(
                    &path,
                    shown(),
                    "values set must be empty for exists and does not exist",
                ))
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                errors.push(field::Error::invalid(
                    &path,
                    shown(),
                    "for 'Gt', 'Lt' operators, exactly one value is required",
                ))
            }
            Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => {
                errors.push(field::Error::invalid(
                    &path.index(0),
                    &*values[0],
                    "for 'Gt', 'Lt' operators, the value must be an integer",
                ))
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            let at = path.index(i);
            errors.extend(invalid(&at.key(key), value, names::label_value(value)));
        }
        match errors.is_empty() {
            true => Ok(Requirement {
                key: key.into(),
                operator,
                values,
            }),
            false => Err(errors),
        }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|v| &**v)
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let contains = |value: &str| self.values.iter().any(|v| &**v == value);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(contains),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(contains),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let ours = value.and_then(|v| v.parse::<i64>().ok());
                let theirs = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (ours, theirs, self.operator) {
                    (Some(ours), Some(theirs), Operator::GreaterThan) => ours > theirs,
                    (Some(ours), Some(theirs), _) => ours < theirs,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let word = match self.operator {
            Operator::Exists => return f.write_str(key),
            Operator::DoesNotExist => return write!(f, "!{key}"),
            Operator::In => " in (",
            Operator::NotIn => " notin (",
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::GreaterThan => ">",
            Operator::LessThan => "<",
        };
        write!(f, "{key}{word}")?;
        for (i, value) in self.values.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{value}")?;
        }
        match self.operator {
            Operator::In | Operator::NotIn => f.write_str(")"),
            _ => Ok(()),
        }
    }
}

/// A condition on labels: all requirements hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    /// Sorted by key; `None` matches nothing.
    requirements: Option<Vec<Requirement>>,
}

impl LabelSelector {
    /// Matches every object.
    pub fn everything() -> LabelSelector {
        LabelSelector {
            requirements: Some(Vec::new()),
        }
    }

    /// Matches no object.
    pub fn nothing() -> LabelSelector {
        LabelSelector { requirements: None }
    }

    /// Of its parts.
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> LabelSelector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        LabelSelector {
            requirements: Some(requirements),
        }
    }

    /// Whether it matches whatever labels there are.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// The conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or(&[])
    }

    /// Whether labels match; `get` gives the value of a key.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .as_ref()
            .is_some_and(|all| all.iter().all(|r| r.matches(get(&r.key))))
    }

    /// Whether a map of labels matches; no map is an empty one.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// Whether an object's own labels match.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|m| m.get("labels"));
        self.matches(labels.and_then(Value::as_object))
    }
}

impl fmt::Display for LabelSelector {
    /// In the form that the parser reads; empty for everything and for nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements().iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}
