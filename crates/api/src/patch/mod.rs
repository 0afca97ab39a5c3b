//! Patches of three kinds: JSON patch, JSON merge patch and strategic merge patch.
//!
//! [`patch`] takes an object in its stored form, applies the patch, and makes the result conform to the object's type
//! again. Errors carry upstream's status codes and messages, odd as some are. Server-side apply, which shares the HTTP
//! verb, is in [`crate::apply`].

mod json;
mod merge;
mod order;
mod strategic;

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::crd::{self, Custom};
use crate::decode::conform::{self, conform_value};
use crate::decode::json::{SyntaxError, parse};
use crate::decode::node::Node;
use crate::decode::{Decoded, not_registered, strict_text, unknown_conversion};
use crate::encode;
use crate::resource::{GroupVersionKind, split_api_version};
use crate::schema::Type;

/// The kinds of patches, by content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 6902, `application/json-patch+json`.
    Json,
    /// RFC 7396, `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

impl Kind {
    /// Of a `Content-Type`; parameters are ignored.
    pub fn of(content_type: &str) -> Option<Kind> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Kind::Json),
            "application/merge-patch+json" => Some(Kind::Merge),
            "application/strategic-merge-patch+json" => Some(Kind::Strategic),
            _ => None,
        }
    }
}

/// Why a patch can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400, BadRequest: the patch itself is wrong.
    #[error("{0}")]
    Malformed(String),
    /// 422, Invalid, without details: a JSON patch does not fit the object.
    #[error("the server rejected our request due to an error in our request")]
    Rejected,
    /// 422, Invalid, with a cause for the field `patch`: the result is no object of the type.
    #[error("Invalid value: {}: {cause}", quote(.value))]
    Invalid {
        /// The result, or the patch, as text.
        value: String,
        /// What is wrong.
        cause: String,
    },
    /// 500: a strategic merge patch is wrong in a way that upstream did not foresee.
    #[error("{0}")]
    Internal(String),
    /// 413: too many operations.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooLarge {
        /// The bound.
        max: usize,
        /// What came.
        got: usize,
    },
}

/// The patched object before it is made to conform.
struct Patched {
    value: Value,
    /// What strict decoding of the patch itself complains of.
    strict: Vec<String>,
}

/// Applies a patch to an object of a type.
pub fn patch(kind: Kind, object: &Value, body: &[u8], ty: Type<'_>) -> Result<Decoded, PatchError> {
    match kind {
        Kind::Json => document(object, json::apply(object, body)?, ty),
        Kind::Merge => document(object, merge::apply(object, body)?, ty),
        Kind::Strategic => {
            let mut patch = parse_object(body)?;
            let shown = go_print(&patch.value);
            let mut value = strategic::apply(object, &mut patch.value, ty)?;
            // Upstream merges into the kind's Go type, which a patch can't change.
            for name in ["apiVersion", "kind"] {
                if let Some(own) = object.get(name) {
                    value[name] = own.clone();
                }
            }
            match conform_value(&value, ty) {
                Ok(conformed) => {
                    patch.strict.extend(conformed.strict);
                    Ok(Decoded {
                        object: conformed.value,
                        strict: patch.strict,
                    })
                }
                Err(error) => Err(PatchError::Invalid {
                    value: shown,
                    cause: restore_text(&error),
                }),
            }
        }
    }
}

/// Applies the operations of a JSON patch to any value, whatever comes of it.
pub fn operations(value: &Value, body: &[u8]) -> Result<Value, PatchError> {
    Ok(json::apply(value, body)?.value)
}

/// Applies a patch to an object of a custom resource, which must be of one of the first two kinds.
pub fn custom(
    kind: Kind,
    object: &Value,
    body: &[u8],
    custom: &Custom,
) -> Result<Decoded, PatchError> {
    let Patched { mut value, strict } = untyped(kind, object, body)?;
    let text = |value: &Value| String::from_utf8_lossy(&encode::json(value, None)).into_owned();
    let before = value.clone();
    let invalid = |cause: String| PatchError::Invalid {
        value: text(&before),
        cause,
    };
    if value
        .get("kind")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err(invalid(format!(
            "Object 'Kind' is missing in '{}'",
            text(&before)
        )));
    }
    let told = crd::decode::fit(&mut value, Some(&custom.schema), &custom.family);
    let mut all = strict;
    for text in told.map_err(invalid)? {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    Ok(Decoded {
        object: value,
        strict: all,
    })
}

fn untyped(kind: Kind, object: &Value, body: &[u8]) -> Result<Patched, PatchError> {
    match kind {
        Kind::Json => json::apply(object, body),
        Kind::Merge => merge::apply(object, body),
        Kind::Strategic => Err(PatchError::Internal("no merge keys".to_owned())),
    }
}

/// [`strict_error`] for [`custom`].
pub fn custom_strict_error(
    kind: Kind,
    object: &Value,
    body: &[u8],
    strict: &[String],
) -> PatchError {
    match untyped(kind, object, body) {
        Err(error) => error,
        Ok(patched) => PatchError::Invalid {
            value: String::from_utf8_lossy(&encode::json(&patched.value, None)).into_owned(),
            cause: strict_text(strict),
        },
    }
}

/// The error of strict decoding, for requests with `fieldValidation=Strict`.
pub fn strict_error(
    kind: Kind,
    object: &Value,
    body: &[u8],
    ty: Type<'_>,
    strict: &[String],
) -> PatchError {
    let value = match kind {
        Kind::Json => json::apply(object, body).map(|p| document_text(object, &p.value, ty)),
        Kind::Merge => merge::apply(object, body).map(|p| document_text(object, &p.value, ty)),
        Kind::Strategic => parse_object(body).map(|p| go_print(&p.value)),
    };
    value.map_or_else(
        |error| error,
        |value| PatchError::Invalid {
            value,
            cause: strict_text(strict),
        },
    )
}

fn document(object: &Value, patched: Patched, ty: Type<'_>) -> Result<Decoded, PatchError> {
    let Patched { value, mut strict } = patched;
    let conformed = check_kind(object, &value, ty)
        .and_then(|()| conform_value(&value, ty).map_err(|e| e.to_string()))
        .map_err(|cause| PatchError::Invalid {
            value: document_text(object, &value, ty),
            cause,
        })?;
    for text in conformed.strict {
        if !strict.contains(&text) {
            strict.push(text);
        }
    }
    Ok(Decoded {
        object: conformed.value,
        strict,
    })
}

/// A patch can't make an object one of another kind; the error is upstream's cause.
fn check_kind(old: &Value, new: &Value, ty: Type<'_>) -> Result<(), String> {
    let (Some(old), Some(new)) = (kind_of(old), kind_of(new)) else {
        return Ok(());
    };
    if old == new {
        return Ok(());
    }
    match ty.schema().kind(&new.group, &new.version, &new.kind) {
        Some(_) => Err(unknown_conversion(&new, &old)),
        None => Err(not_registered(&new)),
    }
}

fn kind_of(object: &Value) -> Option<GroupVersionKind> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let (group, version) = split_api_version(&api_version)?;
    let (group, version) = (group.to_owned().into(), version.to_owned().into());
    Some(GroupVersionKind {
        group,
        version,
        kind: kind.into(),
    })
}

/// The patched document as upstream shows it: what the patch touched is sorted, the rest is in the order of the types.
fn document_text(old: &Value, new: &Value, ty: Type<'_>) -> String {
    fn write(
        old: Option<&Value>,
        new: &Value,
        ty: Option<Type<'_>>,
        touched: bool,
        out: &mut Vec<u8>,
    ) {
        match new {
            Value::Object(members) if touched || old != Some(new) => {
                out.push(b'{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    encode::write(&Value::String(name.clone()), None, out);
                    out.push(b':');
                    let inner = ty.and_then(|ty| ty.descend(&[name]));
                    write(old.and_then(|old| old.get(name)), value, inner, false, out);
                }
                out.push(b'}');
            }
            other => encode::write(other, ty, out),
        }
    }
    let mut out = Vec::new();
    write(Some(old), new, Some(ty), true, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A patch that must be an object, with what strict decoding complains of.
fn parse_object(body: &[u8]) -> Result<Patched, PatchError> {
    let node = parse(body).map_err(|e: SyntaxError| PatchError::Malformed(e.to_string()))?;
    match &node {
        Node::Object(_) => Ok(Patched {
            value: node.to_value(),
            strict: duplicates(&node, ""),
        }),
        Node::Null => Ok(Patched {
            value: Value::Object(Default::default()),
            strict: Vec::new(),
        }),
        other => Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.go_word()
        ))),
    }
}

/// `duplicate field "a.b"` for every member that appears again.
pub(crate) fn duplicates(node: &Node<'_>, path: &str) -> Vec<String> {
    fn walk(
        node: &Node<'_>,
        path: &mut String,
        told: &mut HashSet<String>,
        found: &mut Vec<String>,
    ) {
        let length = path.len();
        match node {
            Node::Object(members) => {
                let mut names = HashSet::new();
                for (name, value) in members {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                    if !names.insert(name) && told.insert(path.clone()) {
                        found.push(format!("duplicate field \"{path}\""));
                    }
                    walk(value, path, told, found);
                    path.truncate(length);
                }
            }
            Node::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    write!(path, "[{i}]").expect("writing to a String");
                    walk(item, path, told, found);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(node, &mut path.to_owned(), &mut HashSet::new(), &mut found);
    found
}

/// The text of Go's converter from free objects, which has other words than its JSON decoder.
fn restore_text(error: &conform::Error) -> String {
    match error {
        conform::Error::Mismatch { value, kind, .. } => {
            let word = match value.split(' ').next().unwrap_or_default() {
                "object" => "map",
                "array" => "slice",
                "number" => "int64",
                other => other,
            };
            match *kind {
                "slice" => format!("cannot restore slice from {word}"),
                "map" => format!("cannot restore map from {word}"),
                "struct" => format!("cannot restore struct from: {word}"),
                scalar => format!("unrecognized type: {scalar}"),
            }
        }
        conform::Error::Text(text) => text.clone(),
    }
}

/// A value as Go's `%v` prints it.
pub(crate) fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(go_print).collect::<Vec<_>>().join(" ")
        ),
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(name, v)| format!("{name}:{}", go_print(v)))
                .collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// A text as Go's `%q` prints it, as far as JSON texts need it.
fn quote(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
            .replace('\t', "\\t")
    )
}

#[cfg(test)]
mod tests;
