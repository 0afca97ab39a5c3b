//! The node's part of the pod network: routes to the pods of other nodes, and masquerade for what leaves the cluster.
//!
//! [`plan`] says what should be in the kernel (pure), [`run`] makes it so whenever the set of nodes changes. Everything
//! is in the network namespace in which the agent was started. A pod's own link is the runtime's business.
//!
//! Absent: IPv6, overlays (nodes share a link), and anything about Services (crate `proxy`).

mod apply;
mod plan;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::nodes::Peers;

pub use apply::{Error, Kernel};

/// What the network depends on besides the other nodes.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node: String,
    /// The link that leads to the other nodes.
    pub uplink: String,
    /// The addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// This node's address.
    pub node_ip: Ipv4Addr,
}

/// Keeps routes and masquerade right until shutdown.
pub async fn run(
    options: Options,
    mut kernel: Kernel,
    mut peers: watch::Receiver<Option<Peers>>,
    shutdown: CancellationToken,
) {
    loop {
        let known = peers.borrow_and_update().clone();
        if let Some(known) = known {
            let wanted = plan::wanted(&options, &known);
            let applied = tokio::task::spawn_blocking(move || {
                let result = kernel.apply(&wanted);
                (kernel, result)
            });
            let Ok((back, result)) = applied.await else {
                return;
            };
            kernel = back;
            if let Err(err) = result {
                tracing::error!(
                    err = &err as &dyn std::error::Error,
                    "pod network not set up"
                );
                // Another program may have changed what we hold for given: look again soon.
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => continue,
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = peers.changed() => if changed.is_err() { return },
        }
    }
}
