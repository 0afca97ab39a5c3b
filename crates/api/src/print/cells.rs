//! Reading objects, and the cells that many kinds share.

use super::age::since;
use crate::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A text, empty when absent.
pub(super) fn text<'a>(node: &'a Value, member: &str) -> &'a str {
    node.get(member).and_then(Value::as_str).unwrap_or("")
}

/// A text, or something for an absent or empty one.
pub(super) fn text_or<'a>(node: &'a Value, member: &str, absent: &'a str) -> &'a str {
    match text(node, member) {
        "" => absent,
        text => text,
    }
}

/// A number, zero when absent.
pub(super) fn int(node: &Value, member: &str) -> i64 {
    node.get(member).and_then(Value::as_i64).unwrap_or(0)
}

/// A list, empty when absent.
pub(super) fn list<'a>(node: &'a Value, member: &str) -> &'a [Value] {
    node.get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// How many members an object has.
pub(super) fn size(node: &Value, member: &str) -> usize {
    node.get(member)
        .and_then(Value::as_object)
        .map_or(0, Map::len)
}

/// A bool that may be absent, as Go prints a pointer.
pub(super) fn bool_text(value: &Value) -> &'static str {
    match value {
        Value::Bool(true) => "True",
        Value::Bool(false) => "False",
        _ => "<unset>",
    }
}

/// The name.
pub(super) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// How long ago a member's time was.
pub(super) fn ago(node: &Value, member: &str, now: Timestamp) -> Value {
    since(node.get(member).and_then(Value::as_str), now).into()
}

/// How long ago it was created.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    ago(&object["metadata"], "creationTimestamp", now)
}

/// `a=b,c=d`.
pub(super) fn labels(map: Option<&Value>) -> String {
    let parts: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    match parts.is_empty() {
        true => "<none>".to_owned(),
        false => parts.join(","),
    }
}

/// A label selector in its text form.
pub(super) fn selector(selector: Option<&Value>) -> String {
    match LabelSelector::from_object(selector).map(|s| s.to_string()) {
        Ok(text) if text.is_empty() => "<none>".to_owned(),
        Ok(text) => text,
        Err(_) => "<error>".to_owned(),
    }
}

/// Names and images of the containers of a Pod's spec.
pub(super) fn containers(spec: &Value) -> [Value; 2] {
    let join = |member: &str| {
        let parts: Vec<&str> = list(spec, "containers")
            .iter()
            .map(|c| text(c, member))
            .collect();
        parts.join(",").into()
    };
    [join("name"), join("image")]
}

/// At most `max` of `all`, and how many more there are.
pub(super) fn first_few(all: &[String], max: usize, separator: &str) -> String {
    let shown = all
        .iter()
        .take(max)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(separator);
    match all.len() > max {
        true => format!("{shown} + {} more...", all.len() - max),
        false => shown,
    }
}

/// Whether a condition is `True`.
pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    list(&object["status"], "conditions")
        .iter()
        .any(|c| c["type"] == kind && c["status"] == "True")
}
