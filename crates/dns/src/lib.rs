//! The cluster DNS: names of Services and their endpoints, as the Kubernetes DNS specification 1.1 has them.
//!
//! Watches feed a [`zone::Zone`], an index of names; [`message`] turns one query into one reply by
//! looking into it; [`serve`] moves the bytes. Everything outside the cluster's zone is forwarded,
//! or refused when there is nobody to ask.
//!
//! Invariant: no cache stands between the API and an answer for a cluster name.
//!
//! Deliberately absent: zone transfers, DNSSEC, dynamic update, a configuration language.

pub mod message;
pub mod serve;
pub mod upstream;
mod watch;
pub mod zone;

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use tokio_util::sync::CancellationToken;

pub use upstream::forward;

/// What a node's DNS server needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to answer on, over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain without a trailing dot, such as `cluster.local`.
    pub cluster_domain: String,
    /// Resolvers for all other names, tried in order. Empty: such names are refused.
    pub upstreams: Vec<SocketAddr>,
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

/// Serves the cluster's names from `client`'s API until `shutdown`.
///
/// The sockets are open before the first list is in; until then cluster names answer SERVFAIL, so
/// that a resolver tries again instead of believing that a name does not exist.
///
/// # Errors
///
/// [`Error`] when an address can't be bound or the domain is malformed. The API being away is no error.
pub async fn run(
    client: kube::Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let zone = zone::Zone::new(&options.cluster_domain).ok_or_else(|| Error::Domain {
        domain: options.cluster_domain.clone(),
    })?;
    let zone = Arc::new(RwLock::new(zone));
    let upstreams: Arc<[SocketAddr]> = options.upstreams.into();
    let listeners = serve::Listeners::bind(&options.listen).await?;
    tokio::join!(
        listeners.serve(zone.clone(), upstreams, shutdown.clone()),
        watch::follow(client, zone, shutdown),
    );
    Ok(())
}
