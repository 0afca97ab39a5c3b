//! Nodes that stop speaking: what they and their pods look like then.
//!
//! A node speaks by renewing its Lease. When the Lease runs out, or is given up
//! by the API server on the node's behalf because its connections are gone, the
//! node's conditions turn Unknown, it is tainted, and its pods are no longer
//! ready, all at once. Taints follow conditions for every node.
//!
//! When no node is ready, nothing is evicted: then more likely the control
//! plane is cut off than every node dead (as upstream, by taking away the taint
//! that evicts).

mod health;
mod plan;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::health::{Health, Heard};
use super::{Context, NODE_LEASES};
use crate::{
    event::{Kind, Recorder},
    pod,
    queue::{Outcome, Queue},
    watch::{Key, index},
    write::{self, Part, Writer},
};

/// Nodes that are worked on at once.
const PARALLEL: usize = 8;

/// What was known of a node when it was looked at last.
struct Known {
    heard: Heard,
    was_ready: bool,
    node: Arc<Node>,
}

struct Controller {
    context: Context,
    nodes: Writer<Node>,
    pods: Writer<Pod>,
    leases: Writer<Lease>,
    known: Mutex<HashMap<Key, Known>>,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    subscribe(&context, &queue);
    let controller = Arc::new(Controller {
        nodes: Writer::new(&context.client, &context.kinds.nodes),
        pods: Writer::new(&context.client, &context.kinds.pods),
        leases: Writer::new(&context.client, &context.kinds.leases),
        known: Mutex::default(),
        recorder: context.recorder.component("node-controller"),
        context,
    });
    let reconcile = move |key: Key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("node-lifecycle", PARALLEL, shutdown, reconcile)
        .await;
}

fn subscribe(context: &Context, queue: &Queue<Key>) {
    let kinds = &context.kinds;
    let (changed, nodes) = (queue.clone(), Arc::downgrade(&kinds.nodes));
    kinds.nodes.subscribe(move |change| {
        let ready = |node: Option<&Arc<Node>>| node.map(|node| health::is_ready(node));
        // Whether any node is ready decides about the taints of all.
        if ready(change.old) != ready(change.new)
            && let Some(nodes) = nodes.upgrade()
        {
            changed.add_all(nodes.keys());
        }
        if let Some(node) = change.latest() {
            changed.add(Key::of(&**node));
        }
    });
    let changed = queue.clone();
    kinds.leases.subscribe(move |change| {
        if let Some(lease) = change.latest() {
            changed.add(Key::new(
                "",
                lease.metadata.name.as_deref().unwrap_or_default(),
            ));
        }
    });
    // A pod that says it is ready while its node is silent is put right.
    let changed = queue.clone();
    let nodes = Arc::downgrade(&kinds.nodes);
    kinds.pods.subscribe(move |change| {
        let Some(pod) = change.new.filter(|pod| pod::is_ready(pod)) else {
            return;
        };
        let (Some(name), Some(nodes)) = (pod::node_name(pod), nodes.upgrade()) else {
            return;
        };
        let key = Key::new("", name);
        if nodes.get(&key).is_some_and(|node| health::is_silent(&node)) {
            changed.add(key);
        }
    });
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let Some(node) = self.context.kinds.nodes.get(&key) else {
            self.forget(&key);
            return Ok(Outcome::Settled);
        };
        let (mut health, was_ready) = self.listen(&key, &node);
        let now = Timestamp::now();
        if plan::silence(&node, health, now).is_some() {
            // A node that comes back renews its Lease, then posts its status;
            // the watch of nodes may be ahead of that of leases.
            let lease = Key::new(NODE_LEASES, &key.name);
            if let Some(lease) = self.leases.read(&lease).await? {
                self.context.kinds.leases.wrote(lease);
            }
            health = self.listen(&key, &node).0;
        }
        if let Some(patch) = plan::silence(&node, health, now) {
            self.write_node(&key, Part::Status, patch).await?;
        }
        let Some(node) = self.context.kinds.nodes.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let ready = health::is_ready(&node);
        if was_ready && !ready {
            let message = format!("Node {key} status is now: NodeNotReady");
            self.recorder
                .record(&*node, Kind::Normal, "NodeNotReady", message);
            tracing::info!(node = %key, "node is not ready");
        }
        let any_ready = self
            .context
            .kinds
            .nodes
            .all()
            .iter()
            .any(|node| health::is_ready(node));
        if let Some(patch) = plan::taints(&node, any_ready, now) {
            self.write_node(&key, Part::Main, patch).await?;
        }
        if health::is_silent(&node) || (was_ready && !ready) {
            self.unready_pods(&key).await?;
        }
        if let Some(known) = self.known.lock().get_mut(&key) {
            known.was_ready = ready;
            known.node = node;
        }
        Ok(match health {
            Health::Speaks { silent_in } => Outcome::After(silent_in),
            Health::Silent => Outcome::Settled,
        })
    }

    /// Takes note of signs of life; tells also whether the node was ready.
    fn listen(&self, key: &Key, node: &Arc<Node>) -> (Health, bool) {
        let lease = self
            .context
            .kinds
            .leases
            .get(&Key::new(NODE_LEASES, &key.name));
        let now = Instant::now();
        let mut known = self.known.lock();
        let is_new = !known.contains_key(key);
        let entry = known.entry(key.clone()).or_insert_with(|| Known {
            heard: Heard::new(now),
            was_ready: health::is_ready(node),
            node: Arc::clone(node),
        });
        if is_new {
            let message = format!("Node {key} event: Registered Node {key} in Controller");
            self.recorder
                .record(&**node, Kind::Normal, "RegisteredNode", message);
        }
        (
            entry.heard.listen(node, lease.as_deref(), now),
            entry.was_ready,
        )
    }

    fn forget(&self, key: &Key) {
        if let Some(known) = self.known.lock().remove(key) {
            let message = format!("Node {key} event: Removing Node {key} from Controller");
            self.recorder
                .record(&*known.node, Kind::Normal, "RemovingNode", message);
        }
    }

    async fn write_node(
        &self,
        key: &Key,
        part: Part,
        patch: serde_json::Value,
    ) -> Result<(), write::Error> {
        let written = match part {
            Part::Main => self.nodes.merge(key, part, patch).await,
            Part::Status => self.nodes.strategic(key, part, patch).await,
        };
        match written {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }

    /// Nobody can say any more that the pods of the node are ready.
    async fn unready_pods(&self, node: &Key) -> Result<(), write::Error> {
        let pods = self.context.kinds.pods.indexed(index::node(&node.name));
        let ready = pods
            .iter()
            .filter(|pod| pod::node_name(pod) == Some(&*node.name) && pod::is_ready(pod));
        let written = ready.map(|pod| async move {
            let message = "Node is not ready".to_owned();
            self.recorder
                .record(&**pod, Kind::Warning, "NodeNotReady", message);
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
                "type": "Ready",
                "status": "False",
                "lastTransitionTime": Time(Timestamp::now()),
            }]}});
            match self
                .pods
                .strategic(&Key::of(&**pod), Part::Status, patch)
                .await
            {
                Err(err) if !err.is_not_found() => Err(err),
                _ => Ok(()),
            }
        });
        futures::future::join_all(written)
            .await
            .into_iter()
            .collect()
    }
}
