//! JSON merge patch (RFC 7396).

use serde_json::{Map, Value};

use super::{PatchError, Patched, duplicates};
use crate::decode::json::parse;
use crate::decode::node::Node;

pub(super) fn apply(object: &Value, body: &[u8]) -> Result<Patched, PatchError> {
    let node = parse(body).map_err(|_| PatchError::Malformed("invalid JSON patch".to_owned()))?;
    match &node {
        Node::Object(_) => {
            let mut value = object.clone();
            merge(&mut value, node.to_value());
            Ok(Patched {
                value,
                strict: duplicates(&node, ""),
            })
        }
        Node::Null => Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
        other => Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.go_word()
        ))),
    }
}

/// Merges a patch into a value: `null` removes, objects are merged, everything else replaces.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                members.remove(&name);
            }
            value => merge(members.entry(name).or_insert(Value::Null), value),
        }
    }
}
