//! Pods that no node will ever end: those of nodes that are gone, and those
//! that are deleted before they had a node.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Context, taint_eviction::disruption};
use crate::{
    pod,
    queue::{Outcome, Queue},
    watch::{Key, Store, index},
    write::{self, Part, Writer},
};

/// Pods that are worked on at once.
const PARALLEL: usize = 8;
/// A node may be registered anew: its pods get this long.
const QUARANTINE: Duration = Duration::from_secs(40);

struct Controller {
    context: Context,
    pods: Writer<Pod>,
    nodes: Writer<Node>,
    /// Since when a node has been missing.
    missing: Mutex<HashMap<Key, Instant>>,
}

/// Runs the controller until shutdown. Keys are pods.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let kinds = &context.kinds;
    let (changed, nodes) = (queue.clone(), Arc::clone(&kinds.nodes));
    kinds.pods.subscribe(move |change| {
        if let Some(pod) = change.new.filter(|pod| is_stranded(&nodes, pod)) {
            changed.add(Key::of(&**pod));
        }
    });
    let (changed, pods) = (queue.clone(), Arc::clone(&kinds.pods));
    kinds.nodes.subscribe(move |change| {
        if let (Some(node), None) = (change.old, change.new) {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let on_node = pods.indexed(index::node(name));
            on_node.iter().for_each(|pod| changed.add(Key::of(&**pod)));
        }
    });
    let controller = Arc::new(Controller {
        pods: Writer::new(&context.client, &context.kinds.pods),
        nodes: Writer::new(&context.client, &context.kinds.nodes),
        missing: Mutex::default(),
        context,
    });
    let reconcile = move |key: Key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run("pod-gc", PARALLEL, shutdown, reconcile).await;
}

fn is_stranded(nodes: &Store<Node>, pod: &Pod) -> bool {
    match pod::node_name(pod) {
        Some(name) => nodes.get(&Key::new("", name)).is_none(),
        None => pod::is_terminating(pod),
    }
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let kinds = &self.context.kinds;
        let pod = kinds.pods.get(&key);
        let Some(pod) = pod.filter(|pod| is_stranded(&kinds.nodes, pod)) else {
            return Ok(Outcome::Settled);
        };
        if let Some(name) = pod::node_name(&pod) {
            let node = Key::new("", name);
            let left = self.quarantine_left(&node);
            if !left.is_zero() {
                return Ok(Outcome::After(left));
            }
            if self.nodes.read(&node).await?.is_some() {
                return Ok(Outcome::Settled);
            }
            self.say_why(&key, &pod).await?;
        }
        let uid = pod.metadata.uid.as_deref();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        self.pods.delete(&key, uid, params).await?;
        Ok(Outcome::Settled)
    }

    fn quarantine_left(&self, node: &Key) -> Duration {
        let now = Instant::now();
        let mut missing = self.missing.lock();
        missing.retain(|node, _| self.context.kinds.nodes.get(node).is_none());
        let since = *missing.entry(node.clone()).or_insert(now);
        (since + QUARANTINE).saturating_duration_since(now)
    }

    /// A pod whose end nobody saw counts as failed.
    async fn say_why(&self, key: &Key, pod: &Pod) -> Result<(), write::Error> {
        if pod::is_finished(pod) {
            return Ok(());
        }
        let mut patch = disruption(pod, "DeletionByPodGC", "PodGC: node no longer exists");
        patch["status"]["phase"] = "Failed".into();
        patch["status"]["observedGeneration"] = pod.metadata.generation.into();
        match self.pods.strategic(key, Part::Status, patch).await {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }
}
