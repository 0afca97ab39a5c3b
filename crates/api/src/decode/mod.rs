//! Bytes of a request to an object in its stored form.
//!
//! [`decode`] reads JSON, YAML 1.1 or Kubernetes' protobuf, checks that the document is of the kind that the endpoint
//! takes, and makes it conform to that kind's [`crate::schema`]. Errors are upstream's to the letter: [`DecodeError`]
//! prints the message of the 400 `Status`. Invariant: work and depth are bounded by the size of the body, which the
//! caller bounds. Absent: defaults and validation.

pub mod conform;
pub mod json;
pub mod node;
pub mod protobuf;
mod scalar;
pub mod yaml;

pub(crate) use crate::patch::duplicates;

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Value, json};

use self::conform::conform;
use self::node::Node;
use self::protobuf::Envelope;
use crate::resource::{GroupVersionKind, split_api_version};
use crate::schema::{Schema, Type};

/// The encodings of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Format {
    /// Of a `Content-Type`; parameters are ignored. An empty one means JSON.
    pub fn of(content_type: &str) -> Option<Format> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }
}

/// An object that a request sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// In its stored form, with `apiVersion` and `kind`.
    pub object: Value,
    /// What strict decoding complains of: `unknown field "spec.foo"`.
    pub strict: Vec<String>,
}

/// Why a body is no object of the expected kind. Prints upstream's message (400, BadRequest).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The kind could not be told.
    #[error(
        "the object provided is unrecognized (must be of type {expected}): {cause} ({summary})"
    )]
    Unrecognized {
        /// The kind that the endpoint takes.
        expected: String,
        /// What is wrong.
        cause: String,
        /// The start of the body.
        summary: String,
    },
    /// The kind is known, but the object is not of it.
    #[error("{kind} in version \"{version}\" cannot be handled as a {expected}: {cause}")]
    Unhandled {
        /// The kind that the body says.
        kind: String,
        /// The version that the body says.
        version: String,
        /// The kind that the endpoint takes.
        expected: String,
        /// What is wrong.
        cause: String,
    },
    /// Another version of the kind that the endpoint takes.
    #[error(
        "the API version in the data ({found}) does not match the expected API version ({expected})"
    )]
    Version {
        /// What the body says.
        found: String,
        /// What the endpoint takes.
        expected: String,
    },
}

/// Reads an object of the kind that an endpoint takes.
pub fn decode(
    body: &[u8],
    format: Format,
    expected: &GroupVersionKind,
    schema: &Schema,
) -> Result<Decoded, DecodeError> {
    let unrecognized = |cause: String| DecodeError::Unrecognized {
        expected: expected.kind.to_string(),
        cause,
        summary: summary(body),
    };
    match format {
        Format::Json => {
            let node = json::parse(body).map_err(|e| unrecognized(format!("{JSON_ERROR}{e}")))?;
            decode_node(&node, &[], expected, schema, &unrecognized)
        }
        Format::Yaml => {
            let yaml = yaml::parse(body).map_err(|e| unrecognized(e.to_string()))?;
            decode_node(
                &yaml.node,
                &Vec::from_iter(yaml.strict()),
                expected,
                schema,
                &unrecognized,
            )
        }
        Format::Protobuf => {
            let envelope = protobuf::open(body).map_err(|e| unrecognized(e.to_string()))?;
            decode_message(&envelope, expected, schema, &unrecognized)
        }
    }
}

const JSON_ERROR: &str = "couldn't get version/kind; json parse error: ";

/// What Go calls the struct that it reads `apiVersion` and `kind` into.
const TYPE_META: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

fn decode_node(
    node: &Node<'_>,
    strict: &[String],
    expected: &GroupVersionKind,
    schema: &Schema,
    unrecognized: &dyn Fn(String) -> DecodeError,
) -> Result<Decoded, DecodeError> {
    let found = find_kind(node, expected).map_err(unrecognized)?;
    let handled = |cause: String| unhandled(&found, expected, cause);
    let ty = type_of(&found, schema).map_err(handled)?;
    let conformed = conform(node, ty).map_err(|e| handled(e.to_string()))?;
    accept(&found, expected)?;
    let mut object = conformed.value;
    if let Value::Object(members) = &mut object {
        members.insert(
            "apiVersion".to_owned(),
            Value::String(found.api_version().into_owned()),
        );
        members.insert("kind".to_owned(), Value::String(found.kind.to_string()));
    }
    let mut all = strict.to_vec();
    all.extend(conformed.strict);
    Ok(Decoded {
        object,
        strict: all,
    })
}

/// A protobuf message says its kind in the envelope only.
fn decode_message(
    envelope: &Envelope<'_>,
    expected: &GroupVersionKind,
    schema: &Schema,
    unrecognized: &dyn Fn(String) -> DecodeError,
) -> Result<Decoded, DecodeError> {
    let meta = json!({"apiVersion": envelope.api_version, "kind": envelope.kind});
    let found = find_kind(&Node::from(&meta), expected).map_err(unrecognized)?;
    let ty = type_of(&found, schema).map_err(|cause| unhandled(&found, expected, cause))?;
    let mut object = protobuf::message(envelope.raw, ty)
        .map_err(|e| unhandled(&found, expected, e.to_string()))?;
    object["apiVersion"] = Value::from(found.api_version());
    object["kind"] = Value::from(&*found.kind);
    decode_node(&Node::from(&object), &[], expected, schema, unrecognized)
}

/// The error of strict decoding, for requests with `fieldValidation=Strict`.
pub fn strict_error(expected: &GroupVersionKind, strict: &[String]) -> DecodeError {
    unhandled(expected, expected, strict_text(strict))
}

/// `strict decoding error: …`
pub fn strict_text(strict: &[String]) -> String {
    format!("strict decoding error: {}", strict.join(", "))
}

fn unhandled(found: &GroupVersionKind, expected: &GroupVersionKind, cause: String) -> DecodeError {
    DecodeError::Unhandled {
        kind: found.kind.to_string(),
        version: found.version.to_string(),
        expected: expected.kind.to_string(),
        cause,
    }
}

/// What the document says of itself; what it leaves out is as the endpoint expects it.
fn find_kind(node: &Node<'_>, expected: &GroupVersionKind) -> Result<GroupVersionKind, String> {
    if !matches!(node, Node::Object(_) | Node::Null) {
        return Err(format!(
            "{JSON_ERROR}json: cannot unmarshal {} into Go value of type {TYPE_META}",
            node.go_word()
        ));
    }
    let text = |name: &str| match node.get(name) {
        None | Some(Node::Null) => Ok(""),
        Some(Node::String(text)) => Ok(&**text),
        Some(other) => Err(format!(
            "{JSON_ERROR}json: cannot unmarshal {} into Go struct field .{name} of type string",
            other.go_word()
        )),
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let mut found = expected.clone();
    if !kind.is_empty() {
        found.kind = Cow::Owned(kind.to_owned());
    }
    if !api_version.is_empty() && api_version != "/" {
        let (group, version) = split_api_version(api_version)
            .ok_or_else(|| format!("unexpected GroupVersion string: {api_version}"))?;
        found.group = Cow::Owned(group.to_owned());
        found.version = Cow::Owned(version.to_owned());
    }
    Ok(found)
}

fn type_of<'s>(found: &GroupVersionKind, schema: &'s Schema) -> Result<Type<'s>, String> {
    schema
        .kind(&found.group, &found.version, &found.kind)
        .ok_or_else(|| not_registered(found))
}

/// Upstream's text for a kind that its scheme does not know.
pub fn not_registered(found: &GroupVersionKind) -> String {
    format!(
        "no kind \"{}\" is registered for version \"{}\" in scheme \"pkg/runtime/scheme.go:111\"",
        found.kind,
        found.api_version()
    )
}

/// Refuses another kind or version than the endpoint's. DeleteOptions may have any: typed clients send the version of
/// what they delete.
fn accept(found: &GroupVersionKind, expected: &GroupVersionKind) -> Result<(), DecodeError> {
    if found.kind == "DeleteOptions" && expected.kind == "DeleteOptions" {
        return Ok(());
    }
    if found.kind != expected.kind
        || internal_package(&found.group) != internal_package(&expected.group)
    {
        return Err(unhandled(
            found,
            expected,
            unknown_conversion(found, expected),
        ));
    }
    if found != expected {
        let (found, expected) = (
            found.api_version().into_owned(),
            expected.api_version().into_owned(),
        );
        return Err(DecodeError::Version { found, expected });
    }
    Ok(())
}

/// Upstream's text when a known kind arrives where another one is expected.
pub fn unknown_conversion(found: &GroupVersionKind, expected: &GroupVersionKind) -> String {
    let (version, kind) = (&found.version, &found.kind);
    format!(
        "converting ({version}.{kind}) to ({}.{}): unknown conversion",
        internal_package(&expected.group),
        expected.kind
    )
}

/// The Go package of upstream's internal types of a group.
fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        other => other.split('.').next().unwrap_or(other),
    }
}

/// The start of a body as upstream shows it: text when it looks like JSON, else hexadecimal.
pub(crate) fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let (start, more) = match body.get(..SHOWN) {
        Some(start) if body.len() > SHOWN => (start, " ..."),
        _ => (body, ""),
    };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned() + more,
        Some(_) => {
            start.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").expect("writing to a String");
                text
            }) + more
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
