//! The cluster DNS: names of Services and their endpoints, as the Kubernetes DNS specification 1.1 has them, and names
//! from elsewhere.
//!
//! A Corefile ([`corefile`]) says which servers there are; an [`engine::Engine`] answers by it, at once from the
//! [`zone`], an index of the cluster's names that watches feed, or after asking others ([`resolve`], [`forward`]);
//! [`serve`] moves the bytes.
//!
//! Invariants: no cache stands between the API and an answer for a cluster name; no cluster name is asked of others; a
//! Corefile that is not understood leaves the one before it in force.
//!
//! Deliberately absent: zone transfers, DNSSEC signing, dynamic update, plugins that clusters don't use.

mod answer;
mod applied;
mod cache;
pub mod corefile;
pub mod engine;
pub mod explain;
pub mod forward;
mod http;
mod limit;
mod live;
pub mod metrics;
mod plugins;
pub mod reply;
pub mod resolve;
mod run;
mod said;
pub mod serve;
pub mod stored;
pub mod walk;
mod watch;
pub mod wire;
pub mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use karve_watch::ObjectName;
use tokio::sync::mpsc;

use crate::corefile::Plan;

pub use applied::forward_all;
pub use live::{default_plan, resolvers};
pub use run::run;

/// What the node's proxy says of a Service: its rules are in the kernel, or are no more.
pub type Programmed = (ObjectName, bool);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The ConfigMap `coredns` in `kube-system`, and karve's own Corefile without it.
    ConfigMap,
    /// A file, which is followed.
    File(PathBuf),
    /// This, and no other.
    Fixed(Arc<Plan>),
}

/// What a DNS server needs to know.
#[derive(Debug)]
pub struct Options {
    /// Addresses to answer on; the Corefile has the ports.
    pub listen: Vec<IpAddr>,
    /// The cluster's domain without a trailing dot, such as `cluster.local`.
    pub cluster_domain: String,
    /// Where the Corefile comes from.
    pub source: Source,
    /// What `/etc/resolv.conf` stands for in a Corefile: the resolvers themselves, or `None` for the file.
    pub upstreams: Option<Vec<SocketAddr>>,
    /// The nodes' own search list, which Pods inherit.
    pub node_searches: Vec<String>,
    /// The node whose Pods ask; `None`: any.
    pub node: Option<String>,
    /// Addresses of Pods and Services, whose names nobody outside is asked for.
    pub private: Vec<IpNet>,
    /// The node's proxy, whose word a Service's name waits for. `None`: names are answered as soon as they are known.
    pub proxy: Option<mpsc::UnboundedReceiver<Programmed>>,
    /// Whether a Corefile's `lameduck` is waited for at the end.
    pub lameduck: bool,
}

/// Why the DNS server could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's domain is not a domain name.
    #[error("cluster domain {domain:?} is not a domain name")]
    Domain {
        /// The text given.
        domain: String,
    },
    /// The Corefile can't be read.
    #[error("read Corefile {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The Corefile is not understood.
    #[error("understand the Corefile")]
    Corefile(#[source] corefile::Error),
    /// An address could not be listened on.
    #[error("listen for DNS on {address}")]
    Listen {
        /// The address given.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}
