//! From JSON to values and back.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{EvalError, Evaluated, List, Map, Members, Text, Value, time};
use crate::schema::{Decl, ListKind, Shape};

/// What is said about JSON that nothing is said about.
static DYNAMIC: Decl = Decl {
    shape: Shape::Dyn,
    max_elements: u64::MAX,
    min_size: 1,
    nullable: true,
};

impl<'a> Value<'a> {
    /// JSON as it is: objects are maps, whole numbers are integers.
    pub fn dynamic(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Value::Int(value),
                (None, Some(value)) => Value::Double(value),
                (None, None) => Value::Null,
            },
            Json::String(text) => Value::text(text),
            Json::Array(elements) => Value::List(List::Json(elements, &DYNAMIC, &ListKind::Atomic)),
            Json::Object(members) => Value::Map(Map::Json(members, Members::Dynamic)),
        }
    }

    /// JSON as a schema declares it.
    pub fn declared(json: &'a Json, decl: &'a Decl) -> Evaluated<'a> {
        if json.is_null() {
            if decl.nullable {
                return Ok(Value::Null);
            }
            return Err(EvalError::failed(
                "invalid data, got null for schema with nullable=false",
            ));
        }
        Ok(match &decl.shape {
            Shape::Dyn => Value::dynamic(json),
            Shape::IntOrString => match json {
                Json::String(text) => Value::text(text),
                Json::Number(number) if number.is_i64() => {
                    Value::Int(number.as_i64().unwrap_or_default())
                }
                _ => {
                    let text = "invalid data, expected XIntOrString value to be either a string or integer";
                    return Err(EvalError::failed(text));
                }
            },
            Shape::Bool => Value::Bool(json.as_bool().ok_or_else(|| expected("bool", json))?),
            Shape::Int => Value::Int(json.as_i64().ok_or_else(|| expected("int", json))?),
            Shape::Double => Value::Double(json.as_f64().ok_or_else(|| expected("float", json))?),
            Shape::String => Value::text(string(json)?),
            Shape::Bytes => {
                let text = string(json)?;
                let bytes = STANDARD.decode(text).map_err(|err| {
                    EvalError::failed(format!("Invalid byte formatted string {text}: {err}"))
                })?;
                Value::Bytes(bytes.into())
            }
            Shape::Duration => {
                let text = string(json)?;
                let nanos = time::parse_schema_duration(text);
                Value::Duration(nanos.ok_or_else(|| invalid("duration", text))?)
            }
            Shape::Date => {
                let text = string(json)?;
                Value::Timestamp(
                    time::parse_date(text).ok_or_else(|| invalid("date formatted string", text))?,
                )
            }
            Shape::DateTime => {
                let text = string(json)?;
                let at = time::parse_date_time(text);
                Value::Timestamp(at.ok_or_else(|| invalid("date-time formatted string", text))?)
            }
            Shape::List(element, kind) => match json {
                Json::Array(elements) => Value::List(List::Json(elements, element, kind)),
                _ => return Err(no_schema("an array", "array")),
            },
            Shape::Map(value) => match json {
                Json::Object(members) => Value::Map(Map::Json(members, Members::Values(value))),
                _ => return Err(no_schema("a map", "object")),
            },
            Shape::Object(object) => match json {
                Json::Object(members) => Value::Map(Map::Json(members, Members::Fields(object))),
                _ => return Err(no_schema("a map", "object")),
            },
        })
    }

    /// The value as JSON. Bytes become base64, times and durations text; what JSON can't say is an error.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        Ok(match self {
            Value::Null => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Uint(value) => (*value).into(),
            Value::Double(value) => (*value).into(),
            Value::String(text) => text.to_string().into(),
            Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Value::Duration(nanos) => time::seconds(*nanos).into(),
            Value::Timestamp(at) => at.to_string().into(),
            Value::List(List::Json(elements, ..)) => Json::Array(elements.to_vec()),
            Value::List(list) => {
                let elements: Result<Vec<Json>, EvalError> =
                    list.iter().map(|value| value?.to_json()).collect();
                Json::Array(elements?)
            }
            Value::Map(Map::Json(members, _)) => Json::Object((*members).clone()),
            Value::Map(map) => {
                let mut members = serde_json::Map::new();
                for key in map.keys() {
                    let Value::String(name) = &key else {
                        let text = format!("map key {key:?} is of type {}, not string", key.ty());
                        return Err(EvalError::failed(text));
                    };
                    if let Some(value) = map.find(&key) {
                        members.insert(name.to_string(), value?.to_json()?);
                    }
                }
                Json::Object(members)
            }
            Value::Optional(Some(value)) => value.to_json()?,
            Value::Unknown(json) => (*json).clone(),
            Value::Type(_) | Value::Opaque(_) | Value::Optional(None) => {
                let text = format!("type conversion error from '{}' to JSON", self.ty());
                return Err(EvalError::failed(text));
            }
        })
    }
}

/// A number as expressions write it.
pub fn double_literal(value: f64) -> String {
    if value.is_nan() {
        return "double(\"NaN\")".to_owned();
    }
    if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("double(\"{sign}Infinity\")");
    }
    let text = format!("{value}");
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

fn string(json: &Json) -> Result<&str, EvalError> {
    json.as_str().ok_or_else(|| expected("string", json))
}

fn invalid(what: &str, text: &str) -> EvalError {
    EvalError::failed(format!("Invalid {what} {text}"))
}

fn no_schema(what: &str, ty: &str) -> EvalError {
    EvalError::failed(format!(
        "invalid data, expected {what} for the provided schema with type={ty}"
    ))
}

fn expected(what: &str, json: &Json) -> EvalError {
    let got = match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    EvalError::failed(format!("invalid data, expected {what}, got {got}"))
}

impl<'a> From<Rc<str>> for Value<'a> {
    fn from(text: Rc<str>) -> Value<'a> {
        Value::String(Text::Shared(text))
    }
}
