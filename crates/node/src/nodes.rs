//! The Nodes of the cluster, watched once: addresses and pod networks of all for the routes, this node's own object
//! for its registration.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::StreamExt;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use karve_watch::{Outages, events};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// As much of a Node as routing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node's address.
    pub ip: Ipv4Addr,
    /// The addresses of its pods.
    pub pod_cidr: Option<Ipv4Net>,
}

/// All nodes by name.
pub type Peers = BTreeMap<String, Peer>;

/// Where the watch tells what it sees.
#[derive(Debug)]
pub struct Watchers {
    /// All nodes; none before the first list.
    pub peers: watch::Sender<Option<Peers>>,
    /// This node's object.
    pub own: watch::Sender<Option<Arc<Node>>>,
    /// The addresses of this node's pods.
    pub pod_cidr: watch::Sender<Option<Ipv4Net>>,
}

/// The receiving ends.
#[derive(Clone, Debug)]
pub struct Seen {
    /// All nodes; none before the first list.
    pub peers: watch::Receiver<Option<Peers>>,
    /// This node's object.
    pub own: watch::Receiver<Option<Arc<Node>>>,
    /// The addresses of this node's pods.
    pub pod_cidr: watch::Receiver<Option<Ipv4Net>>,
}

/// Both ends, for [`run`] and for those who look.
pub fn channels() -> (Watchers, Seen) {
    let (peers, peers_seen) = watch::channel(None);
    let (own, own_seen) = watch::channel(None);
    let (pod_cidr, pod_cidr_seen) = watch::channel(None);
    let seen = Seen {
        peers: peers_seen,
        own: own_seen,
        pod_cidr: pod_cidr_seen,
    };
    (
        Watchers {
            peers,
            own,
            pod_cidr,
        },
        seen,
    )
}

/// Watches Nodes until shutdown.
pub async fn run(
    client: Client,
    name: String,
    out: Watchers,
    outages: Outages,
    shutdown: CancellationToken,
) {
    let api: Api<Node> = Api::all(client);
    let stream = events(api, watcher::Config::default(), &outages);
    futures::pin_mut!(stream);
    let mut peers = Peers::new();
    let mut listing = false;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(event) = stream.next() => event,
        };
        match event {
            watcher::Event::Init => {
                peers.clear();
                listing = true;
            }
            watcher::Event::InitDone => listing = false,
            watcher::Event::InitApply(node) | watcher::Event::Apply(node) => {
                learn(&mut peers, &node);
                if node.metadata.name.as_deref() == Some(&name) {
                    own(&out, node);
                }
            }
            watcher::Event::Delete(node) => {
                peers.remove(node.metadata.name.as_deref().unwrap_or_default());
            }
        }
        if !listing {
            out.peers.send_if_modified(|known| {
                let changed = known.as_ref() != Some(&peers);
                if changed {
                    *known = Some(peers.clone());
                }
                changed
            });
        }
    }
}

fn own(out: &Watchers, node: Node) {
    let cidr = pod_cidr(&node);
    out.pod_cidr
        .send_if_modified(|known| std::mem::replace(known, cidr) != cidr);
    out.own.send_replace(Some(Arc::new(node)));
}

fn learn(peers: &mut Peers, node: &Node) {
    let name = node.metadata.name.clone().unwrap_or_default();
    match internal_ip(node) {
        Some(ip) => peers.insert(
            name,
            Peer {
                ip,
                pod_cidr: pod_cidr(node),
            },
        ),
        None => peers.remove(&name),
    };
}

fn internal_ip(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses
        .iter()
        .filter(|a| a.type_ == "InternalIP")
        .find_map(|a| match a.address.parse() {
            Ok(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        })
}

fn pod_cidr(node: &Node) -> Option<Ipv4Net> {
    node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()
}
