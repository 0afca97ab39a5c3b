//! Conditions of silent nodes, and the taints that follow conditions.

use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::health::{Health, condition};

/// Conditions that only the node itself can tell.
const TOLD_BY_THE_NODE: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions that keep new pods away while they are True.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "node.kubernetes.io/network-unavailable",
    ),
];

/// The strategic merge patch of the status of a node that went silent.
pub(super) fn silence(node: &Node, health: Health, now: Timestamp) -> Option<Value> {
    if health != Health::Silent {
        return None;
    }
    let unknown = |kind: &str| {
        let (reason, message, heartbeat) = match condition(node, kind) {
            Some(old) if old.status == "Unknown" => return None,
            Some(old) => (
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
                old.last_heartbeat_time.clone(),
            ),
            None => (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
                node.metadata.creation_timestamp.clone(),
            ),
        };
        Some(NodeCondition {
            type_: kind.into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(Time(now)),
        })
    };
    let conditions: Vec<_> = TOLD_BY_THE_NODE
        .iter()
        .filter_map(|kind| unknown(kind))
        .collect();
    (!conditions.is_empty()).then(|| {
        json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions},
        })
    })
}

/// The merge patch that brings a node's taints in line with its conditions.
///
/// `any_ready`: some node of the cluster is ready; if none is, no node gets a
/// taint that evicts.
pub(super) fn taints(node: &Node, any_ready: bool, now: Timestamp) -> Option<Value> {
    let spec = node.spec.clone().unwrap_or_default();
    let have = spec.taints.unwrap_or_default();
    let wanted = wanted(node, any_ready, spec.unschedulable == Some(true));
    let is_wanted = |taint: &Taint| {
        wanted
            .iter()
            .any(|(key, effect)| taint.key == *key && taint.effect == *effect)
    };
    let mut taints: Vec<Taint> = have
        .iter()
        .filter(|taint| !is_ours(taint) || is_wanted(taint))
        .cloned()
        .collect();
    for (key, effect) in &wanted {
        let there = |taint: &Taint| taint.key == *key && taint.effect == *effect;
        if !taints.iter().any(there) {
            taints.push(Taint {
                key: (*key).into(),
                effect: (*effect).into(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    if taints == have {
        return None;
    }
    let taints = (!taints.is_empty()).then_some(taints);
    Some(json!({
        "metadata": {"resourceVersion": node.metadata.resource_version},
        "spec": {"taints": taints},
    }))
}

fn wanted(node: &Node, any_ready: bool, cordoned: bool) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    let ready = condition(node, "Ready").map(|ready| ready.status.as_str());
    let key = match ready {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        // A node that has not said anything yet is not ready either.
        Some(_) | None => Some(NOT_READY),
    };
    wanted.extend(key.map(|key| (key, "NoSchedule")));
    for (kind, key) in PRESSURES {
        if condition(node, kind).is_some_and(|pressure| pressure.status == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if cordoned {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted.extend(
        key.filter(|_| any_ready && ready.is_some())
            .map(|key| (key, "NoExecute")),
    );
    wanted
}

/// Taints that come and go with conditions; others are people's own.
fn is_ours(taint: &Taint) -> bool {
    let by_readiness = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
    let by_pressure = PRESSURES.iter().any(|(_, key)| taint.key == *key);
    match taint.effect.as_str() {
        "NoSchedule" => by_readiness || by_pressure || taint.key == UNSCHEDULABLE,
        "NoExecute" => by_readiness,
        _ => false,
    }
}
