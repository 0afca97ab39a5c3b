//! Arithmetic, comparisons, `in`, sizes.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Native, ok, text};
use crate::cost::Meter;
use crate::names;
use crate::schema::ListKind;
use crate::value::compare::{Work, compare, equal, key_of, same_key};
use crate::value::time::Timestamp;
use crate::value::{EvalError, Evaluated, List, Map, Value};

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        names::ADD => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        names::NEGATE => negate,
        "_<_" => |_, args| order(args, |order| order == Ordering::Less),
        "_<=_" => |_, args| order(args, |order| order != Ordering::Greater),
        "_>_" => |_, args| order(args, |order| order == Ordering::Greater),
        "_>=_" => |_, args| order(args, |order| order != Ordering::Less),
        names::IN => contained,
        "size" => size,
        names::MAP_INSERT => map_insert,
        _ => return None,
    })
}

/// Whether a function is bound once for all overloads, so that errors about it don't name the types.
pub fn is_operator(name: &str) -> bool {
    name.starts_with(['_', '@', '-', '!']) || matches!(name, "size" | "matches" | "type" | "dyn")
}

fn overflow<'a>(value: Option<Value<'a>>, what: &str) -> Option<Evaluated<'a>> {
    Some(value.ok_or_else(|| EvalError::failed(what)))
}

const INT: &str = "integer overflow";
const UINT: &str = "unsigned integer overflow";
const DURATION: &str = "duration overflow";
const TIMESTAMP: &str = "timestamp overflow";

/// The right operand does not fit the left one.
fn unfit<'a>() -> Option<Evaluated<'a>> {
    Some(Err(EvalError::no_such_overload()))
}

fn later<'a>(at: &Timestamp, nanos: i128) -> Option<Evaluated<'a>> {
    overflow(at.plus(nanos).map(Value::Timestamp), TIMESTAMP)
}

fn add<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [one, two] = args else { return None };
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => overflow(one.checked_add(*two).map(Value::Int), INT),
        (Value::Uint(one), Value::Uint(two)) => {
            overflow(one.checked_add(*two).map(Value::Uint), UINT)
        }
        (Value::Double(one), Value::Double(two)) => ok(Value::Double(one + two)),
        (Value::String(one), Value::String(two)) => text(format!("{}{}", &**one, &**two)),
        (Value::Bytes(one), Value::Bytes(two)) => {
            ok(Value::Bytes([&**one, &**two].concat().into()))
        }
        (Value::Duration(one), Value::Duration(two)) => {
            overflow(one.checked_add(*two).map(Value::Duration), DURATION)
        }
        (Value::Duration(nanos), Value::Timestamp(at))
        | (Value::Timestamp(at), Value::Duration(nanos)) => later(at, i128::from(*nanos)),
        (Value::List(one), Value::List(two)) => Some(concat(one, two, &mut meter.work)),
        (
            Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Duration(_)
            | Value::Timestamp(_)
            | Value::List(_),
            _,
        ) => unfit(),
        _ => None,
    }
}

/// One list after the other. Lists that are sets or maps by their schema stay so.
fn concat<'a>(one: &List<'a>, two: &List<'a>, work: &mut Work) -> Evaluated<'a> {
    match one {
        List::Json(_, _, ListKind::Set) => union(one, two, work),
        List::Json(_, _, ListKind::Map(keys)) => merge(one, two, keys, work),
        _ if one.is_empty() => Ok(Value::List(two.clone())),
        _ if two.is_empty() => Ok(Value::List(one.clone())),
        _ => {
            let length = one.len() + two.len();
            Ok(Value::List(List::Concat(
                Rc::new((one.clone(), two.clone())),
                length,
            )))
        }
    }
}

fn union<'a>(one: &List<'a>, two: &List<'a>, work: &mut Work) -> Evaluated<'a> {
    let mut elements = one.iter().collect::<Result<Vec<_>, _>>()?;
    for element in two.iter() {
        let element = element?;
        let mut known = false;
        for other in &elements {
            known = known || equal(other, &element, work)?;
        }
        if !known {
            elements.push(element);
        }
    }
    Ok(Value::list(elements))
}

fn merge<'a>(one: &List<'a>, two: &List<'a>, keys: &[String], work: &mut Work) -> Evaluated<'a> {
    let mut elements = Vec::with_capacity(one.len());
    for element in one.iter() {
        let element = element?;
        elements.push((key_of(&element, keys)?, element));
    }
    for element in two.iter() {
        let element = element?;
        let key = key_of(&element, keys)?;
        let mut place = None;
        for (index, (known, _)) in elements.iter().enumerate() {
            if same_key(known, &key, work)? {
                place = Some(index);
            }
        }
        match place {
            Some(index) => elements[index].1 = element,
            None => elements.push((key, element)),
        }
    }
    Ok(Value::list(
        elements.into_iter().map(|(_, element)| element).collect(),
    ))
}

fn subtract<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [one, two] = args else { return None };
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => overflow(one.checked_sub(*two).map(Value::Int), INT),
        (Value::Uint(one), Value::Uint(two)) => {
            overflow(one.checked_sub(*two).map(Value::Uint), UINT)
        }
        (Value::Double(one), Value::Double(two)) => ok(Value::Double(one - two)),
        (Value::Duration(one), Value::Duration(two)) => {
            overflow(one.checked_sub(*two).map(Value::Duration), DURATION)
        }
        (Value::Timestamp(at), Value::Duration(nanos)) => later(at, -i128::from(*nanos)),
        (Value::Timestamp(one), Value::Timestamp(two)) => {
            let nanos = i64::try_from(one.nanos - two.nanos).ok();
            overflow(nanos.map(Value::Duration), DURATION)
        }
        (
            Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Duration(_)
            | Value::Timestamp(_),
            _,
        ) => unfit(),
        _ => None,
    }
}

fn multiply<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Int(one), Value::Int(two)] => overflow(one.checked_mul(*two).map(Value::Int), INT),
        [Value::Uint(one), Value::Uint(two)] => {
            overflow(one.checked_mul(*two).map(Value::Uint), UINT)
        }
        [Value::Double(one), Value::Double(two)] => ok(Value::Double(one * two)),
        [Value::Int(_) | Value::Uint(_) | Value::Double(_), _] => unfit(),
        _ => None,
    }
}

fn divide<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Some(Err(EvalError::failed("division by zero")))
        }
        [Value::Int(one), Value::Int(two)] => overflow(one.checked_div(*two).map(Value::Int), INT),
        [Value::Uint(one), Value::Uint(two)] => ok(Value::Uint(one / two)),
        [Value::Double(one), Value::Double(two)] => ok(Value::Double(one / two)),
        [Value::Int(_) | Value::Uint(_) | Value::Double(_), _] => unfit(),
        _ => None,
    }
}

fn modulo<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Some(Err(EvalError::failed("modulus by zero")))
        }
        [Value::Int(one), Value::Int(two)] => overflow(one.checked_rem(*two).map(Value::Int), INT),
        [Value::Uint(one), Value::Uint(two)] => ok(Value::Uint(one % two)),
        [Value::Int(_) | Value::Uint(_), _] => unfit(),
        _ => None,
    }
}

fn negate<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [Value::Int(value)] => overflow(value.checked_neg().map(Value::Int), INT),
        [Value::Double(value)] => ok(Value::Double(-value)),
        [Value::Duration(value)] => overflow(value.checked_neg().map(Value::Duration), DURATION),
        _ => None,
    }
}

fn order<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Option<Evaluated<'a>> {
    let [one, two] = args else { return None };
    let ordered = matches!(
        one,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Duration(_)
            | Value::Timestamp(_)
    );
    ordered.then(|| compare(one, two).map(|order| Value::Bool(holds(order))))
}

fn contained<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [element, container] = args else {
        return None;
    };
    match container {
        Value::List(list) => Some(list_contains(list, element, &mut meter.work).map(Value::Bool)),
        Value::Map(map) => Some(match map.find(element) {
            Some(Err(error)) => Err(error),
            found => Ok(Value::Bool(found.is_some())),
        }),
        _ => unfit(),
    }
}

/// Whether a list has an element. One that can't be compared is no obstacle if another is equal.
pub fn list_contains(
    list: &List<'_>,
    element: &Value<'_>,
    work: &mut Work,
) -> Result<bool, EvalError> {
    let mut failure = None;
    for value in list.iter() {
        match value.and_then(|value| equal(&value, element, work)) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(false), Err)
}

fn size<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    match args {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            ok(Value::Int(value.size() as i64))
        }
        _ => None,
    }
}

fn map_insert<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (base, added) = match args {
        [Value::Map(base), key, value] => (base, vec![(key.clone(), value.clone())]),
        [Value::Map(base), Value::Map(more)] => {
            let mut added = Vec::new();
            for key in more.keys() {
                match more.find(&key)? {
                    Ok(value) => added.push((key, value)),
                    Err(error) => return Some(Err(error)),
                }
            }
            (base, added)
        }
        _ => return None,
    };
    let mut entries = match base {
        Map::Owned(entries) => (**entries).clone(),
        other if other.is_empty() => crate::value::Entries::default(),
        _ => return None,
    };
    Some(insert_all(&mut entries, added).map(|()| Value::Map(Map::Owned(Rc::new(entries)))))
}

/// Adds entries whose keys must be new.
pub fn insert_all<'a>(
    entries: &mut crate::value::Entries<'a>,
    added: Vec<(Value<'a>, Value<'a>)>,
) -> Result<(), EvalError> {
    for (key, value) in added {
        let shown = plain(&key);
        if !entries.insert(key, value)? {
            return Err(EvalError::failed(format!(
                "insert failed: key {shown} already exists"
            )));
        }
    }
    Ok(())
}

/// A value as `%v` shows it.
pub fn plain(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => super::convert::go_g(*value),
        other => format!("{other:?}"),
    }
}
