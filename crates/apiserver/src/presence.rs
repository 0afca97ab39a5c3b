//! Which nodes are connected, and the end of a lease when a node's agent is gone.
//!
//! DEVIATION (an addition): upstream learns of a dead node when its lease has not been renewed for 40 s. Here the server
//! sees its connections end. When the last one of a node has been gone for a moment, its Lease gets an empty holder,
//! which is a released lease, and the node lifecycle controller acts on that at once. A node behind a broken link keeps
//! its connections and is found by the lease's age as upstream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use karve_api::resource::Table;
use karve_store::Op;
use parking_lot::Mutex;

use crate::object;
use crate::server::Server;

/// How long an agent may be between two connections: time for one that restarts to come back, and short enough that
/// what stands in for a dead node does so within half a second.
const GRACE: Duration = Duration::from_millis(400);
/// How often the release may meet a renewal.
const ATTEMPTS: usize = 8;

/// Connections per node.
#[derive(Default)]
pub struct Presence {
    nodes: Mutex<HashMap<String, Connections>>,
}

#[derive(Default)]
struct Connections {
    open: usize,
    /// Counts openings, so that a pending release sees that the node came back.
    epoch: u64,
}

/// Held while a connection of a node is open.
pub struct Present {
    server: Arc<Server>,
    node: String,
}

/// Notes a connection of a node.
pub fn arrive(server: &Arc<Server>, node: &str) -> Present {
    let mut nodes = server.presence.nodes.lock();
    let connections = nodes.entry(node.to_owned()).or_default();
    connections.open += 1;
    connections.epoch += 1;
    Present {
        server: server.clone(),
        node: node.to_owned(),
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut nodes = self.server.presence.nodes.lock();
        let Some(connections) = nodes.get_mut(&self.node) else {
            return;
        };
        connections.open -= 1;
        if connections.open > 0 {
            return;
        }
        let epoch = connections.epoch;
        let (server, node) = (self.server.clone(), std::mem::take(&mut self.node));
        // Outside of a runtime the server itself is ending, and nothing can be said about the node.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(GRACE).await;
                let still_gone = {
                    let mut nodes = server.presence.nodes.lock();
                    let gone = nodes
                        .get(&node)
                        .is_some_and(|c| c.open == 0 && c.epoch == epoch);
                    if gone {
                        nodes.remove(&node);
                    }
                    gone
                };
                if still_gone && !server.options.shutdown.is_cancelled() {
                    release(&server, &node).await;
                }
            });
        }
    }
}

/// Empties the holder of a node's Lease.
async fn release(server: &Server, node: &str) {
    let Some(leases) = Table::builtin().lookup("coordination.k8s.io", "v1", "leases") else {
        return;
    };
    let key = crate::keys::key(leases, "kube-node-lease", node);
    for _ in 0..ATTEMPTS {
        let Some(entry) = server.store.get(&key) else {
            return;
        };
        let mut lease = object::decode(entry.value(), leases);
        object::member_mut(&mut lease, "spec").insert("holderIdentity".into(), "".into());
        let op = Op::update(
            key.as_str(),
            entry.revision(),
            object::encode(&lease, leases),
        );
        match server.store.commit(vec![op]).await {
            Ok(_) => {
                tracing::info!(node, "node disconnected, lease released");
                return;
            }
            Err(karve_store::Error::Conflict { .. }) => {}
            Err(err) => {
                tracing::warn!(
                    node,
                    err = &err as &dyn std::error::Error,
                    "lease not released"
                );
                return;
            }
        }
    }
}
