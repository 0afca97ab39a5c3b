//! An object to bytes, as Go writes it.
//!
//! Members of structs come in the order of the Go types, so that answers are equal to upstream's to the byte; texts are
//! escaped as Go escapes them (`<` is `\u003c`).

pub mod protobuf;

use serde_json::{Map, Value};

use crate::schema::{Scalar, Shape, Type};

/// Compact JSON of an object; `ty` gives the order of members, without it they are sorted.
pub fn json(value: &Value, ty: Option<Type<'_>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write(value, ty, &mut out);
    out
}

/// Appends compact JSON.
pub fn write(value: &Value, ty: Option<Type<'_>>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            let element = ty.and_then(Type::element);
            list(items.iter(), out, (b'[', b']'), |item, out| {
                write(item, element, out)
            });
        }
        Value::Object(members) => object(members, ty, out),
    }
}

fn object(members: &Map<String, Value>, ty: Option<Type<'_>>, out: &mut Vec<u8>) {
    match ty.map(|ty| (ty, ty.shape())) {
        Some((ty, Shape::Struct(fields))) => {
            let known = fields.fields().iter().filter_map(|field| {
                let value = members.get(&*field.name)?;
                Some((&*field.name, value, Some(ty.of(field))))
            });
            let unknown = members
                .iter()
                .filter(|(name, _)| fields.field(name).is_none());
            let unknown = unknown.map(|(name, value)| (name.as_str(), value, None));
            list(known.chain(unknown), out, (b'{', b'}'), member);
        }
        Some((_, Shape::Map(inner))) => {
            list(
                members
                    .iter()
                    .map(|(name, value)| (name.as_str(), value, Some(inner))),
                out,
                (b'{', b'}'),
                member,
            );
        }
        Some((
            ty,
            Shape::Scalar(Scalar::SchemaOrArray | Scalar::SchemaOrBool | Scalar::SchemaOrStrings),
        )) => {
            object(
                members,
                ty.model(
                    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
                ),
                out,
            );
        }
        _ => list(
            members
                .iter()
                .map(|(name, value)| (name.as_str(), value, None)),
            out,
            (b'{', b'}'),
            member,
        ),
    }
}

fn member((name, value, ty): (&str, &Value, Option<Type<'_>>), out: &mut Vec<u8>) {
    string(name, out);
    out.push(b':');
    write(value, ty, out);
}

fn list<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    each: impl Fn(T, &mut Vec<u8>),
) {
    out.push(open);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(close);
}

/// Appends a text with Go's escapes.
fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let (length, escape): (usize, Option<&[u8]>) = match bytes[at] {
            b'"' => (1, Some(br#"\""#)),
            b'\\' => (1, Some(br"\\")),
            b'\n' => (1, Some(br"\n")),
            b'\r' => (1, Some(br"\r")),
            b'\t' => (1, Some(br"\t")),
            0x08 => (1, Some(br"\b")),
            0x0c => (1, Some(br"\f")),
            0..0x20 | b'<' | b'>' | b'&' => (1, Some(br"\u00")),
            // U+2028 and U+2029 would end a line in JavaScript.
            0xe2 if bytes[at..].starts_with(&[0xe2, 0x80, 0xa8]) => (3, Some(br"\u2028")),
            0xe2 if bytes[at..].starts_with(&[0xe2, 0x80, 0xa9]) => (3, Some(br"\u2029")),
            _ => (1, None),
        };
        if let Some(escape) = escape {
            out.extend_from_slice(&bytes[start..at]);
            out.extend_from_slice(escape);
            if escape == br"\u00" {
                out.push(HEX[usize::from(bytes[at] >> 4)]);
                out.push(HEX[usize::from(bytes[at] & 15)]);
            }
            start = at + length;
        }
        at += length;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use serde_json::json;

    #[test]
    fn members_come_in_the_order_of_the_go_types() {
        let value = json!({"data": {"b": "<&\u{2028} 😀 \t \u{0}\u{1f}", "a": "1"}, "metadata": {"uid": "u", "name": "esc"},
            "apiVersion": "v1", "kind": "ConfigMap", "extra": 1});
        let ty = Schema::builtin().kind("", "v1", "ConfigMap");
        let text = String::from_utf8(json(&value, ty)).expect("UTF-8");
        assert_eq!(
            text,
            "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"esc\",\"uid\":\"u\"},\
             \"data\":{\"a\":\"1\",\"b\":\"\\u003c\\u0026\\u2028 😀 \\t \\u0000\\u001f\"},\"extra\":1}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }
}
