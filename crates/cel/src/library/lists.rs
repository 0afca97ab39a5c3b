//! Functions of lists: Kubernetes' (`isSorted`, `sum`, `min`, …), CEL's (`slice`, `sort`, …) and sets.

use std::cmp::Ordering;

use super::{LIST_MAX, Native, failed, ok, operators};
use crate::cost::Meter;
use crate::value::compare::{compare, equal};
use crate::value::{EvalError, Evaluated, List, Value};

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "isSorted" => |_, args| list(args, is_sorted),
        "sum" => |meter, args| list(args, |values| sum(meter, values)),
        "min" => |_, args| list(args, |values| extreme(values, "min", Ordering::Greater)),
        "max" => |_, args| list(args, |values| extreme(values, "max", Ordering::Less)),
        "includes" => includes,
        "slice" => slice,
        "flatten" => flatten,
        "sort" => |meter, args| match args {
            [Value::List(list)] => Some(sort_by(meter, list, list)),
            _ => None,
        },
        "@sortByAssociatedKeys" => |meter, args| match args {
            [Value::List(list), Value::List(keys)] => Some(sort_by(meter, list, keys)),
            _ => None,
        },
        "lists.range" => range,
        "reverse" => |_, args| {
            list(args, |values| {
                Ok(Value::list(values.into_iter().rev().collect()))
            })
        },
        "distinct" => |meter, args| list(args, |values| distinct(meter, values)),
        "sets.contains" => {
            |meter, args| sets(meter, args, |meter, one, two| all_in(meter, two, one))
        }
        "sets.equivalent" => |meter, args| {
            sets(meter, args, |meter, one, two| {
                Ok(all_in(meter, one, two)? && all_in(meter, two, one)?)
            })
        },
        "sets.intersects" => |meter, args| sets(meter, args, intersects),
        _ => return None,
    })
}

fn values<'a>(list: &List<'a>) -> Result<Vec<Value<'a>>, EvalError> {
    if list.len() > LIST_MAX {
        return Err(EvalError::CostLimit);
    }
    list.iter().collect()
}

fn list<'a>(
    args: &[Value<'a>],
    of: impl FnOnce(Vec<Value<'a>>) -> Evaluated<'a>,
) -> Option<Evaluated<'a>> {
    match args {
        [Value::List(list)] => Some(values(list).and_then(of)),
        _ => None,
    }
}

fn is_sorted<'a>(values: Vec<Value<'a>>) -> Evaluated<'a> {
    for pair in values.windows(2) {
        if compare(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(meter: &mut Meter, values: Vec<Value<'a>>) -> Evaluated<'a> {
    let mut values = values.into_iter();
    let Some(first) = values.next() else {
        return Ok(Value::Int(0));
    };
    let add = operators::native(crate::names::ADD).ok_or_else(EvalError::no_such_overload)?;
    values.try_fold(first, |sum, value| {
        add(meter, &[sum, value]).unwrap_or_else(|| Err(EvalError::no_such_overload()))
    })
}

fn extreme<'a>(values: Vec<Value<'a>>, name: &str, worse: Ordering) -> Evaluated<'a> {
    let mut values = values.into_iter();
    let Some(mut best) = values.next() else {
        return Err(EvalError::failed(format!("{name} called on empty list")));
    };
    for value in values {
        if compare(&best, &value)? == worse {
            best = value;
        }
    }
    Ok(best)
}

/// The first place of an element.
pub fn index_of<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [Value::List(list), wanted] = args else {
        return None;
    };
    Some(position(meter, list.iter().enumerate(), wanted))
}

/// The last place of an element.
pub fn last_index_of<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [Value::List(list), wanted] = args else {
        return None;
    };
    let backwards = (0..list.len())
        .rev()
        .filter_map(|index| Some((index, list.get(index)?)));
    Some(position(meter, backwards, wanted))
}

fn position<'a>(
    meter: &mut Meter,
    values: impl Iterator<Item = (usize, Evaluated<'a>)>,
    wanted: &Value<'a>,
) -> Evaluated<'a> {
    for (index, value) in values {
        match value.and_then(|value| equal(&value, wanted, &mut meter.work)) {
            Ok(true) => return Ok(Value::Int(index as i64)),
            Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
            Ok(false) | Err(_) => {}
        }
    }
    Ok(Value::Int(-1))
}

fn includes<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [target, wanted] = args else { return None };
    let found = match target {
        Value::List(list) => position(meter, list.iter().enumerate(), wanted)
            .map(|index| !matches!(index, Value::Int(-1))),
        other => match equal(other, wanted, &mut meter.work) {
            Err(EvalError::Failed(_)) => Ok(false),
            equal => equal,
        },
    };
    Some(found.map(Value::Bool))
}

fn slice<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else {
        return None;
    };
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return failed(format!(
            "cannot slice({start}, {end}), negative indexes not supported"
        ));
    };
    if from > to {
        let text = "start index must be less than or equal to end index";
        return failed(format!("cannot slice({start}, {end}), {text}"));
    }
    if list.len() < to {
        return failed(format!(
            "cannot slice({start}, {end}), list is length {}",
            list.len()
        ));
    }
    let part: Result<Vec<_>, _> = (from..to).filter_map(|index| list.get(index)).collect();
    Some(part.map(Value::list))
}

fn flatten<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (list, depth) = match args {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return None,
    };
    if depth < 0 {
        return failed("level must be non-negative");
    }
    let mut flat = Vec::new();
    Some(flatten_into(list, depth, &mut flat).map(|()| Value::list(flat)))
}

fn flatten_into<'a>(
    list: &List<'a>,
    depth: i64,
    flat: &mut Vec<Value<'a>>,
) -> Result<(), EvalError> {
    for value in list.iter() {
        match value? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, flat)?,
            value if flat.len() < LIST_MAX => flat.push(value),
            _ => return Err(EvalError::CostLimit),
        }
    }
    Ok(())
}

fn sort_by<'a>(meter: &mut Meter, list: &List<'a>, keys: &List<'a>) -> Evaluated<'a> {
    let (values, keys) = (values(list)?, values(keys)?);
    meter.afford_quadratic(keys.len())?;
    if values.len() != keys.len() {
        return Err(EvalError::failed(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, \
             but got {} and {} elements respectively",
            values.len(),
            keys.len()
        )));
    }
    let Some(first) = keys.first() else {
        return Ok(Value::list(values));
    };
    if compare(first, first).is_err() && !matches!(first, Value::Double(_)) {
        return Err(EvalError::failed("list elements must be comparable"));
    }
    let ty = first.ty();
    if keys.iter().any(|key| key.ty() != ty) {
        return Err(EvalError::failed("list elements must have the same type"));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(values).collect();
    pairs.sort_by(|(one, _), (two, _)| compare(one, two).unwrap_or(Ordering::Equal));
    Ok(Value::list(
        pairs.into_iter().map(|(_, value)| value).collect(),
    ))
}

fn range<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [Value::Int(count)] = args else {
        return None;
    };
    match usize::try_from(*count) {
        Err(_) => failed(format!(
            "lists.range: size must be non-negative, got {count}"
        )),
        Ok(count) if count > LIST_MAX => Some(Err(EvalError::CostLimit)),
        Ok(_) => ok(Value::list((0..*count).map(Value::Int).collect())),
    }
}

fn distinct<'a>(meter: &mut Meter, values: Vec<Value<'a>>) -> Evaluated<'a> {
    meter.afford_quadratic(values.len())?;
    let mut unique: Vec<Value<'a>> = Vec::new();
    for value in values {
        let mut known = false;
        for other in &unique {
            if equal(&value, other, &mut meter.work)? {
                known = true;
                break;
            }
        }
        if !known {
            unique.push(value);
        }
    }
    Ok(Value::list(unique))
}

type SetTest = fn(&mut Meter, &List<'_>, &List<'_>) -> Result<bool, EvalError>;

fn sets<'a>(meter: &mut Meter, args: &[Value<'a>], test: SetTest) -> Option<Evaluated<'a>> {
    match args {
        [Value::List(one), Value::List(two)] => Some(test(meter, one, two).map(Value::Bool)),
        _ => None,
    }
}

fn all_in(meter: &mut Meter, elements: &List<'_>, set: &List<'_>) -> Result<bool, EvalError> {
    for element in elements.iter() {
        if !operators::list_contains(set, &element?, &mut meter.work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects(meter: &mut Meter, one: &List<'_>, two: &List<'_>) -> Result<bool, EvalError> {
    for element in one.iter() {
        if operators::list_contains(two, &element?, &mut meter.work)? {
            return Ok(true);
        }
    }
    Ok(false)
}
