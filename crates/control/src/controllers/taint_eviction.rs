//! Pods leave nodes with `NoExecute` taints that they do not tolerate, at once
//! or when the time that they tolerate them for is over.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, Pod, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::api::DeleteParams;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    event::{Kind, Recorder},
    pod,
    queue::{Outcome, Queue},
    scheduler::filter::tolerates,
    watch::{Key, Store, index},
    write::{self, Part, Writer},
};

/// Pods that are worked on at once.
const PARALLEL: usize = 16;

/// Evictions to come: when, and of which pod.
type Pending = Mutex<HashMap<Key, (Timestamp, Arc<Pod>)>>;

struct Controller {
    context: Context,
    pods: Writer<Pod>,
    pending: Arc<Pending>,
    recorder: Recorder,
}

/// Runs the controller until shutdown. Keys are pods.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let pending: Arc<Pending> = Arc::default();
    subscribe(&context, &queue, &pending);
    let controller = Arc::new(Controller {
        pods: Writer::new(&context.client, &context.kinds.pods),
        recorder: context.recorder.component("taint-eviction-controller"),
        pending,
        context,
    });
    let reconcile = move |key: Key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("taint-eviction", PARALLEL, shutdown, reconcile)
        .await;
}

fn subscribe(context: &Context, queue: &Queue<Key>, pending: &Arc<Pending>) {
    let kinds = &context.kinds;
    let (changed, nodes, pending) = (queue.clone(), Arc::clone(&kinds.nodes), Arc::clone(pending));
    kinds.pods.subscribe(move |change| {
        let Some(pod) = change.latest() else {
            return;
        };
        let key = Key::of(&**pod);
        let moved = change.old.and_then(|pod| pod::node_name(pod)) != pod::node_name(pod);
        let tainted = || !taints_of(&nodes, pod).is_empty();
        if pending.lock().contains_key(&key) || (moved && tainted()) {
            changed.add(key);
        }
    });
    let (changed, pods) = (queue.clone(), Arc::clone(&kinds.pods));
    kinds.nodes.subscribe(move |change| {
        let taints = |node: Option<&Arc<Node>>| node.map(|node| evicting(node)).unwrap_or_default();
        if taints(change.old) == taints(change.new) {
            return;
        }
        let name = change
            .sides()
            .last()
            .and_then(|node| node.metadata.name.as_deref());
        let on_node = pods.indexed(index::node(name.unwrap_or_default()));
        on_node.iter().for_each(|pod| changed.add(Key::of(&**pod)));
    });
}

/// The taints of a node that make pods leave.
fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    taints
        .filter(|taint| taint.effect == "NoExecute")
        .cloned()
        .collect()
}

fn taints_of(nodes: &Store<Node>, pod: &Pod) -> Vec<Taint> {
    let node = pod::node_name(pod).and_then(|name| nodes.get(&Key::new("", name)));
    node.map(|node| evicting(&node)).unwrap_or_default()
}

/// When a pod has to go; `None` if it may stay.
fn due(pod: &Pod, taints: &[Taint], now: Timestamp) -> Option<Timestamp> {
    let spec = pod.spec.as_ref();
    let tolerations = || {
        spec.iter()
            .flat_map(|spec| spec.tolerations.iter().flatten())
    };
    let due_to = |taint: &Taint| {
        let mut fitting = tolerations().filter(|one| tolerates(one, taint)).peekable();
        if fitting.peek().is_none() {
            return Some(now);
        }
        let seconds = fitting
            .filter_map(|toleration| toleration.toleration_seconds)
            .min()?;
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let most = SignedDuration::from_hours(24 * 365);
        let tolerated = SignedDuration::from_secs(seconds.max(0)).min(most);
        Some(since + tolerated)
    };
    taints.iter().filter_map(due_to).min()
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let kinds = &self.context.kinds;
        let now = Timestamp::now();
        let pod = kinds.pods.get(&key);
        let staying = pod.as_ref().filter(|pod| pod::is_active(pod));
        let due = staying.and_then(|pod| {
            let taints = taints_of(&kinds.nodes, pod);
            let before = self.pending.lock().get(&key).map(|(at, _)| *at);
            // A taint that does not say since when counts from when it was seen.
            let timed = taints.iter().all(|taint| taint.time_added.is_some());
            let due = due(pod, &taints, now)?;
            Some(before.filter(|_| !timed).unwrap_or(due))
        });
        let (Some(pod), Some(due)) = (staying, due) else {
            self.cancel(&key, pod.as_deref());
            return Ok(Outcome::Settled);
        };
        let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        if !left.is_zero() {
            self.pending.lock().insert(key, (due, Arc::clone(pod)));
            return Ok(Outcome::After(left));
        }
        self.pending.lock().remove(&key);
        self.evict(&key, pod).await?;
        Ok(Outcome::Settled)
    }

    fn cancel(&self, key: &Key, pod: Option<&Pod>) {
        let Some((_, planned)) = self.pending.lock().remove(key) else {
            return;
        };
        // One that is on its way out already needs no word.
        if !pod.is_some_and(pod::is_terminating) {
            let message = format!("Cancelling deletion of Pod {key}");
            self.recorder
                .record(&*planned, Kind::Normal, "TaintManagerEviction", message);
        }
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), write::Error> {
        let message = format!("Marking for deletion Pod {key}");
        self.recorder
            .record(pod, Kind::Normal, "TaintManagerEviction", message);
        let patch = disruption(
            pod,
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
        );
        match self.pods.strategic(key, Part::Status, patch).await {
            Err(err) if err.is_not_found() => return Ok(()),
            written => drop(written?),
        }
        let uid = pod.metadata.uid.as_deref();
        self.pods.delete(key, uid, DeleteParams::default()).await
    }
}

/// The strategic merge patch that says why a pod is about to go.
pub(super) fn disruption(pod: &Pod, reason: &str, message: &str) -> serde_json::Value {
    json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "observedGeneration": pod.metadata.generation,
        "lastProbeTime": null,
        "lastTransitionTime": Time(Timestamp::now()),
    }]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let unreachable = "node.kubernetes.io/unreachable";
        let taint = |key: &str, added: &str| -> Taint {
            serde_json::from_value(json!({"key": key, "effect": "NoExecute", "timeAdded": added}))
                .unwrap()
        };
        let taints = [taint(unreachable, "2026-11-24T12:00:00Z")];
        let two = [taints[0].clone(), taint("other", "2026-11-24T12:00:00Z")];
        let forever = json!({"operator": "Exists"});
        let five = json!({"key": unreachable, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 5});
        let table: [(serde_json::Value, &[Taint], Option<&str>); 6] = [
            (json!([]), &[], None),
            (json!([]), &taints, Some("2026-11-24T12:00:02Z")),
            (json!([forever]), &taints, None),
            (json!([five]), &taints, Some("2026-11-24T12:00:05Z")),
            (
                json!([forever, five]),
                &taints,
                Some("2026-11-24T12:00:05Z"),
            ),
            (json!([five]), &two, Some("2026-11-24T12:00:02Z")),
        ];
        let now = "2026-11-24T12:00:02Z".parse().unwrap();
        for (tolerations, taints, expected) in table {
            let spec = json!({"spec": {"containers": [], "tolerations": tolerations}});
            let pod: Pod = serde_json::from_value(spec).unwrap();
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(due(&pod, taints, now), expected, "{tolerations}");
        }
    }
}
