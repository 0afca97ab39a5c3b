//! The node's part of the pod network: routes to the pods of other nodes, and masquerade for what leaves the cluster.
//!
//! [`plan`] says what should be in the kernel (pure), [`run`] makes it so whenever the set of nodes changes. Everything
//! is in the network namespace in which the agent was started. A pod's own link is the runtime's business.
//!
//! Absent: IPv6, overlays (nodes share a link), and anything about Services (crate `proxy`).

mod apply;
pub mod host_ports;
mod plan;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use karve_sys::nft;
use tokio::io::unix::AsyncFd;
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
    notices: Notices,
    mut peers: watch::Receiver<Option<Peers>>,
    shutdown: CancellationToken,
) {
    // The first look is at everything.
    let mut look = Look::Nodes;
    loop {
        let known = peers.borrow_and_update().clone();
        if let Some(known) = known {
            let wanted = plan::wanted(&options, &known);
            let applied = tokio::task::spawn_blocking(move || {
                let result = bring(&mut kernel, &wanted, look);
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
                look = Look::Nodes;
                // Another program may have changed what we hold for given: look again soon.
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => continue,
                }
            }
        }
        look = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = peers.changed() => match changed {
                Ok(()) => Look::Nodes,
                Err(_) => return,
            },
            () = notices.transaction() => Look::Table,
        };
    }
}

/// What may be different from what was last applied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The nodes.
    Nodes,
    /// The kernel's tables: somebody, most often the Service proxy, has changed one.
    Table,
}

fn bring(kernel: &mut Kernel, wanted: &plan::Wanted, look: Look) -> Result<(), Error> {
    if look == Look::Table {
        if !kernel.is_flushed()? {
            return Ok(());
        }
        tracing::warn!("masquerade table was removed, making it again");
    }
    kernel.apply(wanted)
}

/// Tells of nf_tables transactions in the agent's network namespace.
#[derive(Debug)]
pub struct Notices(AsyncFd<nft::Monitor>);

impl Notices {
    /// Listens from now on.
    pub fn open() -> Result<Notices, Error> {
        let socket = nft::Monitor::open().and_then(nft::Monitor::register)?;
        Ok(Notices(socket))
    }

    /// Waits for transactions. Nothing is lost when this is cancelled.
    async fn transaction(&self) {
        // Fails only while the runtime shuts down.
        let Ok(mut ready) = self.0.readable().await else {
            return std::future::pending().await;
        };
        // Where notices were lost there was at least one.
        while ready.try_io(|socket| socket.get_ref().receive()).is_ok() {}
    }
}
