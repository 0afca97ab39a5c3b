//! Whether an applied configuration fits the schema. Unlike decoding, apply refuses unknown fields whatever
//! `fieldValidation` says, and has its own texts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::place::{Kind, Place, is_free};
use super::set::print;
use crate::patch::go_print;
use crate::schema::{Scalar, Shape};

/// The error text for a configuration that does not fit; lists all faults.
pub(super) fn validate(config: &Value, place: Place<'_>) -> Result<(), String> {
    let mut faults = Vec::new();
    walk(config, place, "", &mut faults);
    match faults.as_slice() {
        [] => Ok(()),
        [fault] => Err(fault.clone()),
        faults => Err(faults.iter().fold("errors:".to_owned(), |mut text, fault| {
            write!(text, "\n  {fault}").expect("writing to a String");
            text
        })),
    }
}

fn walk(value: &Value, place: Place<'_>, path: &str, faults: &mut Vec<String>) {
    let Some(ty) = place.ty() else { return };
    let mut fault = |what: String| {
        faults.push(if path.is_empty() {
            what
        } else {
            format!("{path}: {what}")
        });
    };
    match (ty.shape(), value) {
        (_, Value::Null) => {}
        (Shape::Struct(_) | Shape::Map(_), Value::Object(members)) => {
            let is_struct = ty.fields().is_some();
            for (name, value) in members {
                if is_struct && place.declared(name).is_none() && place.element().ty().is_none() {
                    faults.push(format!("{path}.{name}: field not declared in schema"));
                    return;
                }
                walk(value, place.member(name), &format!("{path}.{name}"), faults);
            }
        }
        (Shape::Struct(_) | Shape::Map(_), other) => {
            fault(format!("expected map, got &{{{}}}", go_print(other)))
        }
        (Shape::List(_), Value::Array(items)) => list(items, value, place, path, faults),
        (Shape::List(_), other) => fault(format!("expected list, got &{{{}}}", go_print(other))),
        (Shape::Scalar(scalar), value) => {
            if let Some(what) = scalar_fault(scalar, value) {
                fault(what);
            }
        }
    }
}

fn list(items: &[Value], value: &Value, place: Place<'_>, path: &str, faults: &mut Vec<String>) {
    let topology = match place.kind(Some(value)) {
        Kind::Items(topology) => Some(topology),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let printed = match topology.map(|topology| place.item_element(topology, item)) {
            None => format!("[{i}]"),
            Some(Err(what)) => {
                faults.push(format!("{path}: element {i}: {what}"));
                return;
            }
            Some(Ok(element)) => {
                let printed = print(&element);
                if !seen.insert(element) {
                    faults.push(format!("{path}: duplicate entries for key {printed}"));
                }
                printed
            }
        };
        walk(item, place.element(), &format!("{path}{printed}"), faults);
    }
}

fn scalar_fault(scalar: Scalar, value: &Value) -> Option<String> {
    let go_type = match value {
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Null | Value::Object(_) => "map[string]interface {}",
    };
    match scalar {
        _ if is_free(scalar) => None,
        Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 | Scalar::Float64 => {
            (!value.is_number()).then(|| format!("expected numeric (int or float), got {go_type}"))
        }
        Scalar::Bool => {
            (!value.is_boolean()).then(|| format!("expected boolean, got &{{{}}}", go_print(value)))
        }
        Scalar::Quantity | Scalar::IntOrString => (value.is_array() || value.is_object())
            .then(|| format!("expected any scalar, got &{{{}}}", go_print(value))),
        _ => (!value.is_string()).then(|| {
            let shown = if value.is_array() || value.is_object() {
                go_print(value)
            } else {
                value.to_string()
            };
            format!("expected string, got &value.valueUnstructured{{Value:{shown}}}")
        }),
    }
}
