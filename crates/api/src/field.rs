//! Errors about one field, rendered as upstream's `field.Error`.
//!
//! A [`Path`] is a list on the stack, made into text only when there is something wrong: validating a right object
//! allocates nothing for paths.

use crate::status::Cause;
use serde_json::Value;
use std::fmt;

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

/// Where a field is.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl<'a> Path<'a> {
    /// The first part of a path.
    pub const fn root(name: &'a str) -> Path<'a> {
        Path {
            parent: None,
            step: Step::Field(name),
        }
    }

    /// `parent.name`.
    pub const fn field(&'a self, name: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// `parent[i]`.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// `parent[key]`.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Key(key),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It must be there.
    Required,
    /// The value can't be.
    Invalid,
    /// It is not one of a list.
    NotSupported,
    /// It occurs twice.
    Duplicate,
    /// It must not be there (or change).
    Forbidden,
    /// Too many bytes.
    TooLong,
    /// Too many items.
    TooMany,
    /// It has the wrong type.
    TypeInvalid,
    /// It names something that does not exist.
    NotFound,
    /// The server's own fault.
    Internal,
}

impl Kind {
    /// `reason` of the cause in a `Status`.
    pub fn reason(self) -> &'static str {
        match self {
            Kind::Required => "FieldValueRequired",
            Kind::Invalid => "FieldValueInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
            Kind::NotFound => "FieldValueNotFound",
            Kind::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Kind::Required => "Required value",
            Kind::Invalid | Kind::TypeInvalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::Duplicate => "Duplicate value",
            Kind::Forbidden => "Forbidden",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::NotFound => "Not found",
            Kind::Internal => "Internal error",
        }
    }
}

/// The value that is shown in the text.
#[derive(Debug, Clone, PartialEq)]
pub enum Bad {
    /// None is shown.
    Omitted,
    /// Shown as JSON; a string with Go's quotes.
    Value(Value),
    /// Shown as it is: Go's marshalling of a struct that has no JSON names (`{"Type":"X","RollingUpdate":null}`).
    Text(String),
}

impl From<Value> for Bad {
    fn from(value: Value) -> Bad {
        Bad::Value(value)
    }
}

impl From<&Value> for Bad {
    fn from(value: &Value) -> Bad {
        Bad::Value(value.clone())
    }
}

impl From<Option<&Value>> for Bad {
    fn from(value: Option<&Value>) -> Bad {
        Bad::Value(value.cloned().unwrap_or(Value::Null))
    }
}

impl From<&str> for Bad {
    fn from(value: &str) -> Bad {
        Bad::Value(Value::from(value))
    }
}

impl From<String> for Bad {
    fn from(value: String) -> Bad {
        Bad::Value(Value::from(value))
    }
}

impl From<i64> for Bad {
    fn from(value: i64) -> Bad {
        Bad::Value(Value::from(value))
    }
}

/// Something wrong with a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// What is wrong.
    pub kind: Kind,
    /// Where.
    pub field: String,
    /// The value found there.
    pub value: Bad,
    /// More words; may be empty.
    pub detail: String,
}

impl Error {
    fn new(kind: Kind, path: &Path<'_>, value: Bad, detail: impl Into<String>) -> Error {
        Error {
            kind,
            field: path.to_string(),
            value,
            detail: detail.into(),
        }
    }

    /// It must be there.
    pub fn required(path: &Path<'_>, detail: impl Into<String>) -> Error {
        Error::new(Kind::Required, path, Bad::Omitted, detail)
    }

    /// The value can't be.
    pub fn invalid(path: &Path<'_>, value: impl Into<Bad>, detail: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, path, value.into(), detail)
    }

    /// It is not one of `supported` (shown in the order given).
    pub fn not_supported<T: AsRef<str>>(
        path: &Path<'_>,
        value: impl Into<Bad>,
        supported: &[T],
    ) -> Error {
        let mut detail = String::new();
        for (i, word) in supported.iter().enumerate() {
            detail.push_str(if i == 0 { "supported values: " } else { ", " });
            detail.push_str(&quote(word.as_ref()));
        }
        Error::new(Kind::NotSupported, path, value.into(), detail)
    }

    /// It occurs twice.
    pub fn duplicate(path: &Path<'_>, value: impl Into<Bad>) -> Error {
        Error::new(Kind::Duplicate, path, value.into(), "")
    }

    /// It must not be there (or change).
    pub fn forbidden(path: &Path<'_>, detail: impl Into<String>) -> Error {
        Error::new(Kind::Forbidden, path, Bad::Omitted, detail)
    }

    /// More than `max` bytes.
    pub fn too_long(path: &Path<'_>, max: usize) -> Error {
        Error::new(
            Kind::TooLong,
            path,
            Bad::Omitted,
            format!("may not be more than {max} bytes"),
        )
    }

    /// More than `max` items.
    pub fn too_many(path: &Path<'_>, found: usize, max: usize) -> Error {
        let noun = if max == 1 { "item" } else { "items" };
        Error::new(
            Kind::TooMany,
            path,
            Bad::Value(found.into()),
            format!("must have at most {max} {noun}"),
        )
    }

    /// It names something that does not exist.
    pub fn not_found(path: &Path<'_>, value: impl Into<Bad>) -> Error {
        Error::new(Kind::NotFound, path, value.into(), "")
    }

    /// The cause in a `Status`.
    pub fn cause(&self) -> Cause {
        Cause {
            reason: self.kind.reason().into(),
            message: self.body(),
            field: self.field.clone(),
        }
    }

    /// The text without the field.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        let shows_value = !matches!(
            self.kind,
            Kind::Required | Kind::Forbidden | Kind::TooLong | Kind::Internal
        );
        match &self.value {
            Bad::Value(value) if shows_value => {
                text.push_str(": ");
                text.push_str(&render(value));
            }
            Bad::Text(value) if shows_value => {
                text.push_str(": ");
                text.push_str(value);
            }
            _ => {}
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

pub(crate) fn render(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => escape_html(&other.to_string()),
    }
}

/// Go's encoder writes these three as escapes inside strings; outside of strings JSON never has them.
pub(crate) fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            c => out.push(c),
        }
    }
    out
}

/// A string as Go's `%q` shows it.
pub fn quote(text: &str) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_read_as_upstreams() {
        let spec = Path::root("spec");
        let ports = spec.field("ports");
        let port = ports.index(0);
        let node_port = port.field("nodePort");
        let table = [
            (
                Error::invalid(&node_port, 40000, "provided port is not in the valid range"),
                "spec.ports[0].nodePort: Invalid value: 40000: provided port is not in the valid range",
            ),
            (Error::required(&ports, ""), "spec.ports: Required value"),
            (
                Error::not_supported(&spec, "Foo", &["Cluster", "Local"]),
                r#"spec: Unsupported value: "Foo": supported values: "Cluster", "Local""#,
            ),
            (
                Error::invalid(&spec, json!({"a": "<"}), "no"),
                r#"spec: Invalid value: {"a":"\u003c"}: no"#,
            ),
            (
                Error::invalid(&spec, "a\u{7}b\"", "no"),
                r#"spec: Invalid value: "a\ab\"": no"#,
            ),
            (
                Error::too_many(&spec, 101, 100),
                "spec: Too many: 101: must have at most 100 items",
            ),
            (
                Error::forbidden(&spec.key("a/b"), "no"),
                "spec[a/b]: Forbidden: no",
            ),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
    }
}
