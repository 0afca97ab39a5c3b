//! The kube-proxy role: Services and EndpointSlices to the kernel tables of one node.
//!
//! Objects come in by watches, are parsed to facts, planned per Service by a pure function, merged into the desired state of one nf_tables table, and applied as the smallest
//! difference in one transaction. A change costs what it changes, never the number of Services.
//!
//! Invariants: nothing is programmed before Services *and* EndpointSlices have been listed; a packet
//! meets the table before a change or after it; a restarted proxy adopts the table that it finds, so
//! its start changes nothing. The agent may be away: the kernel goes on serving. A table that someone
//! else deletes is made anew at once.
//!
//! Absent on purpose, so far: IPv6, loadBalancerSourceRanges, topology hints, health check ports, and
//! noticing that someone else changed single elements of the table.

mod dataplane;
mod desired;
mod kernel;
mod monitor;
mod objects;
mod plan;
mod proxier;
mod stale;
mod state;
mod sysctl;
mod table;
mod watch;

use std::error::Error as StdError;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use ipnet::Ipv4Net;
use karve_watch::Retry;
use kube::Client;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::kernel::Kernel;
use crate::monitor::Monitor;
use crate::proxier::Proxier;
use crate::state::State;
use crate::table::Layout;
use crate::watch::{Change, Intake};

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
    /// The kernel does not tell of changes to its tables.
    #[error("watch the kernel's tables")]
    Monitor(#[source] io::Error),
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
    sysctl::set_forwarding()?;
    let Options {
        node_name,
        cluster_cidr,
        service_cidrs,
    } = options;
    let mut monitor = Monitor::open().map_err(Error::Monitor)?;
    let kernel = Kernel::open(Layout {
        cluster_cidr,
        service_cidrs,
    })
    .map_err(Error::Kernel)?;
    let mut proxier = Proxier::new(kernel);
    let mut intake = Intake::default();
    let mut changes = pin!(watch::changes(&client, node_name));
    let mut retry = Retry::default();
    let mut wait = None;
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            next = changes.next() => next,
            () = monitor.changed() => None,
            () = after(wait) => None,
        };
        take_changes(&mut intake, &mut proxier.state, changes.as_mut(), next);
        let disturbed = monitor.is_disturbed(proxier.commits());
        let behind = disturbed || !proxier.in_step() || proxier.state.is_changed();
        if !intake.complete() || !behind {
            continue;
        }
        let first = !proxier.in_step() && wait.is_none();
        let result;
        (proxier, result) = tokio::task::spawn_blocking(move || {
            let verified = if disturbed { proxier.verify() } else { Ok(()) };
            let result = verified.and_then(|()| proxier.sync());
            (proxier, result)
        })
        .await?;
        match result {
            Ok(applied) => {
                if first {
                    tell_in_step(applied.map_or(0, |applied| applied.elements));
                }
                (wait, retry) = (None, Retry::default());
            }
            Err(err) => {
                warn!(
                    err = &err as &dyn StdError,
                    "programming service rules failed"
                );
                wait = Some(retry.pause());
            }
        }
    }
}

/// Waits; for ever when there is nothing to wait for.
async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Takes in `next` and whatever else has come by now: it belongs to the same transaction.
fn take_changes(
    intake: &mut Intake,
    state: &mut State,
    mut changes: Pin<&mut impl Stream<Item = Change>>,
    mut next: Option<Change>,
) {
    let mut taken = 0;
    while let Some(change) = next {
        intake.take(state, change);
        taken += 1;
        next = if taken < CHANGES_MAX {
            changes.next().now_or_never().flatten()
        } else {
            None
        };
    }
}

/// The table is there, so connection tracking is in use and its settings exist.
fn tell_in_step(elements: usize) {
    info!(elements, "service rules are in step");
    if let Err(err) = sysctl::set_conntrack() {
        warn!(
            err = &err as &dyn StdError,
            "connection tracking times left as they are"
        );
    }
}
