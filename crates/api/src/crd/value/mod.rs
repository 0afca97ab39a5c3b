//! Whether a value fits a schema, with the texts of the library that upstream uses (kube-openapi's `validate`).
//!
//! The odd habits of that library are part of the answers: the texts name the field, errors of `oneOf` and `anyOf` have no
//! field, the best failing alternative of several is the one with most checks passed, and an error is told once.
//! [`update`] forgives what was wrong before and has not changed (ratcheting, KEP-4008). Where upstream's order is that
//! of a hash map, names are in alphabetic order. Invariant: validating a right value allocates nothing for paths.

mod alternatives;
mod fault;
mod number;
pub mod ratchet;

use serde_json::Value;

use self::fault::{At, Code, Fault};
use self::ratchet::Old;
use super::formats::Format;
use super::props::{Additional, Props};
use crate::field;

/// What is wrong with a new value. `place` is the field that holds it; errors are relative to it.
pub fn create(props: &Props, place: Option<&field::Path<'_>>, value: &Value) -> Vec<field::Error> {
    report(node(props, value, At::root(), None), place)
}

/// What is wrong with a changed value and was not before.
pub fn update(
    props: &Props,
    place: Option<&field::Path<'_>>,
    old: Option<Old<'_>>,
    value: &Value,
) -> Vec<field::Error> {
    let outcome = match old {
        Some(old) => correlated(props, At::root(), old),
        None => node(props, value, At::root(), None),
    };
    report(outcome, place)
}

fn report(outcome: Outcome, place: Option<&field::Path<'_>>) -> Vec<field::Error> {
    outcome
        .faults
        .into_iter()
        .map(|fault| fault.error(place))
        .collect()
}

/// A number as Go's `%v` shows it.
pub fn show_number(number: &serde_json::Number) -> String {
    match number.as_i64() {
        Some(i) => i.to_string(),
        None => number::show(number.as_f64().unwrap_or_default()),
    }
}

/// What came of validating one value.
#[derive(Default)]
struct Outcome {
    faults: Vec<Fault>,
    /// How many checks were made that could have failed.
    matches: u32,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds a fault unless its text was told already.
    fn add(&mut self, fault: Fault) {
        if !self.faults.iter().any(|f| f.message == fault.message) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Outcome) {
        other.faults.into_iter().for_each(|f| self.add(f));
        self.matches += other.matches;
    }

    fn of(fault: Option<Fault>, matches: u32) -> Outcome {
        Outcome {
            faults: fault.into_iter().collect(),
            matches,
        }
    }
}

/// Validates a value whose old version is known: what is wrong and did not change is forgiven.
fn correlated(props: &Props, at: At<'_>, old: Old<'_>) -> Outcome {
    let mut outcome = node(props, old.new, at, Some(old));
    if !outcome.is_valid() && old.is_unchanged() {
        outcome.faults.clear();
    }
    outcome
}

/// The types of a schema; two for `x-kubernetes-int-or-string`.
#[derive(Clone, Copy)]
struct Types<'a> {
    one: &'a str,
    int_or_string: bool,
}

impl Types<'_> {
    fn of(props: &Props) -> Types<'_> {
        Types {
            one: &props.ty,
            int_or_string: props.int_or_string,
        }
    }

    fn is_empty(self) -> bool {
        self.one.is_empty() && !self.int_or_string
    }

    fn contains(self, name: &str) -> bool {
        match self.int_or_string {
            true => matches!(name, "integer" | "string"),
            false => self.one == name,
        }
    }

    fn text(self) -> String {
        match self.int_or_string {
            true => "integer,string".to_owned(),
            false => self.one.to_owned(),
        }
    }
}

/// The word for a value's own type.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The format, if it has an effect on values of the schema's type.
fn format_of<'p>(props: &'p Props, types: Types<'_>) -> &'p str {
    let kept = match (types.int_or_string, types.one) {
        (true, _) => false,
        (_, "" | "string") => Format::of(&props.format).is_some(),
        (_, "integer") => matches!(&*props.format, "int32" | "int64"),
        (_, "number") => matches!(&*props.format, "float" | "double"),
        _ => false,
    };
    if kept { &props.format } else { "" }
}

/// All checks of one schema on one value, in upstream's order.
fn node(props: &Props, value: &Value, at: At<'_>, old: Option<Old<'_>>) -> Outcome {
    let types = Types::of(props);
    let format = format_of(props, types);
    let mut outcome = Outcome::default();
    if value.is_null() {
        if !types.is_empty() && !props.nullable {
            outcome.add(fault::wrong_type(at, &types.text(), "null"));
        }
        outcome.matches += 1;
        outcome.merge(enumeration(props, value, at));
        return outcome;
    }
    let mut stage = |part: Outcome| {
        outcome.merge(part);
        outcome.matches += 1;
    };
    if !types.is_empty() || !format.is_empty() {
        stage(Outcome::of(wrong_type(types, format, value, at), 1));
    }
    stage(alternatives::check(props, value, at));
    match value {
        Value::String(text) => {
            stage(Outcome::of(string(props, text, at), 0));
            if let Some(known) = Format::of(format) {
                let fault = (!known.accepts(text)).then(|| fault::wrong_type(at, format, text));
                stage(Outcome::of(fault, 0));
            }
        }
        Value::Number(number) => stage(number::check(props, types, format, number, at)),
        Value::Array(items) => stage(array(props, items, at, old)),
        _ => {}
    }
    stage(enumeration(props, value, at));
    if let Value::Object(members) = value {
        stage(object(props, members, at, old));
    }
    outcome.matches += 1;
    outcome
}

fn wrong_type(types: Types<'_>, format: &str, value: &Value, at: At<'_>) -> Option<Fault> {
    let found = type_of(value);
    let whole = found == "number" && types.contains("integer") && number::is_whole(value);
    let wider = found == "integer" && types.contains("number");
    let fits = types.contains(found) || whole || wider;
    let textual = matches!(value, Value::String(_) | Value::Array(_));
    if !textual && !format.is_empty() && !fits {
        let own = match found {
            "integer" => "int64",
            "number" => "float64",
            _ => "",
        };
        return Some(fault::wrong_type(at, format, own));
    }
    let numeric = types.contains("number") || types.contains("integer");
    // Left to the check of the format.
    if !numeric && !format.is_empty() && textual {
        return None;
    }
    (!fits).then(|| fault::wrong_type(at, &types.text(), found))
}

fn string(props: &Props, text: &str, at: At<'_>) -> Option<Fault> {
    let length = || text.chars().count() as i64;
    if let Some(max) = props.max_length.filter(|max| length() > *max) {
        let what = format!("should be at most {max} chars long");
        return Some(Fault::new(at, Code::TooLong(max), text.into(), &what));
    }
    if let Some(min) = props.min_length.filter(|min| length() < *min) {
        let what = format!("should be at least {min} chars long");
        return Some(Fault::new(at, Code::Other, text.into(), &what));
    }
    let pattern = props.pattern.as_ref().filter(|p| !p.matches(text))?;
    let what = match pattern.error() {
        Some(why) => format!(
            "should match '{}, but pattern is invalid: {why}'",
            pattern.text()
        ),
        None => format!("should match '{}'", pattern.text()),
    };
    Some(Fault::new(at, Code::Other, text.into(), &what))
}

fn enumeration(props: &Props, value: &Value, at: At<'_>) -> Outcome {
    let allowed = &props.enumeration;
    let equal = |one: &Value| !value.is_null() && number::same(one, value);
    if allowed.is_empty() || allowed.iter().any(equal) {
        return Outcome::default();
    }
    let code = Code::Enum(allowed.clone());
    Outcome::of(
        Some(Fault::new(at, code, value.clone(), "should be one of them")),
        0,
    )
}

fn array(props: &Props, items: &[Value], at: At<'_>, old: Option<Old<'_>>) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(schema) = &props.items {
        for (i, item) in items.iter().enumerate() {
            let at = at.index(i);
            outcome.merge(match old.and_then(|old| old.index(i)) {
                Some(old) => correlated(schema, at, old),
                None => node(schema, item, at, None),
            });
        }
    }
    let size = items.len() as i64;
    if let Some(min) = props.min_items.filter(|min| size < *min) {
        let what = format!("should have at least {min} items");
        outcome.add(Fault::new(at, Code::Other, size.into(), &what));
    }
    if let Some(max) = props.max_items.filter(|max| size > *max) {
        let what = format!("should have at most {max} items");
        outcome.add(Fault::new(at, Code::TooMany(max), size.into(), &what));
    }
    let twice = |(i, item): (usize, &Value)| items[..i].contains(item);
    if props.unique_items && items.iter().enumerate().any(twice) {
        outcome.add(Fault::new(
            at,
            Code::Other,
            Value::Null,
            "shouldn't contain duplicates",
        ));
    }
    outcome.matches += 1;
    outcome
}

fn object(
    props: &Props,
    members: &serde_json::Map<String, Value>,
    at: At<'_>,
    old: Option<Old<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let size = members.len() as i64;
    if let Some(min) = props.min_properties.filter(|min| size < *min) {
        let what = format!("should have at least {min} properties");
        outcome.add(Fault::new(at, Code::Other, size.into(), &what));
    }
    if let Some(max) = props.max_properties.filter(|max| size > *max) {
        let what = format!("should have at most {max} properties");
        outcome.add(Fault::new(at, Code::TooMany(max), size.into(), &what));
    }
    let unnamed = members
        .iter()
        .filter(|(name, _)| !props.properties.contains_key(*name));
    match &props.additional {
        Some(Additional::Schema(schema)) => {
            for (name, value) in unnamed {
                outcome.merge(member(schema, name, value, at.additional(name), old));
            }
        }
        Some(Additional::Allowed(false)) => {
            for (name, _) in unnamed {
                outcome.add(fault::forbidden(at, name));
            }
        }
        _ => {}
    }
    for (name, schema) in &props.properties {
        if let Some(value) = members.get(name) {
            outcome.merge(member(schema, name, value, at.property(name), old));
        }
    }
    for name in props.required.iter().filter(|n| !members.contains_key(*n)) {
        outcome.add(fault::required(at.additional(name)));
    }
    outcome
}

fn member(schema: &Props, name: &str, value: &Value, at: At<'_>, old: Option<Old<'_>>) -> Outcome {
    // Conversion between versions hides whether these changed.
    let hidden = at.is_top() && matches!(name, "kind" | "apiVersion");
    match old.filter(|_| !hidden).and_then(|old| old.key(name)) {
        Some(old) => correlated(schema, at, old),
        None => node(schema, value, at, None),
    }
}

#[cfg(test)]
mod tests;
