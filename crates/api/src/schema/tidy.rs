//! The members that an object has after a round trip through upstream's Go types and storage.
//!
//! Go leaves out what is empty and tagged `omitempty`, but never a struct that is not behind a pointer; it writes `null`,
//! `""` and `0` for everything else that was not set; and protobuf storage knows no difference between an empty and an
//! absent list. Whatever is stored or answered has passed [`tidy`].

use serde_json::{Map, Value};

use super::{Field, Scalar, Shape, Struct, Type};

/// Brings an object, which may have been changed by code, to the form in which it is stored. Idempotent. Only the
/// metadata of custom objects has a Go type.
pub fn tidy(value: &mut Value, ty: Type<'_>) {
    match ty.schema().is_custom() {
        true => tidy_metadata(value, false),
        false => walk(value, ty, false),
    }
}

fn tidy_metadata(value: &mut Value, keep_empty: bool) {
    let Some(metadata) = value.get_mut("metadata") else {
        return;
    };
    walk(metadata, crate::crd::metadata::object_meta(), keep_empty);
    if let Value::Object(members) = metadata
        && members.get("creationTimestamp").is_some_and(Value::is_null)
    {
        members.remove("creationTimestamp");
    }
}

/// [`tidy`], except that empty lists stay that Go would write: until it is stored, an empty list that was sent differs
/// from none, and its sender comes to own it.
pub fn complete(value: &mut Value, ty: Type<'_>) {
    match ty.schema().is_custom() {
        true => tidy_metadata(value, true),
        false => walk(value, ty, true),
    }
}

fn walk(value: &mut Value, ty: Type<'_>, keep_empty: bool) {
    match (ty.shape(), value) {
        (Shape::Struct(fields), Value::Object(members)) => {
            for field in fields.fields() {
                let slot = members.get_mut(&*field.name).map(|value| {
                    walk(value, ty.of(field), keep_empty);
                    value.take()
                });
                let value = match slot {
                    Some(value) if keep_empty && is_kept(field, &value) => Some(value),
                    slot => finish(field, ty.of(field), slot),
                };
                match (value, members.get_mut(&*field.name)) {
                    (Some(value), Some(place)) => *place = value,
                    (Some(value), None) => drop(members.insert(field.name.to_string(), value)),
                    (None, _) => drop(members.remove(&*field.name)),
                }
            }
        }
        (Shape::Map(inner), Value::Object(members)) => {
            members
                .values_mut()
                .for_each(|v| walk(v, inner, keep_empty));
        }
        (Shape::List(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|v| walk(v, inner, keep_empty));
        }
        _ => {}
    }
}

/// Whether an empty list survives until its object is stored.
pub(crate) fn is_kept(field: &Field, value: &Value) -> bool {
    !field.omit_empty() && value.as_array().is_some_and(Vec::is_empty)
}

/// What becomes of a member: `None` leaves it out.
pub(crate) fn finish(field: &Field, ty: Type<'_>, value: Option<Value>) -> Option<Value> {
    let value = value.filter(|v| !v.is_null());
    if field.pointer() {
        return match value {
            None if field.omit_empty() => None,
            None => Some(Value::Null),
            some => some,
        };
    }
    match (ty.shape(), value) {
        (Shape::Struct(fields), value) => {
            let value = value.unwrap_or_else(|| zero_struct(fields, ty));
            let zero = field.omit_zero() && value == zero_struct(fields, ty);
            (!zero).then_some(value)
        }
        (Shape::Scalar(scalar), value) if is_go_struct(scalar) => match value {
            None if field.omit_zero() => None,
            None => Some(zero_scalar(scalar)),
            some => some,
        },
        (Shape::Scalar(scalar), value) => {
            let zero = zero_scalar(scalar);
            let value = value.unwrap_or_else(|| zero.clone());
            match value == zero || is_empty(&value) {
                true if field.omit_empty() => None,
                true => Some(zero),
                false => Some(value),
            }
        }
        (Shape::List(_) | Shape::Map(_), value) => match value.filter(|v| !is_empty(v)) {
            None if field.omit_empty() => None,
            None => Some(Value::Null),
            some => some,
        },
    }
}

/// Types that are structs in Go and so are never empty.
fn is_go_struct(scalar: Scalar) -> bool {
    matches!(
        scalar,
        Scalar::Quantity
            | Scalar::IntOrString
            | Scalar::Time
            | Scalar::MicroTime
            | Scalar::Duration
            | Scalar::Raw
    )
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A scalar that was not set, as Go writes it.
pub(crate) fn zero_scalar(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String => Value::String(String::new()),
        Scalar::Bool => Value::Bool(false),
        Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 | Scalar::IntOrString => {
            Value::from(0)
        }
        Scalar::Float64 => Value::from(0),
        Scalar::Quantity => Value::from("0"),
        Scalar::Duration => Value::from("0s"),
        Scalar::Bytes
        | Scalar::Time
        | Scalar::MicroTime
        | Scalar::FieldsV1
        | Scalar::Raw
        | Scalar::Json
        | Scalar::SchemaOrArray
        | Scalar::SchemaOrBool
        | Scalar::SchemaOrStrings => Value::Null,
    }
}

/// A struct of which nothing was set, as Go writes it.
pub(crate) fn zero_struct(fields: &Struct, ty: Type<'_>) -> Value {
    let members = fields.fields().iter().filter_map(|field| {
        let value = finish(field, ty.of(field), None)?;
        Some((field.name.to_string(), value))
    });
    Value::Object(members.collect::<Map<_, _>>())
}
