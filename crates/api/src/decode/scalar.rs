//! Scalars: what JSON a Go type takes, and how it comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::conform::Error;
use super::node::Node;
use crate::quantity::{self, Quantity};
use crate::schema::{Scalar, Type};
use crate::time;

/// The value that is stored for a node that is not null.
pub(super) fn convert(node: &Node<'_>, scalar: Scalar, ty: Type<'_>) -> Result<Value, Error> {
    match (scalar, node) {
        (Scalar::String, Node::String(text)) => Ok(Value::String(text.to_string())),
        (Scalar::Bool, Node::Bool(b)) => Ok(Value::Bool(*b)),
        (Scalar::Int32, Node::Number(text)) => integer::<i32>(text, ty),
        (Scalar::Int64, Node::Number(text)) => integer::<i64>(text, ty),
        (Scalar::Uint32, Node::Number(text)) => integer::<u32>(text, ty),
        (Scalar::Uint64, Node::Number(text)) => integer::<u64>(text, ty),
        (Scalar::Float64, Node::Number(text)) => float(text, ty),
        (Scalar::Bytes, Node::String(text)) => bytes(text),
        (Scalar::Quantity, node) => quantity(node),
        (Scalar::IntOrString, Node::String(text)) => Ok(Value::String(text.to_string())),
        (Scalar::IntOrString, Node::Number(text)) => match text.parse::<i32>() {
            Ok(i) => Ok(i.into()),
            Err(_) => Err(Error::builtin(format!("number {text}"), "int32")),
        },
        (Scalar::IntOrString, node) => Err(Error::builtin(node.go_word(), "int32")),
        (Scalar::Time, Node::String(text)) => time::canonical(text)
            .map(Value::String)
            .map_err(|e| Error::Text(e.to_string())),
        (Scalar::MicroTime, Node::String(text)) => time::canonical_micro(text)
            .map(Value::String)
            .map_err(|e| Error::Text(e.to_string())),
        (Scalar::Duration, Node::String(text)) => Ok(Value::String(text.to_string())),
        (Scalar::Time | Scalar::MicroTime | Scalar::Duration, node) => {
            Err(Error::builtin(node.go_word(), "string"))
        }
        (
            Scalar::FieldsV1
            | Scalar::Raw
            | Scalar::Json
            | Scalar::SchemaOrArray
            | Scalar::SchemaOrBool
            | Scalar::SchemaOrStrings,
            node,
        ) => Ok(node.to_value()),
        (_, node) => Err(Error::mismatch(node.go_word(), ty)),
    }
}

fn integer<T>(text: &str, ty: Type<'_>) -> Result<Value, Error>
where
    T: std::str::FromStr + Into<Number>,
{
    match text.parse::<T>() {
        Ok(i) => Ok(Value::Number(i.into())),
        Err(_) => Err(Error::mismatch(format!("number {text}"), ty)),
    }
}

/// Go writes a float without a fraction as an integer.
fn float(text: &str, ty: Type<'_>) -> Result<Value, Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match text.parse::<f64>() {
        Ok(f) if f.fract() == 0.0 && f.abs() <= EXACT => Ok(Value::from(f as i64)),
        Ok(f) if f.is_finite() => Ok(Number::from_f64(f).map_or(Value::Null, Value::Number)),
        _ => Err(Error::mismatch(format!("number {text}"), ty)),
    }
}

/// Go skips line breaks in base64 and names the first byte that it can't read.
fn bytes(text: &str) -> Result<Value, Error> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&joined) {
        Ok(data) => Ok(Value::String(STANDARD.encode(data))),
        Err(error) => Err(Error::Text(format!(
            "illegal base64 data at input byte {}",
            offset(&error, &joined)
        ))),
    }
}

fn offset(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            *at
        }
        // Go points at the start of the group of four that is not whole.
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
            text.len() / 4 * 4
        }
    }
}

/// Upstream takes the text between the quotes, or the whole literal: numbers are quantities too.
fn quantity(node: &Node<'_>) -> Result<Value, Error> {
    let parsed = match node {
        Node::String(text) => Quantity::parse(text.trim()),
        Node::Number(text) => Quantity::parse(text),
        Node::Null => Ok(Quantity::zero()),
        Node::Bool(_) | Node::Array(_) | Node::Object(_) => Err(quantity::ParseError::Format),
    };
    parsed
        .map(|q| Value::String(q.to_string()))
        .map_err(|e| Error::Text(e.to_string()))
}
