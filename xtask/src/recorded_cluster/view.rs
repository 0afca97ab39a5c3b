//! The view of an object whose states a history holds: what people look at, without what changes by itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The metadata that remain.
const METADATA: [&str; 6] = [
    "labels",
    "annotations",
    "finalizers",
    "generation",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
];
/// The times of conditions.
const TIMES: [&str; 4] = [
    "lastTransitionTime",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastUpdateTime",
];
/// What names the items of a list.
const ITEM_NAMES: [&str; 3] = ["type", "name", "containerName"];

/// The view of an object, without its spec.
pub fn view(object: &Value) -> Value {
    let mut view = Map::new();
    let metadata = metadata(&object["metadata"]);
    if !metadata.is_empty() {
        view.insert("metadata".to_owned(), Value::Object(metadata));
    }
    for (name, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata", "spec"].contains(&name.as_str()) {
            view.insert(name.clone(), mapped(value, name == "conditions"));
        }
    }
    Value::Object(view)
}

fn metadata(metadata: &Value) -> Map<String, Value> {
    let mut kept = Map::new();
    for name in METADATA {
        match &metadata[name] {
            Value::Null => {}
            value if *value == 0 => {}
            value => drop(kept.insert(name.to_owned(), value.clone())),
        }
    }
    let owners: Vec<Value> = metadata["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(owner)
        .collect();
    if !owners.is_empty() {
        kept.insert("ownerReferences".to_owned(), Value::Array(owners));
    }
    kept
}

/// `Kind/name controller blockOwnerDeletion`
fn owner(reference: &Value) -> Value {
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let mut owner = format!("{}/{}", text("kind"), text("name"));
    for flag in ["controller", "blockOwnerDeletion"] {
        if reference[flag] == true {
            owner.push(' ');
            owner.push_str(flag);
        }
    }
    Value::String(owner)
}

/// Lists whose items are named become maps.
fn mapped(value: &Value, conditions: bool) -> Value {
    match value {
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), mapped(value, name == "conditions")));
            Value::Object(members.collect())
        }
        Value::Array(items) => {
            let items: Vec<Value> = items
                .iter()
                .map(|item| {
                    let mut item = mapped(item, false);
                    if let (true, Value::Object(members)) = (conditions, &mut item) {
                        members.retain(|name, _| !TIMES.contains(&name.as_str()));
                    }
                    item
                })
                .collect();
            match ITEM_NAMES.into_iter().find(|name| names_all(&items, name)) {
                Some(name) => by_name(items, name),
                None => Value::Array(items),
            }
        }
        other => other.clone(),
    }
}

/// Whether a member of this name tells all items apart.
fn names_all(items: &[Value], name: &str) -> bool {
    let names: BTreeSet<&str> = items
        .iter()
        .filter_map(|item| item[name].as_str())
        .collect();
    !items.is_empty() && names.len() == items.len()
}

fn by_name(items: Vec<Value>, name: &str) -> Value {
    let named = items.into_iter().filter_map(|mut item| {
        let Value::String(key) = item.as_object_mut()?.remove(name)? else {
            return None;
        };
        Some((key, item))
    });
    Value::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn named_items_times_and_metadata() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "uid": "u", "labels": {"a": "b"}, "deletionGracePeriodSeconds": 0,
                "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"nodeName": "n"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "t"}],
                "podIPs": [{"ip": "10.0.0.1"}],
                "containerStatuses": [{"name": "c", "ready": true}],
            },
        });
        let expected = json!({
            "metadata": {"labels": {"a": "b"}, "ownerReferences": ["ReplicaSet/r controller blockOwnerDeletion"]},
            "status": {
                "conditions": {"Ready": {"status": "True"}},
                "podIPs": [{"ip": "10.0.0.1"}],
                "containerStatuses": {"c": {"ready": true}},
            },
        });
        assert_eq!(view(&pod), expected);
    }

    #[test]
    fn a_list_with_a_name_twice_stays_a_list() {
        let list =
            json!({"ports": [{"name": "", "port": 1}, {"name": "", "port": 2}], "endpoints": null});
        assert_eq!(view(&list), list);
    }
}
