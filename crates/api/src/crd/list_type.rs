//! Items of lists of type `set` and `map` are told apart by themselves or by their keys.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::props::Props;
use crate::field::{Error, Path};

/// What is wrong with the lists of an object.
pub fn validate(errors: &mut Vec<Error>, object: &Value, schema: &Props) {
    if let Value::Object(members) = object {
        in_object(errors, None, members, schema);
    }
}

fn in_object(
    errors: &mut Vec<Error>,
    path: Option<&Path<'_>>,
    members: &Map<String, Value>,
    schema: &Props,
) {
    for (name, value) in members {
        match (schema.properties.get(name), path) {
            (Some(property), Some(path)) => in_value(errors, &path.field(name), value, property),
            (Some(property), None) => in_value(errors, &Path::root(name), value, property),
            (None, Some(path)) => {
                if let Some(other) = schema.member(name) {
                    in_value(errors, &path.key(name), value, other);
                }
            }
            (None, None) => {}
        }
    }
}

fn in_value(errors: &mut Vec<Error>, path: &Path<'_>, value: &Value, schema: &Props) {
    match value {
        Value::Object(members) => in_object(errors, Some(path), members, schema),
        Value::Array(items) => {
            match schema.list_type.as_deref() {
                Some("set") => errors.extend(
                    duplicates(items.iter())
                        .into_iter()
                        .map(|i| Error::duplicate(&path.index(i), &items[i])),
                ),
                Some("map") => keyed(errors, path, items, &schema.list_map_keys),
                _ => {}
            }
            if let Some(schema) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    in_value(errors, &path.index(i), item, schema);
                }
            }
        }
        _ => {}
    }
}

fn keyed(errors: &mut Vec<Error>, path: &Path<'_>, items: &[Value], keys: &[String]) {
    let stranger = items.iter().position(|v| !v.is_object() && !v.is_null());
    if let Some(i) = stranger {
        let detail = "must be an object for an array of list-type map";
        errors.push(Error::invalid(&path.index(i), &items[i], detail));
        return;
    }
    let identities: Vec<Value> = items
        .iter()
        .map(|item| {
            let found = keys
                .iter()
                .filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Value::Object(found.collect())
        })
        .collect();
    for i in duplicates(identities.iter()) {
        errors.push(Error::duplicate(&path.index(i), &identities[i]));
    }
}

/// The second occurrence of each value that occurs more than once.
fn duplicates<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<usize> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut second = Vec::new();
    for (i, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            second.push(i);
        }
    }
    second
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn second_occurrences_are_told() {
        let schema = Props::read(&json!({"properties": {"spec": {"properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "lm": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object"}},
        }}}}));
        let object = json!({"spec": {"set": ["a", "b", "a", "a"], "lm": [{"k": "a"}, {"k": "b"}, {"k": "a", "v": 1}, {}, {}]}});
        let mut errors = Vec::new();
        validate(&mut errors, &object, &schema);
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.lm[2]: Duplicate value: {\"k\":\"a\"}",
                "spec.lm[4]: Duplicate value: {}",
                "spec.set[2]: Duplicate value: \"a\"",
            ]
        );
    }
}
