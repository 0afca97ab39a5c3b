//! `pattern.format(values)`, and its check when both are literals.

use crate::ast::{Expr, ExprKind, Literal};
use crate::check::Checked;
use crate::library::convert;
use crate::library::quote::{go_quote, go_quote_bytes};
use crate::source::Issues;
use crate::types::Type;
use crate::value::{EvalError, List, Value};

/// Digits behind the point unless the clause says otherwise.
const PRECISION: usize = 6;
/// The most digits behind the point; more would only cost memory.
const PRECISION_MAX: usize = 1000;

/// How a value is to be shown.
enum Clause {
    String,
    Decimal,
    Fixed(usize),
    Scientific(usize),
    Binary,
    Hex { upper: bool },
    Octal,
}

impl Clause {
    /// The error for a value of a type that the clause can't show.
    fn unfit(&self, ty: &str) -> String {
        let what = match self {
            Clause::String => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                 durations, and timestamps"
            }
            Clause::Decimal => "decimal clause can only be used on integers",
            Clause::Fixed(_) => "fixed-point clause can only be used on doubles",
            Clause::Scientific(_) => "scientific clause can only be used on doubles",
            Clause::Binary => "only integers and bools can be formatted as binary",
            Clause::Hex { .. } => {
                "only integers, byte buffers, and strings can be formatted as hex"
            }
            Clause::Octal => "octal clause can only be used on integers",
        };
        format!("{what}, was given {ty}")
    }

    fn takes(&self, ty: &Type) -> bool {
        match self {
            Clause::String => matches!(
                ty,
                Type::List(_)
                    | Type::Map(_)
                    | Type::Int
                    | Type::Uint
                    | Type::Double
                    | Type::Bool
                    | Type::String
                    | Type::Timestamp
                    | Type::Bytes
                    | Type::Duration
                    | Type::Type(_)
                    | Type::Null
            ),
            Clause::Decimal | Clause::Octal => matches!(ty, Type::Int | Type::Uint),
            Clause::Fixed(_) | Clause::Scientific(_) => matches!(ty, Type::Double | Type::String),
            Clause::Binary => matches!(ty, Type::Int | Type::Uint | Type::Bool),
            Clause::Hex { .. } => matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
        }
    }
}

/// Goes through a pattern: text goes to `literal`, each clause with its index to `show`.
fn walk<E: From<String>>(
    pattern: &str,
    count: usize,
    mut literal: impl FnMut(&str),
    mut show: impl FnMut(usize, Clause) -> Result<(), E>,
) -> Result<usize, E> {
    let mut rest = pattern;
    let mut index = 0;
    while let Some(at) = rest.find('%') {
        literal(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal("%");
            rest = after;
            continue;
        }
        if index >= count {
            return Err(format!("index {index} out of range").into());
        }
        if rest.is_empty() {
            return Err("unexpected end of string".to_owned().into());
        }
        let (clause, after) =
            clause(rest).map_err(|err| format!("could not parse formatting clause: {err}"))?;
        rest = after;
        show(index, clause)?;
        index += 1;
    }
    literal(rest);
    Ok(index)
}

fn clause(text: &str) -> Result<(Clause, &str), String> {
    let (precision, rest) = match text.strip_prefix('.') {
        None => (PRECISION, text),
        Some(after) => {
            let end = after.find(|c: char| !c.is_ascii_digit());
            let Some(end) = end else {
                return Err(
                    "error while parsing precision: could not find end of precision specifier"
                        .to_owned(),
                );
            };
            let digits = &after[..end];
            let precision = digits.parse().map_err(|_| {
                let quoted = go_quote(digits);
                format!(
                    "error while parsing precision: error while converting precision to integer: \
                     strconv.Atoi: parsing {quoted}: invalid syntax"
                )
            })?;
            (precision, &after[end..])
        }
    };
    let precision = precision.min(PRECISION_MAX);
    let c = rest.chars().next().unwrap_or('\0');
    let clause = match c {
        's' => Clause::String,
        'd' => Clause::Decimal,
        'f' => Clause::Fixed(precision),
        'e' => Clause::Scientific(precision),
        'b' => Clause::Binary,
        'x' => Clause::Hex { upper: false },
        'X' => Clause::Hex { upper: true },
        'o' => Clause::Octal,
        other => return Err(format!("unrecognized formatting clause \"{other}\"")),
    };
    Ok((clause, &rest[1..]))
}

impl From<String> for EvalError {
    fn from(text: String) -> EvalError {
        EvalError::Failed(text)
    }
}

/// Fills a pattern with values.
pub fn format(pattern: &str, values: &List<'_>) -> Result<String, EvalError> {
    let out = std::cell::RefCell::new(String::new());
    walk(
        pattern,
        values.len(),
        |text| out.borrow_mut().push_str(text),
        |index, clause| {
            let value = values
                .get(index)
                .unwrap_or_else(|| Err(EvalError::no_such_overload()))?;
            let shown = show(&clause, &value).map_err(|err| match err {
                EvalError::Failed(text) => {
                    EvalError::Failed(format!("error during formatting: {text}"))
                }
                other => other,
            })?;
            let mut out = out.borrow_mut();
            out.push_str(&shown);
            if out.len() > super::TEXT_MAX {
                Err(EvalError::CostLimit)
            } else {
                Ok(())
            }
        },
    )?;
    Ok(out.into_inner())
}

fn show(clause: &Clause, value: &Value<'_>) -> Result<String, EvalError> {
    let unfit = || EvalError::Failed(clause.unfit(&value.ty().runtime_name()));
    Ok(match (clause, value) {
        (Clause::String, value) => string(value)?.ok_or_else(unfit)?,
        (Clause::Decimal, Value::Int(value)) => value.to_string(),
        (Clause::Decimal, Value::Uint(value)) => value.to_string(),
        (Clause::Fixed(precision), value) => match double(value).ok_or_else(unfit)? {
            value if value.is_finite() => grouped(&format!("{value:.precision$}")),
            value => special(value),
        },
        (Clause::Scientific(precision), value) => match double(value).ok_or_else(unfit)? {
            value if value.is_finite() => scientific(value, *precision),
            value => special(value),
        },
        (Clause::Binary, Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        (Clause::Binary, Value::Uint(value)) => format!("{value:b}"),
        (Clause::Binary, Value::Bool(value)) => u8::from(*value).to_string(),
        (Clause::Octal, Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        (Clause::Octal, Value::Uint(value)) => format!("{value:o}"),
        (Clause::Hex { upper }, value) => {
            let shown = match value {
                Value::Int(value) => signed(*value, |value| format!("{value:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => hex(text.as_bytes()),
                Value::Bytes(bytes) => hex(bytes),
                _ => return Err(unfit()),
            };
            if *upper { shown.to_uppercase() } else { shown }
        }
        _ => return Err(unfit()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed(value: i64, show: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", show(value.unsigned_abs()))
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            convert::parse_float(text)
        }
        _ => None,
    }
}

fn special(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "∞",
        _ => "-∞",
    }
    .to_owned()
}

/// The digits before the point in groups of three, as the locale en_US has it.
fn grouped(number: &str) -> String {
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", number),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// `1.234500×10⁰²`, as the locale en_US has it.
fn scientific(value: f64, precision: usize) -> String {
    let shown = format!("{value:.precision$e}");
    let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let raised: String = format!("{:02}", exponent.abs())
        .chars()
        .map(|digit| {
            ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize - '0' as usize]
        })
        .collect();
    let sign = if exponent < 0 { "⁻" } else { "" };
    format!("{digits}×10{sign}{raised}")
}

/// What `%s` shows; none for values that it does not take.
fn string(value: &Value<'_>) -> Result<Option<String>, EvalError> {
    Ok(match value {
        Value::List(_) | Value::Map(_) => Some(nested(value)?),
        Value::String(text) => Some(text.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Type(ty) => Some(ty.runtime_name()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(_) => {
                let text = "could not convert argument \"invalid UTF-8 in bytes, cannot convert to string\" to string";
                return Err(EvalError::failed(text));
            }
        },
        Value::Opaque(_) => None,
        other => convert::to_text(other),
    })
}

/// What a value within a list or map looks like.
fn nested(value: &Value<'_>) -> Result<String, EvalError> {
    Ok(match value {
        Value::List(list) => {
            let mut parts = Vec::with_capacity(list.len());
            for element in list.iter() {
                parts.push(nested(&element?)?);
            }
            format!("[{}]", parts.join(", "))
        }
        Value::Map(map) => {
            let mut parts = Vec::new();
            for key in map.keys() {
                let shown = match &key {
                    Value::String(text) => go_quote(text),
                    Value::Bool(_) | Value::Int(_) | Value::Uint(_) => {
                        convert::to_text(&key).unwrap_or_default()
                    }
                    other => {
                        let ty = other.ty().runtime_name();
                        return Err(EvalError::failed(format!(
                            "no formatting function for map key of type {ty}"
                        )));
                    }
                };
                let found = map
                    .find(&key)
                    .unwrap_or_else(|| Err(EvalError::no_such_overload()))?;
                parts.push((shown, nested(&found)?));
            }
            parts.sort();
            let parts: Vec<String> = parts
                .into_iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::String(text) => go_quote(text),
        Value::Bytes(bytes) => format!("b{}", go_quote_bytes(bytes)),
        Value::Duration(nanos) => format!("duration({:?})", crate::value::time::seconds(*nanos)),
        Value::Timestamp(at) => format!("timestamp({:?})", at.to_string()),
        Value::Type(ty) => format!("type({})", ty.runtime_name()),
        Value::Double(value) if !value.is_finite() => go_quote(
            &convert::go_g(*value)
                .replace("Inf", "Infinity")
                .replace('+', ""),
        ),
        Value::Double(value) => format!("{value:.PRECISION$}"),
        Value::Null => "null".to_owned(),
        other => match convert::to_text(other) {
            Some(text) => text,
            None => {
                let ty = other.ty().runtime_name();
                return Err(EvalError::failed(format!(
                    "no formatting function for {ty}"
                )));
            }
        },
    })
}

/// An error about a format call, at a node or at the call itself.
struct Wrong(Option<u32>, String);

impl From<String> for Wrong {
    fn from(text: String) -> Wrong {
        Wrong(None, text)
    }
}

/// Reports calls whose literal pattern does not fit their literal list.
pub fn validate_calls(checked: &Checked, calls: &[&Expr], issues: &mut Issues) {
    for call in calls {
        let ExprKind::Call {
            target: Some(target),
            function,
            args,
        } = &call.kind
        else {
            continue;
        };
        let (ExprKind::Literal(Literal::String(pattern)), [list]) = (&target.kind, args.as_slice())
        else {
            continue;
        };
        let ExprKind::List(elements) = &list.kind else {
            continue;
        };
        if function != "format" || !checked.overloads(call).contains(&"string_format") {
            continue;
        }
        let used = walk(
            pattern,
            elements.len(),
            |_| {},
            |index, clause| fits(checked, &clause, &elements[index].value),
        );
        match used {
            Ok(used) if elements.len() > used => issues.report(
                call.at,
                format!(
                    "too many arguments supplied to string.format (expected {used}, got {})",
                    elements.len()
                ),
            ),
            Ok(_) => {}
            Err(Wrong(at, text)) => issues.report(at.unwrap_or(call.at), text),
        }
    }
}

fn fits(checked: &Checked, clause: &Clause, expr: &Expr) -> Result<(), Wrong> {
    let ty = checked.ty(expr);
    if !ty.is_dyn() && !clause.takes(ty) {
        let text = clause.unfit(&ty.runtime_name());
        return Err(Wrong(
            Some(expr.at),
            format!("error during formatting: {text}"),
        ));
    }
    if !matches!(clause, Clause::String) {
        return Ok(());
    }
    match &expr.kind {
        ExprKind::List(elements) => elements
            .iter()
            .try_for_each(|element| fits(checked, clause, &element.value)),
        ExprKind::Map(entries) => entries.iter().try_for_each(|entry| {
            fits(checked, clause, &entry.key)?;
            fits(checked, clause, &entry.value)
        }),
        _ => Ok(()),
    }
}
