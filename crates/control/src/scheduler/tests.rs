use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Scheduler,
    cache::{Cache, PodInfo},
    decide::{Decision, decide},
    spread::Alike,
};
use crate::{
    event::Recorder,
    fixture::{merge, refusal, scripted},
    watch::{Kinds, Sink},
};

/// A node with 2 CPUs, 4 GiB and room for 10 pods.
fn node(name: &str, changes: Value) -> Arc<Node> {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
    });
    merge(&mut object, &changes);
    Arc::new(serde_json::from_value(object).unwrap())
}

fn pod(name: &str, changes: Value) -> Arc<PodInfo> {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c"}]},
    });
    merge(&mut object, &changes);
    let pod: Pod = serde_json::from_value(object).unwrap();
    Arc::new(PodInfo::new(&Arc::new(pod)))
}

fn cache(nodes: &[Arc<Node>], placed: &[(&str, Arc<PodInfo>)]) -> Cache {
    let mut cache = Cache::default();
    nodes.iter().for_each(|node| cache.set_node(node));
    placed
        .iter()
        .for_each(|(node, pod)| cache.place(node, Arc::clone(pod)));
    cache
}

fn decide_on(pod: &PodInfo, cache: &Cache) -> Decision {
    decide(pod, cache, None, &|_| BTreeMap::new(), 0)
}

fn message(pod: &PodInfo, cache: &Cache) -> String {
    match decide_on(pod, cache) {
        Decision::Nowhere { message, .. } => message,
        Decision::Node(node) => panic!("placed on {node}"),
    }
}

fn requests(name: &str, amount: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {name: amount}}}]}})
}

fn required_affinity(kind: &str, app: &str) -> Value {
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {"app": app}},
        "topologyKey": "kubernetes.io/hostname",
    }]}}}})
}

/// The texts that upstream wrote in the same situations (recorded scenarios).
#[test]
fn refusals_are_told_in_upstreams_words() {
    const UNHELPFUL: &str =
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    const NO_VICTIMS: &str =
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    let by_field = json!({"spec": {"affinity": {"nodeAffinity": {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["other"]}],
    }]}}}}});
    let by_label = json!({"spec": {"affinity": {"nodeAffinity": {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
        "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}],
    }]}}}}});
    let mut never = requests("example.com/never", "1");
    never["spec"]["preemptionPolicy"] = json!("Never");
    let host_port = json!({"spec": {"containers": [{
        "name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let base = json!({"metadata": {"labels": {"app": "base"}}});
    let mut guard = required_affinity("podAntiAffinity", "other");
    merge(
        &mut guard,
        &json!({"metadata": {"labels": {"app": "guard"}}}),
    );
    let plain = json!({});
    let taint = json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
    let cordon = json!({"spec": {"unschedulable": true}});
    let full = json!({"status": {"allocatable": {"pods": "1"}}});
    let table = [
        (
            &plain,
            &json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
            "1 node(s) didn't match Pod's node affinity/selector",
            UNHELPFUL,
        ),
        (
            &plain,
            &by_label,
            "1 node(s) didn't match Pod's node affinity/selector",
            UNHELPFUL,
        ),
        (
            &plain,
            &by_field,
            "1 node(s) didn't satisfy plugin(s) [NodeAffinity]",
            UNHELPFUL,
        ),
        (
            &taint,
            &plain,
            "1 node(s) had untolerated taint(s)",
            UNHELPFUL,
        ),
        (&cordon, &plain, "1 node(s) were unschedulable", UNHELPFUL),
        (&full, &plain, "1 Too many pods", NO_VICTIMS),
        (
            &plain,
            &requests("cpu", "3"),
            "1 Insufficient cpu",
            UNHELPFUL,
        ),
        (
            &plain,
            &requests("cpu", "1500m"),
            "1 Insufficient cpu",
            NO_VICTIMS,
        ),
        (
            &plain,
            &never,
            "1 Insufficient example.com/never",
            "preemption: not eligible due to preemptionPolicy=Never.",
        ),
        (
            &plain,
            &host_port,
            "1 node(s) didn't have free ports for the requested pod ports",
            NO_VICTIMS,
        ),
        (
            &plain,
            &required_affinity("podAffinity", "none"),
            "1 node(s) didn't match pod affinity rules",
            UNHELPFUL,
        ),
        (
            &plain,
            &required_affinity("podAntiAffinity", "base"),
            "1 node(s) didn't match pod anti-affinity rules",
            NO_VICTIMS,
        ),
        (
            &plain,
            &json!({"metadata": {"labels": {"app": "other"}}}),
            "1 node(s) didn't satisfy existing pods anti-affinity rules",
            NO_VICTIMS,
        ),
    ];
    for (node_changes, pod_changes, reason, preemption) in table {
        let mut busy = host_port.clone();
        merge(&mut busy, &base);
        busy["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        let placed = [
            ("node1", pod("base", busy)),
            ("node1", pod("guard", guard.clone())),
        ];
        let cache = cache(&[node("node1", node_changes.clone())], &placed);
        let expected = format!("0/1 nodes are available: {reason}. {preemption}");
        assert_eq!(
            message(&pod("p", pod_changes.clone()), &cache),
            expected,
            "{pod_changes}"
        );
    }
}

#[test]
fn reasons_of_several_nodes_are_counted_and_sorted() {
    let taint = json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
    let nodes = [node("a", json!({})), node("b", taint)];
    let pod = pod(
        "p",
        json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "b"}}}),
    );
    assert_eq!(
        message(&pod, &cache(&nodes, &[])),
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
         1 node(s) had untolerated taint(s). preemption: 0/2 nodes are available: \
         2 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        message(&pod, &cache(&[], &[])),
        "no nodes available to schedule pods"
    );
}

#[test]
fn a_toleration_opens_a_tainted_node() {
    let taint = json!({"spec": {"taints": [{"key": "x", "value": "y", "effect": "NoSchedule"}]}});
    let cache = cache(&[node("a", taint)], &[]);
    let table = [
        (json!({"key": "x", "operator": "Exists"}), true),
        (json!({"operator": "Exists"}), true),
        (
            json!({"key": "x", "operator": "Equal", "value": "y", "effect": "NoSchedule"}),
            true,
        ),
        (json!({"key": "x", "value": "z"}), false),
        (
            json!({"key": "x", "operator": "Exists", "effect": "NoExecute"}),
            false,
        ),
        (json!({"key": "z", "operator": "Exists"}), false),
    ];
    for (toleration, opens) in table {
        let pod = pod("p", json!({"spec": {"tolerations": [toleration]}}));
        let placed = matches!(decide_on(&pod, &cache), Decision::Node(_));
        assert_eq!(placed, opens, "{toleration}");
    }
}

fn owned(name: &str) -> Arc<PodInfo> {
    pod(
        name,
        json!({"metadata": {"ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true,
        }]}}),
    )
}

#[test]
fn pods_of_one_owner_spread_even_over_nodes_of_different_size() {
    let big = json!({"status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}}});
    let mut cache = cache(&[node("big", big), node("small", json!({}))], &[]);
    let alike = Alike::Owner("r".into());
    let mut counts = BTreeMap::new();
    for n in 0..6 {
        let pod = owned(&n.to_string());
        let decision = decide(&pod, &cache, Some(&alike), &|_| BTreeMap::new(), n);
        let Decision::Node(node) = decision else {
            panic!("no node")
        };
        *counts.entry(node.clone()).or_insert(0) += 1;
        cache.place(&node, pod);
    }
    assert_eq!(
        counts,
        [("big".to_owned(), 3), ("small".to_owned(), 3)].into()
    );
}

#[test]
fn a_burst_does_not_overfill_a_node() {
    let mut cache = cache(&[node("a", json!({}))], &[]);
    for n in 0..4 {
        let pod = pod(&n.to_string(), requests("cpu", "500m"));
        assert_eq!(decide_on(&pod, &cache), Decision::Node("a".into()));
        cache.place("a", pod);
    }
    assert!(matches!(
        decide_on(&pod("p", requests("cpu", "1m")), &cache),
        Decision::Nowhere { .. }
    ));
    assert!(cache.take_away("0"));
    assert_eq!(
        decide_on(&pod("p", requests("cpu", "1m")), &cache),
        Decision::Node("a".into())
    );
}

#[test]
fn the_first_pod_with_affinity_to_its_own_kind_is_placed() {
    let mut own = required_affinity("podAffinity", "self");
    merge(&mut own, &json!({"metadata": {"labels": {"app": "self"}}}));
    let nodes = [node("a", json!({})), node("b", json!({}))];
    assert!(matches!(
        decide_on(&pod("p", own.clone()), &cache(&nodes, &[])),
        Decision::Node(_)
    ));
    let placed = [("b", pod("q", own.clone()))];
    assert_eq!(
        decide_on(&pod("p", own), &cache(&nodes, &placed)),
        Decision::Node("b".into())
    );
}

#[test]
fn a_required_spread_is_kept() {
    let constraint = json!({"metadata": {"labels": {"app": "w"}}, "spec": {
    "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "w"}},
    }]}});
    let small = json!({"status": {"allocatable": {"pods": "1"}}});
    let nodes = [node("a", json!({})), node("b", small)];
    let placed = [("a", pod("1", constraint.clone()))];
    let next = pod("p", constraint.clone());
    assert_eq!(
        decide_on(&next, &cache(&nodes, &placed)),
        Decision::Node("b".into())
    );
    let placed = [placed[0].clone(), ("b", pod("x", json!({})))];
    assert_eq!(
        message(&next, &cache(&nodes, &placed)),
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread \
         constraints. preemption: 0/2 nodes are available: \
         2 No preemption victims found for incoming pod."
    );
}

#[test]
fn a_pod_that_was_placed_before_its_node_is_known_counts_on_it() {
    let mut cache = Cache::default();
    cache.place("a", pod("1", requests("cpu", "2")));
    cache.set_node(&node("a", json!({})));
    assert!(matches!(
        decide_on(&pod("p", requests("cpu", "1m")), &cache),
        Decision::Nowhere { .. }
    ));
}

/// A running scheduler whose API server refuses the first `refused` writes;
/// what it writes comes out as path and body.
struct Running {
    kinds: Kinds,
    writes: mpsc::UnboundedReceiver<(String, Value)>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn new(refused: usize) -> Self {
        let (written, writes) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let client = scripted(move |method, path, body| {
            written.send((path.to_owned(), body.clone())).unwrap();
            if method == "PATCH" {
                return refusal(404, "NotFound", "it need not be kept here");
            }
            match count.fetch_add(1, Ordering::SeqCst) < refused {
                true => refusal(500, "InternalError", "not now"),
                false => (200, body),
            }
        });
        let kinds = Kinds::new();
        let shutdown = CancellationToken::new();
        let (recorder, _) = Recorder::new(client.clone(), shutdown.clone());
        let scheduler = Scheduler::new(&kinds, client, &recorder);
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        Self {
            kinds,
            writes,
            shutdown,
            task,
        }
    }

    async fn next_write(&mut self) -> (String, Value) {
        self.writes.recv().await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_is_refused_is_made_again() {
    let mut running = Running::new(2);
    running
        .kinds
        .nodes
        .apply(Node::clone(&node("a", json!({}))));
    let pod = pod("p", json!({}));
    running.kinds.pods.apply(Pod::clone(&pod.pod));
    for _ in 0..3 {
        let (path, body) = running.next_write().await;
        assert_eq!(path, "/api/v1/namespaces/ns/pods/p/binding?");
        assert_eq!(body["target"], json!({"kind": "Node", "name": "a"}));
        assert_eq!(body["metadata"]["uid"], "p");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_so_and_is_placed_when_a_node_fits() {
    let mut running = Running::new(0);
    let selecting = pod("p", json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    running
        .kinds
        .nodes
        .apply(Node::clone(&node("a", json!({}))));
    running.kinds.pods.apply(Pod::clone(&selecting.pod));
    let (path, body) = running.next_write().await;
    assert_eq!(path, "/api/v1/namespaces/ns/pods/p/status?");
    let condition = &body["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("PodScheduled"), &json!("Unschedulable"))
    );
    let labeled = node("a", json!({"metadata": {"labels": {"disk": "ssd"}}}));
    running.kinds.nodes.apply(Node::clone(&labeled));
    let (path, _) = running.next_write().await;
    assert_eq!(path, "/api/v1/namespaces/ns/pods/p/binding?");
    running.stop().await;
}
