//! Equality and order.

use std::cmp::Ordering;

use super::{EvalError, List, Map, Members, Value};
use crate::schema::ListKind;

/// How much comparing one evaluation may do, in elements.
pub struct Work(pub u64);

impl Work {
    fn step(&mut self) -> Result<(), EvalError> {
        self.0 = self.0.checked_sub(1).ok_or(EvalError::CostLimit)?;
        Ok(())
    }
}

/// Whether two values are equal. Values of different types are not, except numbers.
pub fn equal(one: &Value<'_>, two: &Value<'_>, work: &mut Work) -> Result<bool, EvalError> {
    work.step()?;
    Ok(match (one, two) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Bool(one), Value::Bool(two)) => one == two,
        (Value::String(one), Value::String(two)) => **one == **two,
        (Value::Bytes(one), Value::Bytes(two)) => one == two,
        (Value::Duration(one), Value::Duration(two)) => one == two,
        (Value::Timestamp(one), Value::Timestamp(two)) => one.nanos == two.nanos,
        (Value::Type(one), Value::Type(two)) => one.runtime_name() == two.runtime_name(),
        (Value::Optional(one), Value::Optional(two)) => match (one, two) {
            (Some(one), Some(two)) => equal(one, two, work)?,
            (None, None) => true,
            _ => false,
        },
        (Value::Opaque(one), Value::Opaque(two)) => {
            one.equal(two).ok_or_else(EvalError::no_such_overload)?
        }
        (Value::List(one), Value::List(two)) => lists(one, two, work)?,
        (Value::Map(one), Value::Map(two)) => maps(one, two, work)?,
        // Values that a schema declares refuse to be compared with others.
        (Value::List(List::Json(_, decl, _)), _)
            if !matches!(decl.shape, crate::schema::Shape::Dyn) =>
        {
            return Err(EvalError::no_such_overload());
        }
        (Value::Map(Map::Json(_, Members::Fields(_) | Members::Values(_))), _) => {
            return Err(EvalError::no_such_overload());
        }
        (Value::Unknown(one), Value::Unknown(two)) => one == two,
        _ => numbers(one, two) == Some(Ordering::Equal),
    })
}

fn lists(one: &List<'_>, two: &List<'_>, work: &mut Work) -> Result<bool, EvalError> {
    if one.len() != two.len() {
        return Ok(false);
    }
    match one {
        List::Json(_, _, ListKind::Set) => same_set(one, two, work),
        List::Json(_, _, ListKind::Map(keys)) => same_by_keys(one, two, keys, work),
        _ => {
            for (one, two) in one.iter().zip(two.iter()) {
                if !equal(&one?, &two?, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn same_set(one: &List<'_>, two: &List<'_>, work: &mut Work) -> Result<bool, EvalError> {
    let mut rest: Vec<Value<'_>> = two.iter().collect::<Result<_, _>>()?;
    for element in one.iter() {
        let element = element?;
        let mut found = None;
        for (index, other) in rest.iter().enumerate() {
            if equal(&element, other, work)? {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => rest.swap_remove(index),
            None => return Ok(false),
        };
    }
    Ok(true)
}

/// The values of an element's key fields.
pub fn key_of<'a>(
    element: &Value<'a>,
    keys: &[String],
) -> Result<Vec<Option<Value<'a>>>, EvalError> {
    let Value::Map(map) = element else {
        return Err(EvalError::no_such_overload());
    };
    keys.iter()
        .map(|key| {
            let escaped = crate::escape::escape(key).unwrap_or_else(|| key.clone());
            map.find(&Value::string(escaped)).transpose()
        })
        .collect()
}

/// Whether two elements have the same key.
pub fn same_key(
    one: &[Option<Value<'_>>],
    two: &[Option<Value<'_>>],
    work: &mut Work,
) -> Result<bool, EvalError> {
    for pair in one.iter().zip(two) {
        let same = match pair {
            (Some(one), Some(two)) => equal(one, two, work)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_by_keys(
    one: &List<'_>,
    two: &List<'_>,
    keys: &[String],
    work: &mut Work,
) -> Result<bool, EvalError> {
    let mut others = Vec::with_capacity(two.len());
    for other in two.iter() {
        let other = other?;
        others.push((key_of(&other, keys)?, other));
    }
    for element in one.iter() {
        let element = element?;
        let key = key_of(&element, keys)?;
        let mut matched = false;
        for (other_key, other) in &others {
            if same_key(&key, other_key, work)? {
                if !equal(&element, other, work)? {
                    return Ok(false);
                }
                matched = true;
            }
        }
        if !matched {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(one: &Map<'_>, two: &Map<'_>, work: &mut Work) -> Result<bool, EvalError> {
    if let (Map::Json(one, Members::Dynamic), Map::Json(two, Members::Dynamic)) = (one, two)
        && std::ptr::eq(*one, *two)
    {
        return Ok(true);
    }
    if let (Map::Made(one), Map::Made(two)) = (one, two)
        && one.0 != two.0
    {
        return Ok(false);
    }
    if one.len() != two.len() {
        return Ok(false);
    }
    for key in one.keys() {
        let (value, other) = match (one.find(&key), two.find(&key)) {
            (Some(value), Some(other)) => (value, other),
            (None, None) => continue,
            _ => return Ok(false),
        };
        if !equal(&value?, &other?, work)? {
            return Ok(false);
        }
    }
    undeclared_equal(one, two)
}

/// Whether members that the schema does not declare are the same JSON.
fn undeclared_equal(one: &Map<'_>, two: &Map<'_>) -> Result<bool, EvalError> {
    let Map::Json(members, Members::Fields(object)) = one else {
        return Ok(true);
    };
    for (name, value) in *members {
        let declared =
            crate::escape::escape(name).is_some_and(|name| object.fields.contains_key(&name));
        if declared {
            continue;
        }
        let Map::Json(others, _) = two else {
            return Err(EvalError::no_such_overload());
        };
        if others.get(name).is_some_and(|other| other != value) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The order of two numbers of any type; none, when one is no number or NaN.
fn numbers(one: &Value<'_>, two: &Value<'_>) -> Option<Ordering> {
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => Some(one.cmp(two)),
        (Value::Uint(one), Value::Uint(two)) => Some(one.cmp(two)),
        (Value::Int(one), Value::Uint(two)) => Some(i128::from(*one).cmp(&i128::from(*two))),
        (Value::Uint(one), Value::Int(two)) => Some(i128::from(*one).cmp(&i128::from(*two))),
        (Value::Double(one), Value::Double(two)) => one.partial_cmp(two),
        (Value::Double(one), Value::Int(two)) => double_with(*one, i128::from(*two)),
        (Value::Double(one), Value::Uint(two)) => double_with(*one, i128::from(*two)),
        (Value::Int(one), Value::Double(two)) => {
            double_with(*two, i128::from(*one)).map(Ordering::reverse)
        }
        (Value::Uint(one), Value::Double(two)) => {
            double_with(*two, i128::from(*one)).map(Ordering::reverse)
        }
        _ => None,
    }
}

fn double_with(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double >= 2f64.powi(65) {
        return Some(Ordering::Greater);
    }
    if double <= -2f64.powi(65) {
        return Some(Ordering::Less);
    }
    let floor = double.floor();
    Some((floor as i128).cmp(&whole).then(if double > floor {
        Ordering::Greater
    } else {
        Ordering::Equal
    }))
}

/// The order of two values.
pub fn compare(one: &Value<'_>, two: &Value<'_>) -> Result<Ordering, EvalError> {
    Ok(match (one, two) {
        (Value::Bool(one), Value::Bool(two)) => one.cmp(two),
        (Value::String(one), Value::String(two)) => (**one).cmp(&**two),
        (Value::Bytes(one), Value::Bytes(two)) => one.cmp(two),
        (Value::Duration(one), Value::Duration(two)) => one.cmp(two),
        (Value::Timestamp(one), Value::Timestamp(two)) => one.nanos.cmp(&two.nanos),
        (Value::Double(value), _) | (_, Value::Double(value)) if value.is_nan() => {
            return Err(EvalError::failed("NaN values cannot be ordered"));
        }
        _ => numbers(one, two).ok_or_else(EvalError::no_such_overload)?,
    })
}
