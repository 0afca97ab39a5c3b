//! Kubernetes' protobuf: the inverse of [`crate::decode::protobuf`].
//!
//! Bytes are those that upstream's generated code writes: fields in the order of their numbers, with shortest varints;
//! what is no pointer, list or map in Go is written even when it is empty. Works on objects as they are stored, so what
//! does not fit its type is taken as absent. Absent: the order of work for lists, which is the caller's (see [`List`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schema::{Field, Part, Scalar, Shape, Type};

const MAGIC: &[u8] = b"k8s\0";
/// `contentEncoding` and `contentType` of an envelope, always empty.
const ENVELOPE_END: &[u8] = b"\x1a\x00\x22\x00";

const JSON_SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// A whole object: the envelope (`runtime.Unknown`) with the message in it.
pub fn object(value: &Value, api_version: &str, kind: &str, ty: Type<'_>) -> Vec<u8> {
    let mut raw = Vec::with_capacity(1024);
    message(value, ty, &mut raw);
    let mut out = Vec::with_capacity(raw.len() + 64);
    begin(api_version, kind, raw.len(), &mut out);
    out.extend_from_slice(&raw);
    out.extend_from_slice(ENVELOPE_END);
    out
}

/// The envelope up to its `length` raw bytes.
fn begin(api_version: &str, kind: &str, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    nested(1, out, |out| {
        bytes(1, api_version.as_bytes(), out);
        bytes(2, kind.as_bytes(), out);
    });
    tag(2, LENGTH, out);
    varint(length as u64, out);
}

/// The message of an object, without an envelope. Appends.
pub fn message(value: &Value, ty: Type<'_>, out: &mut Vec<u8>) {
    if let Value::Object(members) = value {
        write_struct(members, ty, out);
    }
}

/// A list that is put together from messages that exist already: its length must be known before its first item.
#[derive(Debug, Default)]
pub struct List {
    length: usize,
}

impl List {
    /// One more item of that length.
    pub fn count(&mut self, item: usize) {
        self.length += 1 + varint_length(item as u64) + item;
    }

    /// All that comes before the first item; `metadata` is the list's own.
    pub fn head(&self, api_version: &str, kind: &str, metadata: &Value, ty: Type<'_>) -> Vec<u8> {
        let mut meta = Vec::new();
        let own = ty.field("metadata").map(|(_, ty)| ty);
        nested(1, &mut meta, |out| {
            if let (Some(ty), Value::Object(members)) = (own, metadata) {
                write_struct(members, ty, out);
            }
        });
        let mut out = Vec::with_capacity(meta.len() + 64);
        begin(api_version, kind, meta.len() + self.length, &mut out);
        out.extend_from_slice(&meta);
        out
    }

    /// What comes before an item of that length.
    pub fn item_head(length: usize, out: &mut Vec<u8>) {
        tag(2, LENGTH, out);
        varint(length as u64, out);
    }

    /// What comes behind the last item.
    pub fn tail() -> &'static [u8] {
        ENVELOPE_END
    }
}

/// A frame of a stream: four bytes of length, and a `WatchEvent` around an object with its envelope.
pub fn event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 32);
    out.extend_from_slice(&[0; 4]);
    bytes(1, kind.as_bytes(), &mut out);
    nested(2, &mut out, |out| bytes(1, object, out));
    let length = u32::try_from(out.len() - 4).expect("objects are small");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
const LENGTH: u8 = 2;

pub(crate) fn tag(number: u16, wire: u8, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | u64::from(wire), out);
}

pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn number(number: u16, value: u64, out: &mut Vec<u8>) {
    tag(number, VARINT, out);
    varint(value, out);
}

pub(crate) fn bytes(number: u16, value: &[u8], out: &mut Vec<u8>) {
    tag(number, LENGTH, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// A field with a length that is known when it is written: one byte is kept for it, and what follows moves when it
/// needs more.
pub(crate) fn nested(number: u16, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    tag(number, LENGTH, out);
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    let more = varint_length(length as u64) - 1;
    if more > 0 {
        let end = out.len();
        out.resize(end + more, 0);
        out.copy_within(at + 1..end, at + 1 + more);
    }
    let mut value = length as u64;
    for byte in &mut out[at..at + more] {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    out[at + more] = value as u8;
}

fn write_struct(members: &Map<String, Value>, ty: Type<'_>, out: &mut Vec<u8>) {
    let Some(fields) = ty.fields() else {
        return;
    };
    for part in fields.message() {
        match part {
            Part::Own(i) => {
                let field = &fields.fields()[usize::from(*i)];
                let value = members.get(&*field.name).filter(|v| !v.is_null());
                write_field(value, field, ty.of(field), out);
            }
            Part::Embedded(i) => {
                if let Some((number, inner)) = ty.embedded().nth(usize::from(*i)) {
                    nested(number, out, |out| write_struct(members, inner, out));
                }
            }
        }
    }
}

fn write_field(value: Option<&Value>, field: &Field, ty: Type<'_>, out: &mut Vec<u8>) {
    let number = field.number;
    match (ty.shape(), value) {
        (Shape::List(item), Some(Value::Array(items))) if !ty.is_list_message() => {
            items
                .iter()
                .for_each(|value| write_value(number, value, item, out));
        }
        (Shape::Map(inner), Some(Value::Object(members))) => {
            for (key, value) in members {
                nested(number, out, |out| {
                    bytes(1, key.as_bytes(), out);
                    write_value(2, value, inner, out);
                });
            }
        }
        (Shape::List(_), Some(Value::Array(_))) => {
            write_value(number, value.unwrap_or(&Value::Null), ty, out);
        }
        (Shape::List(_) | Shape::Map(_), _) => {}
        (_, None) if field.pointer() || is_nil(ty) => {}
        (_, value) => write_value(number, value.unwrap_or(&Value::Null), ty, out),
    }
}

/// Scalars that are slices in Go, so that they can be nil without a pointer.
fn is_nil(ty: Type<'_>) -> bool {
    ty.is_scalar(Scalar::Bytes)
}

/// One value with its tag. `null` is the zero value.
fn write_value(field: u16, value: &Value, ty: Type<'_>, out: &mut Vec<u8>) {
    match ty.shape() {
        Shape::Struct(_) => nested(field, out, |out| message(value, ty, out)),
        Shape::List(item) => nested(field, out, |out| {
            let items = value.as_array().into_iter().flatten();
            items.for_each(|value| write_value(1, value, item, out));
        }),
        // Protobuf has no maps inside of lists or maps.
        Shape::Map(_) => {}
        Shape::Scalar(scalar) => write_scalar(field, value, scalar, ty, out),
    }
}

fn write_scalar(field: u16, value: &Value, scalar: Scalar, ty: Type<'_>, out: &mut Vec<u8>) {
    match scalar {
        Scalar::String => bytes(field, value.as_str().unwrap_or_default().as_bytes(), out),
        Scalar::Bool => number(field, u64::from(value.as_bool().unwrap_or_default()), out),
        // Negative numbers are sign-extended to 64 bits.
        Scalar::Int32 | Scalar::Int64 => {
            number(field, value.as_i64().unwrap_or_default() as u64, out);
        }
        Scalar::Uint32 | Scalar::Uint64 => number(field, value.as_u64().unwrap_or_default(), out),
        Scalar::Float64 => {
            tag(field, FIXED64, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Scalar::Bytes => {
            if let Some(text) = value.as_str() {
                bytes(field, &STANDARD.decode(text).unwrap_or_default(), out);
            }
        }
        Scalar::Quantity => nested(field, out, |out| bytes(1, quantity(value).as_bytes(), out)),
        Scalar::IntOrString => nested(field, out, |out| int_or_string(value, out)),
        Scalar::Time | Scalar::MicroTime => nested(field, out, |out| timestamp(value, scalar, out)),
        Scalar::Duration => nested(field, out, |out| {
            let nanos = value
                .as_str()
                .and_then(crate::time::duration_nanos)
                .unwrap_or_default();
            number(1, nanos as u64, out);
        }),
        Scalar::FieldsV1 | Scalar::Raw | Scalar::Json => nested(field, out, |out| {
            if !value.is_null() {
                bytes(1, &super::json(value, None), out);
            }
        }),
        Scalar::SchemaOrArray | Scalar::SchemaOrBool | Scalar::SchemaOrStrings => {
            nested(field, out, |out| json_schema(value, scalar, ty, out));
        }
    }
}

fn quantity(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "0".to_owned(),
    }
}

/// `type` 0 is a number in field 2, 1 a text in field 3; all three are always there.
fn int_or_string(value: &Value, out: &mut Vec<u8>) {
    let text = value.as_str();
    number(1, u64::from(text.is_some()), out);
    number(2, value.as_i64().unwrap_or_default() as u64, out);
    bytes(3, text.unwrap_or_default().as_bytes(), out);
}

/// Seconds and nanoseconds since 1970; no time is an empty message.
fn timestamp(value: &Value, scalar: Scalar, out: &mut Vec<u8>) {
    let Some(at) = value.as_str().and_then(|t| t.parse::<Timestamp>().ok()) else {
        return;
    };
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    number(1, seconds as u64, out);
    let micro = if scalar == Scalar::MicroTime {
        nanos / 1000 * 1000
    } else {
        0
    };
    number(2, micro as u64, out);
}

/// `allows` or a text list beside a schema; a schema or schemas.
fn json_schema(value: &Value, scalar: Scalar, ty: Type<'_>, out: &mut Vec<u8>) {
    let Some(props) = ty.model(JSON_SCHEMA) else {
        return;
    };
    let own = if scalar == Scalar::SchemaOrBool { 2 } else { 1 };
    match value {
        Value::Bool(allows) => number(1, u64::from(*allows), out),
        Value::Object(_) => {
            if scalar == Scalar::SchemaOrBool {
                number(1, 1, out);
            }
            write_value(own, value, props, out);
        }
        Value::Array(items) => items.iter().for_each(|item| match item {
            Value::String(text) => bytes(2, text.as_bytes(), out),
            item => write_value(2, item, props, out),
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
