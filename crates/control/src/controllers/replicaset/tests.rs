use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    jiff::Timestamp,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Controller,
    plan::{Plan, Scale, plan, pod_of},
    status::status,
};
use crate::{
    event::Recorder,
    fixture::{merge, refusal, scripted},
    ownership::controller_reference,
    watch::Kinds,
    write::Writer,
};

const NOW: &str = "2026-11-24T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn set(spec: Value) -> ReplicaSet {
    let mut object = json!({
        "metadata": {"name": "r", "namespace": "ns", "uid": "r1", "generation": 3},
        "spec": {
            "selector": {"matchLabels": {"app": "r"}},
            "template": {
                "metadata": {"labels": {"app": "r", "tier": "a"}},
                "spec": {"containers": []},
            },
        },
    });
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// A running and ready pod of the set, with changes merged in.
fn pod(name: &str, changes: Value) -> Arc<Pod> {
    let mut object = json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": name,
            "creationTimestamp": "2026-11-24T11:00:00Z",
            "labels": {"app": "r", "tier": "a"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r1",
                "controller": true,
            }],
        },
        "spec": {"nodeName": "node1", "containers": []},
        "status": {
            "phase": "Running",
            "conditions": [{
                "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T11:00:00Z",
            }],
        },
    });
    merge(&mut object, &changes);
    Arc::new(serde_json::from_value(object).unwrap())
}

fn plan_for(set: &ReplicaSet, pods: &[Arc<Pod>]) -> Plan {
    plan(set, pods.to_vec(), || pods.to_vec(), now())
}

#[test]
fn the_number_of_pods_is_corrected() {
    let three = [
        pod("a", json!({})),
        pod("b", json!({})),
        pod("c", json!({})),
    ];
    let table = [
        (json!({"replicas": 3}), Scale::Fits),
        (json!({"replicas": 5}), Scale::Create(2)),
        (json!({"replicas": 900}), Scale::Create(500)),
        (json!({"replicas": 0}), Scale::Delete(three.to_vec())),
    ];
    for (spec, expected) in table {
        let got = plan_for(&set(spec.clone()), &three).scale;
        assert_eq!(got, expected, "{spec}");
    }
    assert_eq!(plan_for(&set(json!({})), &[]).scale, Scale::Create(1));
}

#[test]
fn ended_and_terminating_pods_are_replaced() {
    let pods = [
        pod("done", json!({"status": {"phase": "Succeeded"}})),
        pod("failed", json!({"status": {"phase": "Failed"}})),
        pod("going", json!({"metadata": {"deletionTimestamp": NOW}})),
    ];
    let plan = plan_for(&set(json!({"replicas": 2})), &pods);
    assert_eq!(plan.scale, Scale::Create(2));
    assert_eq!((plan.active.len(), plan.terminating), (0, 1));
}

#[test]
fn a_set_that_is_deleted_neither_makes_nor_deletes_nor_claims() {
    let mut set = set(json!({"replicas": 2}));
    set.metadata.deletion_timestamp = serde_json::from_value(json!(NOW)).unwrap();
    let orphan = pod("o", json!({"metadata": {"ownerReferences": null}}));
    let plan = plan_for(&set, &[orphan]);
    assert_eq!(plan.scale, Scale::Fits);
    assert!(!plan.has_claims());
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let orphan = pod("o", json!({"metadata": {"ownerReferences": null}}));
    let stranger = pod("s", json!({"metadata": {"labels": {"app": "x"}}}));
    let plan = plan_for(
        &set(json!({})),
        &[Arc::clone(&orphan), Arc::clone(&stranger)],
    );
    assert_eq!((plan.adopt, plan.release), (vec![orphan], vec![stranger]));
}

#[test]
fn victims_are_chosen_by_upstreams_order() {
    let base = json!({});
    let waiting =
        json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": []}});
    let pending = json!({"status": {"phase": "Pending", "conditions": []}});
    let unready = json!({"status": {"conditions": []}});
    let cheap = json!({"metadata": {"annotations": {
        "controller.kubernetes.io/pod-deletion-cost": "-5"}}});
    let restarted = json!({"status": {"containerStatuses": [
        {"name": "c", "restartCount": 4, "image": "", "imageID": "", "ready": true}]}});
    let fresh = json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T11:59:59Z"}]}});
    let young = json!({"metadata": {"creationTimestamp": "2026-11-24T11:59:00Z"}});
    let table = [
        ("not scheduled", &waiting, &pending),
        ("pending", &pending, &unready),
        ("not ready", &unready, &cheap),
        ("cheap to delete", &cheap, &fresh),
        ("ready for a shorter time", &fresh, &restarted),
        ("restarted more often", &restarted, &young),
        ("younger", &young, &base),
    ];
    for (what, first, second) in table {
        let pods = [pod("1", second.clone()), pod("2", first.clone())];
        let plan = plan_for(&set(json!({"replicas": 1})), &pods);
        assert_eq!(
            plan.scale,
            Scale::Delete(vec![Arc::clone(&pods[1])]),
            "{what}"
        );
    }
}

#[test]
fn the_fuller_node_loses_a_pod() {
    let pods = [
        pod("1", json!({"spec": {"nodeName": "node2"}})),
        pod("2", json!({})),
        pod("3", json!({})),
    ];
    let plan = plan_for(&set(json!({"replicas": 2})), &pods);
    let Scale::Delete(victims) = plan.scale else {
        panic!("one pod too many");
    };
    assert_eq!(
        victims[0].spec.as_ref().unwrap().node_name.as_deref(),
        Some("node1")
    );
}

#[test]
fn a_pod_is_available_after_its_seconds() {
    let set = set(json!({"replicas": 2, "minReadySeconds": 10}));
    let fresh = json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T11:59:53Z"}]}});
    let plan = plan_for(&set, &[pod("a", json!({})), pod("b", fresh)]);
    assert_eq!(plan.next_check, Some(Duration::from_secs(3)));
    let status = status(&set, &plan, None, now());
    assert_eq!(
        (status.ready_replicas, status.available_replicas),
        (Some(2), Some(1))
    );
}

#[test]
fn the_status_counts_and_leaves_zeroes_out() {
    let set = set(json!({"replicas": 2}));
    let unlabeled = pod(
        "b",
        json!({"metadata": {"labels": {"tier": "b"}}, "status": {"conditions": []}}),
    );
    let plan = plan_for(&set, &[pod("a", json!({})), unlabeled]);
    let got = serde_json::to_value(status(&set, &plan, None, now())).unwrap();
    let expected = json!({
        "replicas": 2, "fullyLabeledReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "terminatingReplicas": 0, "observedGeneration": 3,
    });
    assert_eq!(got, expected);
    let none = serde_json::to_value(status(&set, &plan_for(&set, &[]), None, now())).unwrap();
    assert_eq!(
        none,
        json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3})
    );
}

#[test]
fn a_pod_is_made_by_the_template() {
    let set = set(json!({}));
    let pod = pod_of(&set, controller_reference(&set));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("r-"));
    assert_eq!(pod.metadata.labels.unwrap()["tier"], "a");
    let owner = &pod.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.name.as_str(), owner.controller), ("r", Some(true)));
}

/// A controller whose API server makes `limit` pods, then refuses.
fn controller(limit: usize) -> (Controller<ReplicaSet>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let client = scripted(move |method, path, mut body| {
        assert_eq!((method, path), ("POST", "/api/v1/namespaces/ns/pods?"));
        let number = counter.fetch_add(1, Ordering::SeqCst);
        if number >= limit {
            return refusal(403, "Forbidden", "exceeded quota: q");
        }
        body["metadata"]["name"] = json!(format!("r-{number}"));
        body["metadata"]["resourceVersion"] = json!((number + 1).to_string());
        (201, body)
    });
    let (recorder, _) = Recorder::new(client.clone(), CancellationToken::new());
    let context = Context {
        client: client.clone(),
        kinds: Kinds::new(),
        recorder: recorder.clone(),
    };
    let controller = Controller {
        sets: Writer::new(&client, &context.kinds.replica_sets),
        pods: Writer::new(&client, &context.kinds.pods),
        context,
        recorder,
    };
    (controller, asked)
}

#[tokio::test]
async fn pods_are_made_in_growing_batches_until_one_is_refused() {
    // Pods that may be made, pods wanted, requests: batches of 1, 2, 4, ….
    let table = [
        (0, 100, 1),
        (1, 100, 3),
        (5, 100, 7),
        (100, 100, 100),
        (100, 6, 6),
    ];
    for (limit, wanted, requests) in table {
        let (controller, asked) = controller(limit);
        let made = controller
            .create(&set(json!({})), &set(json!({})), wanted)
            .await;
        assert_eq!(
            asked.load(Ordering::SeqCst),
            requests,
            "{limit} of {wanted}"
        );
        assert_eq!(made.is_ok(), limit >= wanted);
        let known = controller.context.kinds.pods.all().len();
        assert_eq!(known, requests.min(limit), "made pods are known at once");
    }
}
