use std::time::Duration;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::Timestamp,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    health::{Health, Heard},
    plan::{silence, taints},
};

fn node(ready: Option<&str>, spec: Value) -> Node {
    let conditions: Vec<_> = ready
        .into_iter()
        .map(|status| {
            json!({"type": "Ready", "status": status,
            "lastHeartbeatTime": "2026-11-24T12:00:00Z"})
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "n", "creationTimestamp": "2026-11-24T11:00:00Z"},
        "spec": spec,
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn lease(holder: &str, renewed: &str) -> Lease {
    serde_json::from_value(json!({"spec": {
        "holderIdentity": holder, "leaseDurationSeconds": 40, "renewTime": renewed}}))
    .unwrap()
}

#[test]
fn a_node_is_silent_when_its_lease_runs_out_or_is_given_up() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut heard = Heard::new(start);
    let node = node(Some("True"), json!({}));
    let first = lease("n", "2026-11-24T12:00:00.000000Z");
    let mut listen =
        |lease: &Lease, seconds: u32| heard.listen(&node, Some(lease), start + second * seconds);
    let speaks = |seconds: u32| Health::Speaks {
        silent_in: second * seconds,
    };
    assert_eq!(listen(&first, 0), speaks(40));
    assert_eq!(listen(&first, 39), speaks(1));
    assert_eq!(listen(&first, 40), Health::Silent);
    let renewed = lease("n", "2026-11-24T12:00:41.000000Z");
    assert_eq!(listen(&renewed, 41), speaks(40));
    assert_eq!(
        listen(&lease("", "2026-11-24T12:00:41.000000Z"), 42),
        Health::Silent
    );
    assert_eq!(listen(&renewed, 43), speaks(40));
}

#[test]
fn without_a_lease_the_status_counts() {
    let start = Instant::now();
    let mut heard = Heard::new(start);
    let node = node(Some("True"), json!({}));
    assert!(matches!(
        heard.listen(&node, None, start),
        Health::Speaks { .. }
    ));
    let later = start + Duration::from_secs(41);
    assert_eq!(heard.listen(&node, None, later), Health::Silent);
}

#[test]
fn a_silent_node_is_unknown_in_all_it_used_to_tell() {
    let now = Timestamp::UNIX_EPOCH;
    let node_is_ready = node(Some("True"), json!({}));
    let speaks = Health::Speaks {
        silent_in: Duration::from_secs(1),
    };
    assert_eq!(silence(&node_is_ready, speaks, now), None);
    let patch = silence(&node_is_ready, Health::Silent, now).unwrap();
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let told: Vec<_> = conditions
        .iter()
        .map(|one| {
            (
                one["type"].as_str().unwrap(),
                one["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("Ready", "NodeStatusUnknown"),
            ("MemoryPressure", "NodeStatusNeverUpdated"),
            ("DiskPressure", "NodeStatusNeverUpdated"),
            ("PIDPressure", "NodeStatusNeverUpdated"),
        ]
    );
    assert!(conditions.iter().all(|one| one["status"] == "Unknown"));
    assert_eq!(
        conditions[0]["message"],
        "Kubelet stopped posting node status."
    );
}

#[test]
fn taints_follow_conditions() {
    let own = json!({"key": "mine", "effect": "NoSchedule"});
    let old = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
        "timeAdded": "2026-11-24T12:00:00Z"});
    let short = |taints: &Value| -> Vec<String> {
        let all = taints.as_array().cloned().unwrap_or_default();
        let one = |taint: &Value| {
            let key = taint["key"]
                .as_str()
                .unwrap()
                .replace("node.kubernetes.io/", "");
            format!("{key}:{}", taint["effect"].as_str().unwrap())
        };
        all.iter().map(one).collect()
    };
    type Row<'a> = (Option<&'a str>, Value, bool, Option<&'a [&'a str]>);
    let table: [Row<'_>; 9] = [
        (Some("True"), json!({}), true, None),
        (Some("True"), json!({"taints": [own]}), true, None),
        (Some("True"), json!({"taints": [old]}), true, Some(&[])),
        (
            Some("Unknown"),
            json!({"taints": [own]}),
            true,
            Some(&[
                "mine:NoSchedule",
                "unreachable:NoSchedule",
                "unreachable:NoExecute",
            ]),
        ),
        (
            Some("False"),
            json!({}),
            true,
            Some(&["not-ready:NoSchedule", "not-ready:NoExecute"]),
        ),
        (
            Some("Unknown"),
            json!({}),
            false,
            Some(&["unreachable:NoSchedule"]),
        ),
        (
            Some("Unknown"),
            json!({"taints": [old]}),
            false,
            Some(&["unreachable:NoSchedule"]),
        ),
        (None, json!({}), true, Some(&["not-ready:NoSchedule"])),
        (
            Some("True"),
            json!({"unschedulable": true}),
            true,
            Some(&["unschedulable:NoSchedule"]),
        ),
    ];
    for (ready, spec, any_ready, expected) in table {
        let patch = taints(&node(ready, spec.clone()), any_ready, Timestamp::UNIX_EPOCH);
        let got = patch.map(|patch| short(&patch["spec"]["taints"]));
        let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        assert_eq!(got, expected, "{ready:?} {spec}");
    }
}
