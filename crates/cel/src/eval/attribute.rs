//! Selecting from values: fields, keys, positions, and whether they are there.

use crate::library::operators::plain;
use crate::value::{EvalError, Evaluated, List, Value};

/// What a key leads to.
pub enum Found<'a> {
    /// A value.
    Value(Value<'a>),
    /// The map or object has no such key.
    NoKey,
    /// The list is shorter.
    NoIndex,
    /// The value has no parts.
    NoParts,
}

/// Looks a key up in a value.
pub fn look_up<'a>(value: &Value<'a>, key: &Value<'_>) -> Result<Found<'a>, EvalError> {
    Ok(match value {
        Value::Map(map) => match map.find(key) {
            Some(found) => Found::Value(found?),
            None => Found::NoKey,
        },
        Value::List(list) => match element(list, key)? {
            Some(found) => Found::Value(found?),
            None => Found::NoIndex,
        },
        _ => Found::NoParts,
    })
}

/// The value of a key, or why there is none.
pub fn select<'a>(value: &Value<'a>, key: &Value<'_>) -> Evaluated<'a> {
    match look_up(value, key)? {
        Found::Value(found) => Ok(found),
        Found::NoIndex => Err(EvalError::Failed(format!(
            "index out of bounds: {}",
            plain(key)
        ))),
        Found::NoKey | Found::NoParts => {
            Err(EvalError::Failed(format!("no such key: {}", plain(key))))
        }
    }
}

fn element<'a>(list: &List<'a>, key: &Value<'_>) -> Result<Option<Evaluated<'a>>, EvalError> {
    let unsupported =
        || EvalError::Failed(format!("unsupported index value {} in list", plain(key)));
    let index = match key {
        Value::Int(index) => usize::try_from(*index).ok(),
        Value::Uint(index) => usize::try_from(*index).ok(),
        Value::Double(index) if index.fract() == 0.0 && index.abs() < 1e15 => {
            usize::try_from(*index as i64).ok()
        }
        Value::Double(_) => return Err(unsupported()),
        other => {
            let ty = other.ty().runtime_name();
            return Err(EvalError::Failed(format!(
                "unsupported index type '{ty}' in list"
            )));
        }
    };
    Ok(index.and_then(|index| list.get(index)))
}
