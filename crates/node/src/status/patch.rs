//! The difference between a recorded and a wanted status, as a JSON merge patch.
//!
//! Lists are replaced whole, so a patch that touches conditions carries the resource version that it was made from:
//! somebody else's condition can't be lost in between. Fields that the kubelet does not own are never mentioned.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};

/// The fields of a pod's status that the kubelet writes.
const OWNED: [&str; 14] = [
    "observedGeneration",
    "phase",
    "reason",
    "message",
    "conditions",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "allocatedResources",
    "resources",
];

/// The patch that makes the status of `recorded` what `wanted` says; `None` when it already is.
pub fn patch(recorded: &Pod, wanted: &PodStatus) -> Option<Value> {
    let old = as_map(recorded.status.as_ref());
    let new = as_map(Some(wanted));
    let mut changes = Map::new();
    for field in OWNED {
        match (old.get(field), new.get(field)) {
            (Some(old), Some(new)) if old != new => {
                changes.insert(field.to_owned(), change(old, new));
            }
            (None, Some(new)) => {
                changes.insert(field.to_owned(), new.clone());
            }
            (Some(_), None) => {
                changes.insert(field.to_owned(), Value::Null);
            }
            _ => {}
        }
    }
    if changes.is_empty() {
        return None;
    }
    for list in ["containerStatuses", "initContainerStatuses"] {
        if let Some(statuses) = changes.get_mut(list) {
            show_unknown_times(statuses);
        }
    }
    let mut metadata = json!({ "uid": recorded.metadata.uid });
    if let Some(conditions) = changes.get_mut("conditions") {
        metadata["resourceVersion"] = json!(recorded.metadata.resource_version);
        show_probe_times(conditions);
    }
    Some(json!({ "metadata": metadata, "status": changes }))
}

fn as_map(status: Option<&PodStatus>) -> Map<String, Value> {
    match status.map(serde_json::to_value) {
        Some(Ok(Value::Object(map))) => map,
        _ => Map::new(),
    }
}

/// RFC 7386 merges objects: members that are gone must be named.
fn change(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut merged = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => {
                merged.insert(key.clone(), change(before, value));
            }
            None => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        merged.insert(key.clone(), Value::Null);
    }
    Value::Object(merged)
}

/// Upstream always writes `lastProbeTime`, as null.
fn show_probe_times(conditions: &mut Value) {
    for condition in conditions.as_array_mut().into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.entry("lastProbeTime").or_insert(Value::Null);
        }
    }
}

/// Upstream writes times that it does not know as null.
fn show_unknown_times(statuses: &mut Value) {
    for status in statuses.as_array_mut().into_iter().flatten() {
        for state in ["state", "lastState"] {
            if let Some(Value::Object(end)) = status[state].get_mut("terminated") {
                end.entry("startedAt").or_insert(Value::Null);
                end.entry("finishedAt").or_insert(Value::Null);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "status": status}),
        )
        .expect("a pod")
    }

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn an_equal_status_needs_no_write_and_foreign_fields_are_not_mentioned() {
        let recorded =
            pod(json!({"phase": "Running", "nominatedNodeName": "x", "qosClass": "Burstable"}));
        assert_eq!(patch(&recorded, &status(json!({"phase": "Running"}))), None);
    }

    #[test]
    fn changed_members_are_set_and_missing_ones_removed() {
        let recorded = pod(
            json!({"phase": "Pending", "reason": "x", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}),
        );
        let wanted = status(
            json!({"phase": "Failed", "resources": {"requests": {"cpu": "1", "memory": "1"}}}),
        );
        let want = json!({
            "metadata": {"uid": "u"},
            "status": {"phase": "Failed", "reason": null, "resources": {"limits": null, "requests": {"memory": "1"}}},
        });
        assert_eq!(patch(&recorded, &wanted), Some(want));
    }

    #[test]
    fn conditions_are_written_whole_at_the_version_they_were_made_from() {
        let recorded = pod(json!({"conditions": [{"type": "Other", "status": "True"}]}));
        let wanted = status(
            json!({"conditions": [{"type": "Other", "status": "True"}, {"type": "Ready", "status": "True"}]}),
        );
        let want = json!({
            "metadata": {"uid": "u", "resourceVersion": "7"},
            "status": {"conditions": [
                {"type": "Other", "status": "True", "lastProbeTime": null},
                {"type": "Ready", "status": "True", "lastProbeTime": null},
            ]},
        });
        assert_eq!(patch(&recorded, &wanted), Some(want));
    }
}
