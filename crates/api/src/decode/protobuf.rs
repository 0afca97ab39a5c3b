//! Kubernetes' protobuf: `k8s\0`, then a `runtime.Unknown` whose raw bytes are the message of the kind.
//!
//! The schema table holds the numbers; wire types follow from the types: integers and bools are varints, floats are
//! fixed, everything else has a length. The result is the JSON that Go would write for the message, which then conforms
//! as any JSON does. Invariant: recursion is bounded by `MESSAGE_DEPTH_MAX`, work by the size of the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::json;
use crate::schema::{Field, Scalar, Shape, Type};
use crate::time;

/// How deep messages may nest: one makes at most two levels of JSON, as an item of a list or a value of a map.
const MESSAGE_DEPTH_MAX: usize = json::MAX_DEPTH / 2;

const MAGIC: &[u8] = b"k8s\0";

const JSON_SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The envelope's first bytes are wrong.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Magic,
    /// A length or varint reaches beyond the end.
    #[error("unexpected EOF")]
    End,
    /// A wire type that protobuf does not have.
    #[error("proto: illegal wireType {0}")]
    WireType(u64),
    /// A wire type that the field does not have.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    Field {
        /// What came.
        wire: u64,
        /// The JSON name of the field.
        field: String,
    },
    /// More than ten bytes of varint.
    #[error("proto: integer overflow")]
    Overflow,
    /// Messages nest too deep.
    #[error("exceeded max depth")]
    Depth,
    /// Raw JSON inside a message is none.
    #[error("{0}")]
    Json(String),
}

/// The envelope around a message.
#[derive(Debug, Default, PartialEq)]
pub struct Envelope<'b> {
    /// `apiVersion` of the object.
    pub api_version: String,
    /// `kind` of the object.
    pub kind: String,
    /// The message.
    pub raw: &'b [u8],
}

/// Opens the envelope.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let mut reader = Reader(body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?);
    let mut envelope = Envelope::default();
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader(meta);
                while let Some((number, wire)) = meta.tag()? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => envelope.api_version = lossy(text),
                        (2, Wire::Bytes(text)) => envelope.kind = lossy(text),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// A message of a type as JSON.
pub fn message(bytes: &[u8], ty: Type<'_>) -> Result<Value, ProtobufError> {
    let mut members = Map::new();
    read_struct(bytes, ty, &mut members, 0)?;
    Ok(Value::Object(members))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

enum Wire<'b> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32,
    Bytes(&'b [u8]),
}

impl Wire<'_> {
    fn number(&self) -> u64 {
        match self {
            Wire::Varint(_) => 0,
            Wire::Fixed64(_) => 1,
            Wire::Bytes(_) => 2,
            Wire::Fixed32 => 5,
        }
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// The next field; `None` at the end.
    fn tag(&mut self) -> Result<Option<(u64, Wire<'b>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.take(8)?.try_into().map_err(|_| ProtobufError::End)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::End)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed32)?,
            other => return Err(ProtobufError::WireType(other)),
        };
        Ok(Some((tag >> 3, wire)))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], ProtobufError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::End)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Overflow)
    }
}

fn read_struct(
    bytes: &[u8],
    ty: Type<'_>,
    members: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MESSAGE_DEPTH_MAX {
        return Err(ProtobufError::Depth);
    }
    let fields = ty.fields().map(|s| s.fields()).unwrap_or_default();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.tag()? {
        if let Some(field) = fields
            .iter()
            .find(|f| f.in_message() && u64::from(f.number) == number)
        {
            read_field(wire, field, ty.of(field), members, depth)?;
        } else if let Some((_, inner)) = ty.embedded().find(|(n, _)| u64::from(*n) == number) {
            let Wire::Bytes(bytes) = wire else { continue };
            read_struct(bytes, inner, members, depth + 1)?;
        }
    }
    Ok(())
}

fn read_field(
    wire: Wire<'_>,
    field: &Field,
    ty: Type<'_>,
    members: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let wrong = |wire: &Wire<'_>| ProtobufError::Field {
        wire: wire.number(),
        field: field.name.to_string(),
    };
    let member = || field.name.to_string();
    match ty.shape() {
        Shape::List(item) if !ty.is_list_message() => {
            let list = members
                .entry(member())
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else {
                return Ok(());
            };
            match wire {
                Wire::Bytes(packed) if is_varint(item) => {
                    let mut reader = Reader(packed);
                    while !reader.0.is_empty() {
                        list.push(
                            read_varint(reader.varint()?, item)
                                .ok_or_else(|| wrong(&Wire::Varint(0)))?,
                        );
                    }
                }
                wire => list.push(read(&wire, item, depth)?.ok_or_else(|| wrong(&wire))?),
            }
        }
        Shape::Map(value) => {
            let Wire::Bytes(entry) = wire else {
                return Err(wrong(&wire));
            };
            let (key, value) = read_entry(entry, value, depth)?;
            let map = members
                .entry(member())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        }
        _ => {
            let value = read(&wire, ty, depth)?.ok_or_else(|| wrong(&wire))?;
            members.insert(member(), value);
        }
    }
    Ok(())
}

fn read_entry(bytes: &[u8], ty: Type<'_>, depth: usize) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.tag()? {
        match (number, &wire) {
            (1, Wire::Bytes(text)) => key = lossy(text),
            (2, wire) => value = read(wire, ty, depth)?,
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        // An entry without a value holds the zero value.
        None => read(&Wire::Bytes(&[]), ty, depth)?
            .or_else(|| read_varint(0, ty))
            .unwrap_or(Value::Null),
    };
    Ok((key, value))
}

fn is_varint(ty: Type<'_>) -> bool {
    read_varint(0, ty).is_some()
}

fn read_varint(value: u64, ty: Type<'_>) -> Option<Value> {
    let Shape::Scalar(scalar) = ty.shape() else {
        return None;
    };
    // Negative numbers are sign-extended to 64 bits, so truncation restores them.
    Some(match scalar {
        Scalar::Bool => Value::Bool(value != 0),
        Scalar::Int32 => Value::from(value as i32),
        Scalar::Int64 => Value::from(value as i64),
        Scalar::Uint32 => Value::from(value as u32),
        Scalar::Uint64 => Value::from(value),
        _ => return None,
    })
}

/// One value; `None` when the wire type is not the type's.
fn read(wire: &Wire<'_>, ty: Type<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
    let bytes = match wire {
        Wire::Varint(value) => return Ok(read_varint(*value, ty)),
        Wire::Fixed64(bytes) => {
            let number = Number::from_f64(f64::from_le_bytes(*bytes));
            let float = matches!(ty.shape(), Shape::Scalar(Scalar::Float64));
            return Ok(float.then(|| number.map_or(Value::Null, Value::Number)));
        }
        Wire::Fixed32 => return Ok(None),
        Wire::Bytes(bytes) => *bytes,
    };
    match ty.shape() {
        Shape::Struct(_) => {
            let mut members = Map::new();
            read_struct(bytes, ty, &mut members, depth + 1)?;
            Ok(Some(Value::Object(members)))
        }
        // A message with `items = 1`.
        Shape::List(item) => {
            let (mut items, mut reader) = (Vec::new(), Reader(bytes));
            while let Some((number, wire)) = reader.tag()? {
                if number == 1 {
                    items.extend(read(&wire, item, depth + 1)?);
                }
            }
            Ok(Some(Value::Array(items)))
        }
        Shape::Map(_) => Ok(None),
        Shape::Scalar(scalar) => read_scalar(bytes, scalar, ty, depth),
    }
}

fn read_scalar(
    bytes: &[u8],
    scalar: Scalar,
    ty: Type<'_>,
    depth: usize,
) -> Result<Option<Value>, ProtobufError> {
    Ok(Some(match scalar {
        Scalar::String => Value::String(lossy(bytes)),
        Scalar::Bytes => Value::String(STANDARD.encode(bytes)),
        Scalar::Quantity => match first_bytes(bytes)? {
            Some(text) if !text.is_empty() => Value::String(lossy(text)),
            _ => Value::from("0"),
        },
        Scalar::IntOrString => int_or_string(bytes)?,
        Scalar::Time | Scalar::MicroTime => timestamp(bytes, scalar)?,
        Scalar::Duration => Value::String(format!("{}ns", varint_of(bytes, 1)? as i64)),
        Scalar::FieldsV1 | Scalar::Raw | Scalar::Json => match first_bytes(bytes)? {
            Some(raw) if !raw.is_empty() => json::parse(raw)
                .map_err(|e| ProtobufError::Json(e.to_string()))?
                .to_value(),
            _ => Value::Null,
        },
        Scalar::SchemaOrArray | Scalar::SchemaOrBool | Scalar::SchemaOrStrings => {
            json_schema(bytes, ty, depth)?
        }
        Scalar::Bool
        | Scalar::Int32
        | Scalar::Int64
        | Scalar::Uint32
        | Scalar::Uint64
        | Scalar::Float64 => return Ok(None),
    }))
}

/// The field 1 of a message, when it has a length.
fn first_bytes(bytes: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    let (mut reader, mut found) = (Reader(bytes), None);
    while let Some((number, wire)) = reader.tag()? {
        if let (1, Wire::Bytes(inner)) = (number, wire) {
            found = Some(inner);
        }
    }
    Ok(found)
}

fn varint_of(bytes: &[u8], wanted: u64) -> Result<u64, ProtobufError> {
    let (mut reader, mut found) = (Reader(bytes), 0);
    while let Some((number, wire)) = reader.tag()? {
        if let (true, Wire::Varint(value)) = (number == wanted, wire) {
            found = value;
        }
    }
    Ok(found)
}

/// `type` 0 is a number in field 2, 1 a text in field 3.
fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader(bytes);
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value as i32,
            (3, Wire::Bytes(value)) => text = lossy(value),
            _ => {}
        }
    }
    Ok(if is_text {
        Value::String(text)
    } else {
        Value::from(number)
    })
}

/// Seconds and nanoseconds since 1970; no bytes stand for no time.
fn timestamp(bytes: &[u8], scalar: Scalar) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (seconds, nanos) = (varint_of(bytes, 1)? as i64, varint_of(bytes, 2)? as i32);
    let text = match scalar {
        // Go's `time.Unix` takes any number of nanoseconds.
        Scalar::MicroTime => {
            let more = i64::from(nanos.div_euclid(1_000_000_000));
            let rest = nanos.rem_euclid(1_000_000_000);
            let at = Timestamp::new(seconds.saturating_add(more), rest);
            at.ok().map(time::format_micro)
        }
        // Fractions are not for `Time`.
        _ => Timestamp::from_second(seconds).ok().map(time::format),
    };
    Ok(text.map_or(Value::Null, Value::String))
}

/// `allows` or a text list beside a schema; a schema or schemas.
fn json_schema(bytes: &[u8], ty: Type<'_>, depth: usize) -> Result<Value, ProtobufError> {
    let (mut reader, mut allows, mut schema, mut list) = (Reader(bytes), false, None, Vec::new());
    let Some(props) = ty.model(JSON_SCHEMA) else {
        return Ok(Value::Null);
    };
    let or_bool = ty.is_scalar(Scalar::SchemaOrBool);
    while let Some((number, wire)) = reader.tag()? {
        match (number, &wire) {
            (1, Wire::Varint(value)) => allows = *value != 0,
            (2, Wire::Bytes(text)) if ty.is_scalar(Scalar::SchemaOrStrings) => {
                list.push(Value::String(lossy(text)))
            }
            (1, wire) => schema = read(wire, props, depth + 1)?,
            (2, wire) if or_bool => schema = read(wire, props, depth + 1)?,
            (2, wire) => list.extend(read(wire, props, depth + 1)?),
            _ => {}
        }
    }
    Ok(match schema {
        Some(schema) => schema,
        None if or_bool => Value::Bool(allows),
        None => Value::Array(list),
    })
}

#[cfg(test)]
mod tests;
