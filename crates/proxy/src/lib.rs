//! The kube-proxy role: Services and EndpointSlices to the kernel tables of one node.
//!
//! Objects come in by watches, are parsed to facts, planned per Service by a pure function, merged into the desired state of one nf_tables table for each address family, and
//! applied as the smallest difference in one transaction. A change costs what it changes, never the number of Services.
//!
//! Invariants: nothing is programmed before Services, EndpointSlices *and* this node's object have been
//! listed; a packet meets the table before a change or after it; a restarted proxy adopts the table that
//! it finds, so its start changes nothing. The agent may be away: the kernel goes on serving. What
//! someone else changes in a table is read back and mended at once. Sockets of the node's own cgroup take a
//! short path (`socket`), which chooses as the rules do and leaves to them what it doesn't know.
//!
//! Absent on purpose: host ports of Pods, which are the node's, and sockets on node ports.

mod checks;
mod dataplane;
pub mod describe;
mod desired;
mod health;
mod http;
mod kernel;
mod metrics;
mod monitor;
mod objects;
mod plan;
mod proxier;
mod run;
mod socket;
mod stale;
mod state;
mod sysctl;
mod table;
mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use karve_watch::ObjectName;
use tokio::sync::mpsc;
use tokio::task::JoinError;

pub use crate::dataplane::Family;
pub use crate::run::run;
pub use crate::socket::Options as SocketOptions;

/// Where kube-proxy serves `/healthz` and `/livez` unless told otherwise.
pub const HEALTHZ: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10256);
/// Where kube-proxy serves `/metrics` and `/proxyMode` unless told otherwise.
pub const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

/// What a proxy needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of this node: endpoints on it are local.
    pub node_name: String,
    /// The address families to serve.
    pub families: Vec<Family>,
    /// The addresses of all pods. Other clients of a cluster IP are masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// The addresses of Services. Packets to one that no Service has are dropped.
    pub service_cidrs: Vec<IpNet>,
    /// The node's addresses that node ports answer on; all but loopback when empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Where `/healthz` and `/livez` are served.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` and `/proxyMode` are served.
    pub metrics: Option<SocketAddr>,
    /// Who wants to know of each Service whether it is in the kernel: told once it is, or is no more.
    pub programmed: Option<mpsc::UnboundedSender<Programmed>>,
    /// Lets sockets of this node's cgroup connect to endpoints themselves, where the kernel can do that.
    pub sockets: Option<SocketOptions>,
}

/// A Service, and whether its rules are in the kernel.
pub type Programmed = (ObjectName, bool);

impl Options {
    /// The families that the kernel has.
    pub fn families_of_kernel() -> Vec<Family> {
        let has = |family: &Family| *family == Family::V4 || sysctl::has_ipv6();
        Family::BOTH.into_iter().filter(has).collect()
    }
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
