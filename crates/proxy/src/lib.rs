//! The kube-proxy role: Services and EndpointSlices to the kernel tables of one node.
//!
//! Objects come in by watches, are parsed to facts, planned per Service by a pure
//! function, merged into the desired state of one nf_tables table, and applied as the smallest
//! difference in one transaction. A change costs what it changes, never the number of Services.
//!
//! Invariants: nothing is programmed before Services *and* EndpointSlices have been listed; a packet
//! meets the table before a change or after it; a restarted proxy adopts the table that it finds, so
//! its start changes nothing. The agent may be away: the kernel goes on serving.
//!
//! Absent on purpose, so far: IPv6, loadBalancerSourceRanges, topology hints, health check ports, and
//! watching the table for changes by others (a flushed table is made anew at the next change).

mod dataplane;
mod desired;
mod kernel;
mod objects;
mod plan;
mod stale;
mod state;
mod sync;
mod sysctl;
mod table;
mod watch;

use std::pin::pin;

use futures::{FutureExt, StreamExt};
use ipnet::Ipv4Net;
use kube::Client;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::kernel::Kernel;
use crate::sync::Sync;
use crate::table::Layout;
use crate::watch::{Intake, Retry};

/// Most changes that one transaction takes together, so that a flood cannot delay the first of them
/// for ever.
const CHANGES_MAX: usize = 4096;

/// What a proxy needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of this node: endpoints on it are local.
    pub node_name: String,
    /// The addresses of all pods. Other clients of a cluster IP are masqueraded.
    pub cluster_cidr: Ipv4Net,
    /// The addresses of Services. Packets to one that no Service has are dropped.
    pub service_cidrs: Vec<Ipv4Net>,
}

/// Why a proxy can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not offer what is needed.
    #[error("open the service dataplane")]
    Kernel(#[source] kernel::Error),
    /// A kernel setting could not be made.
    #[error("prepare the node's network")]
    Sysctl(#[from] sysctl::Error),
    /// The thread that talks to the kernel died.
    #[error("program the service dataplane")]
    Died(#[from] JoinError),
}

/// Runs the proxy in the network namespace of this process until `shutdown`.
///
/// # Errors
/// When the kernel does not offer what is needed. Failures later on are logged and retried.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Options {
        node_name,
        cluster_cidr,
        service_cidrs,
    } = options;
    sysctl::set()?;
    let kernel = Kernel::open(Layout {
        cluster_cidr,
        service_cidrs,
    })
    .map_err(Error::Kernel)?;
    let mut sync = Sync::new(kernel);
    let mut intake = Intake::default();
    let mut changes = pin!(watch::changes(&client, node_name));
    let mut retry = Retry::default();
    let mut wait = None;
    loop {
        let retry_due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let mut next = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            next = changes.next() => next,
            () = retry_due => None,
        };
        // Whatever else has come in by now belongs to the same transaction.
        let mut taken = 0;
        while let Some(change) = next {
            match change {
                Ok(change) => intake.take(&mut sync.state, change),
                Err(err) => warn!(err = &err as &dyn std::error::Error, "watch interrupted"),
            }
            taken += 1;
            next = if taken < CHANGES_MAX {
                changes.next().now_or_never().flatten()
            } else {
                None
            };
        }
        if !intake.complete() {
            continue;
        }
        let first = !sync.in_step() && wait.is_none();
        let result;
        (sync, result) = tokio::task::spawn_blocking(move || {
            let result = sync.sync();
            (sync, result)
        })
        .await?;
        match result {
            Ok(applied) => {
                if first {
                    let elements = applied.map_or(0, |applied| applied.elements);
                    info!(elements, "service rules are in step");
                }
                (wait, retry) = (None, Retry::default());
            }
            Err(err) => {
                warn!(
                    err = &err as &dyn std::error::Error,
                    "programming service rules failed"
                );
                wait = retry.next();
            }
        }
    }
}
