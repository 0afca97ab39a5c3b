//! Optional values. `or` and `orValue`, which need not look at their argument, are the evaluator's.

use super::{Native, failed, ok};
use crate::value::{Evaluated, Value};

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "optional.of" => |_, args| ok(Value::some(args.first()?.clone())),
        "optional.none" => |_, _| ok(Value::Optional(None)),
        "optional.ofNonZeroValue" => |_, args| {
            let value = args.first()?;
            ok(if is_zero(value) {
                Value::Optional(None)
            } else {
                Value::some(value.clone())
            })
        },
        "value" => |_, args| match args {
            [Value::Optional(Some(value))] => ok((**value).clone()),
            [Value::Optional(None)] => failed("optional.none() dereference"),
            _ => None,
        },
        "hasValue" => |_, args| match args {
            [Value::Optional(value)] => ok(Value::Bool(value.is_some())),
            _ => None,
        },
        "first" => |_, args| match args {
            [Value::List(list)] => Some(held(list.get(0))),
            _ => None,
        },
        "last" => |_, args| match args {
            [Value::List(list)] => Some(held(
                list.len().checked_sub(1).and_then(|last| list.get(last)),
            )),
            _ => None,
        },
        "optional.unwrap" | "unwrapOpt" => |_, args| match args {
            [Value::List(list)] => {
                let mut values = Vec::new();
                for value in list.iter() {
                    match value {
                        Ok(Value::Optional(Some(value))) => values.push((*value).clone()),
                        Ok(Value::Optional(None)) => {}
                        Ok(other) => return failed(format!("value {other:?} is not optional")),
                        Err(error) => return Some(Err(error)),
                    }
                }
                ok(Value::list(values))
            }
            _ => None,
        },
        _ => return None,
    })
}

fn held<'a>(value: Option<Evaluated<'a>>) -> Evaluated<'a> {
    Ok(match value {
        Some(value) => Value::some(value?),
        None => Value::Optional(None),
    })
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(nanos) => *nanos == 0,
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Optional(value) => value.is_none(),
        _ => false,
    }
}
