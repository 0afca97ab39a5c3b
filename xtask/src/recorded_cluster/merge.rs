//! JSON merge patches (RFC 7386), in which the recorded states of an object follow each other.

use serde_json::{Map, Value};

/// Applies a patch: null removes, maps are merged, anything else replaces.
pub fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, change) in changes {
        match change {
            Value::Null => drop(members.remove(name)),
            change => apply(members.entry(name.clone()).or_insert(Value::Null), change),
        }
    }
}

/// The states that a first one and patches to it stand for; without the end of an object that went.
pub fn states(history: &[Value]) -> Vec<Value> {
    let mut current = Value::Null;
    let mut states = Vec::new();
    for (number, patch) in history.iter().enumerate() {
        if patch["deleted"] == true {
            break;
        }
        match number {
            0 => current = patch.clone(),
            _ => apply(&mut current, patch),
        }
        states.push(current.clone());
    }
    states
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_are_applied_in_order() {
        let history = [
            json!({"a": 1, "endpoints": null}),
            json!({"a": null, "b": {"c": [1]}}),
            json!({"b": {"c": [2], "d": {}}}),
            json!({"deleted": true}),
        ];
        let expected = [
            json!({"a": 1, "endpoints": null}),
            json!({"endpoints": null, "b": {"c": [1]}}),
            json!({"endpoints": null, "b": {"c": [2], "d": {}}}),
        ];
        assert_eq!(states(&history), expected);
    }
}
