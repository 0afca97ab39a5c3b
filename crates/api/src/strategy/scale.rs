//! The `scale` subresource: an `autoscaling/v1` Scale as a view of a Deployment, ReplicaSet, StatefulSet or
//! ReplicationController.

use crate::selector::LabelSelector;
use serde_json::{Value, json};

/// The Scale of an object. Its `spec` lacks `replicas` when there are none, as upstream writes it.
pub fn of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let spec = &object["spec"];
    let selector = match spec.get("selector") {
        // A ReplicationController has a plain map.
        Some(map) if map.get("matchLabels").is_none() && map.get("matchExpressions").is_none() => {
            LabelSelector::from_map(map.as_object())
        }
        selector => LabelSelector::from_object(selector),
    };
    let selector = selector.map(|s| s.to_string()).unwrap_or_default();
    let wanted = spec["replicas"].as_i64().unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    for name in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = metadata.get(name) {
            scale["metadata"][name] = value.clone();
        }
    }
    if wanted != 0 {
        scale["spec"]["replicas"] = wanted.into();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// Writes a Scale's wish into the object that it is a view of.
pub fn set(object: &mut Value, scale: &Value) {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    object["spec"]["replicas"] = replicas.into();
}
