//! Conversions between types.

use super::{Native, failed, ok, text};
use crate::cost::Meter;
use crate::library::opaque::Opaque;
use crate::types::Type;
use crate::value::time::{self, Timestamp};
use crate::value::{Evaluated, Value};

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "int" => int,
        "uint" => uint,
        "double" => double,
        "string" => string,
        "bytes" => bytes,
        "bool" => bool_,
        "duration" => duration,
        "timestamp" => timestamp,
        "dyn" => |_, args| args.first().cloned().map(Ok),
        "type" => |_, args| ok(Value::Type(args.first()?.ty())),
        _ => return None,
    })
}

/// The error of a conversion that the text does not allow.
fn no_conversion<'a>(to: &Type) -> Option<Evaluated<'a>> {
    failed(format!(
        "type conversion error from 'string' to '{}'",
        to.runtime_name()
    ))
}

fn int<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Int(value)] => ok(Value::Int(*value)),
        [Value::Uint(value)] => match i64::try_from(*value) {
            Ok(value) => ok(Value::Int(value)),
            Err(_) => failed("integer overflow"),
        },
        [Value::Double(value)] => {
            // The bounds themselves are left out: they may have been rounded.
            let fits = value.is_finite() && *value > i64::MIN as f64 && *value < i64::MAX as f64;
            if fits {
                ok(Value::Int(*value as i64))
            } else {
                failed("integer overflow")
            }
        }
        [Value::String(text)] => match parse_int(text) {
            Some(value) => ok(Value::Int(value)),
            None => no_conversion(&Type::Int),
        },
        [Value::Timestamp(at)] => ok(Value::Int(at.seconds())),
        [Value::Duration(nanos)] => ok(Value::Int(*nanos)),
        _ => None,
    }
}

/// Go's `ParseInt(text, 10, 64)`.
fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn uint<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Uint(value)] => ok(Value::Uint(*value)),
        [Value::Int(value)] => match u64::try_from(*value) {
            Ok(value) => ok(Value::Uint(value)),
            Err(_) => failed("unsigned integer overflow"),
        },
        [Value::Double(value)] => {
            let fits = value.is_finite() && *value >= 0.0 && *value < u64::MAX as f64;
            if fits {
                ok(Value::Uint(*value as u64))
            } else {
                failed("unsigned integer overflow")
            }
        }
        [Value::String(text)] => match text.parse().ok().filter(|_| !text.starts_with('+')) {
            Some(value) => ok(Value::Uint(value)),
            None => no_conversion(&Type::Uint),
        },
        _ => None,
    }
}

fn double<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Double(value)] => ok(Value::Double(*value)),
        [Value::Int(value)] => ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => ok(Value::Double(*value as f64)),
        [Value::String(text)] => match parse_float(text) {
            Some(value) => ok(Value::Double(value)),
            None => no_conversion(&Type::Double),
        },
        _ => None,
    }
}

/// Go's `ParseFloat(text, 64)`, without hexadecimal and underscores.
pub fn parse_float(text: &str) -> Option<f64> {
    let bare = text.trim_start_matches(['+', '-']);
    if text.len() - bare.len() > 1 {
        return None;
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match bare.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(sign * f64::INFINITY),
        "nan" if text.len() == 3 => return Some(f64::NAN),
        _ => {}
    }
    let value: f64 = bare.parse().ok()?;
    (bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') && value.is_finite())
        .then_some(sign * value)
}

fn string<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [value] = args else { return None };
    match value {
        Value::String(_) => ok(value.clone()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(valid) => text(valid.to_owned()),
            Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        other => to_text(other).map(|shown| Ok(Value::string(shown))),
    }
}

/// The text of a scalar.
pub fn to_text(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => go_g(*value),
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(nanos) => time::seconds(*nanos),
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Ip(ip) => ip.to_string(),
            Opaque::Cidr(cidr) => cidr.to_string(),
            _ => return None,
        },
        _ => return None,
    })
}

/// Go's `%g` with the shortest digits.
pub fn go_g(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

fn bytes<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Bytes(_)] => args.first().cloned().map(Ok),
        [Value::String(text)] => ok(Value::Bytes(text.as_bytes().into())),
        _ => None,
    }
}

fn bool_<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Bool(value)] => ok(Value::Bool(*value)),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => ok(Value::Bool(false)),
            _ => no_conversion(&Type::Bool),
        },
        _ => None,
    }
}

fn duration<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Duration(nanos)] => ok(Value::Duration(*nanos)),
        [Value::String(text)] => match time::parse_duration(text) {
            Some(nanos) => ok(Value::Duration(nanos)),
            None => no_conversion(&Type::Duration),
        },
        _ => None,
    }
}

fn timestamp<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Timestamp(at)] => ok(Value::Timestamp(*at)),
        [Value::Int(seconds)] => match Timestamp::from_seconds(*seconds) {
            Some(at) => ok(Value::Timestamp(at)),
            None => failed("timestamp overflow"),
        },
        [Value::String(text)] => match time::parse_timestamp(text) {
            Some(at) => ok(Value::Timestamp(at)),
            None => no_conversion(&Type::Timestamp),
        },
        _ => None,
    }
}
