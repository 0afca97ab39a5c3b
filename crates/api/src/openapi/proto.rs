//! OpenAPI documents in gnostic's protobuf, which clients written in Go read faster than JSON.
//!
//! Messages are tables (`OpenAPIv2.proto`, `OpenAPIv3.proto`); one walk over the JSON document writes either. What has a
//! free form (extensions, defaults) is kept as YAML text, of which JSON is a part.

mod v2;
mod v3;

use serde_json::Value;

use crate::encode::protobuf::{FIXED64, bytes, nested, number, tag};

/// How a member is written.
enum Kind {
    Text,
    Bool,
    Int,
    Double,
    /// Anything, as YAML.
    Any,
    Message(&'static Message),
    /// A message whose only field, of that number, is this.
    Inside(u16, &'static Kind),
    /// It depends on the value.
    By(fn(&Value) -> &'static Kind),
}

/// A message: fields in the order of their numbers.
struct Message {
    fields: &'static [(&'static str, u16, &'static Kind)],
    /// The field of `x-` members, as pairs of name and value.
    extensions: u16,
    /// The field of all other members, as pairs of name and value.
    named: Option<(u16, &'static Kind)>,
}

/// A v2 document.
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    whole(document, &v2::DOCUMENT)
}

/// A v3 document.
pub fn v3_protobuf(document: &Value) -> Vec<u8> {
    whole(document, &v3::DOCUMENT)
}

fn whole(document: &Value, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    write_message(document, message, &mut out);
    out
}

fn write_message(value: &Value, message: &Message, out: &mut Vec<u8>) {
    let Some(members) = value.as_object() else {
        return;
    };
    for (name, number, kind) in message.fields {
        match members.get(*name) {
            // Lists are repeated fields, but where free values are lists.
            Some(Value::Array(items)) if !matches!(kind, Kind::Any) => {
                items
                    .iter()
                    .for_each(|item| write(*number, item, kind, out));
            }
            Some(value) => write(*number, value, kind, out),
            None => {}
        }
    }
    let known = |name: &str| message.fields.iter().any(|(known, ..)| *known == name);
    for (name, value) in members.iter().filter(|(name, _)| !known(name)) {
        let (field, kind) = match (name.starts_with("x-"), message.named) {
            (true, _) if message.extensions != 0 => (message.extensions, &Kind::Any),
            (_, Some((field, kind))) => (field, kind),
            _ => continue,
        };
        nested(field, out, |out| {
            bytes(1, name.as_bytes(), out);
            write(2, value, kind, out);
        });
    }
}

fn write(field: u16, value: &Value, kind: &Kind, out: &mut Vec<u8>) {
    match kind {
        Kind::Text => {
            if let Some(text) = value.as_str() {
                bytes(field, text.as_bytes(), out);
            }
        }
        Kind::Bool => number(field, u64::from(value.as_bool() == Some(true)), out),
        Kind::Int => number(field, value.as_i64().unwrap_or_default() as u64, out),
        Kind::Double => {
            tag(field, FIXED64, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Kind::Any => nested(field, out, |out| {
            bytes(2, format!("{value}\n").as_bytes(), out)
        }),
        Kind::Message(message) => nested(field, out, |out| write_message(value, message, out)),
        Kind::Inside(inner, kind) => nested(field, out, |out| match value {
            Value::Array(items) => items.iter().for_each(|item| write(*inner, item, kind, out)),
            value => write(*inner, value, kind, out),
        }),
        Kind::By(choose) => write(field, value, choose(value), out),
    }
}

/// Whether a value only refers to another.
fn is_reference(value: &Value) -> bool {
    value.get("$ref").is_some()
}
