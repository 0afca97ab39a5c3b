//! Which routes and addresses the other nodes ask for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Options;
use crate::nodes::Peers;

/// What should be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Ways to pods: those of other nodes, and those of this node that are gone. A pod that is here has a route of its
    /// own, which is more specific.
    pub routes: BTreeMap<Ipv4Net, Way>,
    /// All nodes' addresses: traffic from pods to them keeps the pod's address.
    pub nodes: BTreeSet<Ipv4Addr>,
}

/// Where packets for a node's pods go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the node.
    Gateway(Ipv4Addr),
    /// Back to the sender, refused: by the default route they would wander until their time is out.
    Nowhere,
}

/// A node whose pod network lies outside of the cluster's, or overlaps an earlier one, is left out: a wrong object must
/// not take other addresses away.
pub fn wanted(options: &Options, peers: &Peers) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.nodes.insert(options.node_ip);
    for (name, peer) in peers {
        wanted.nodes.insert(peer.ip);
        let Some(cidr) = peer.pod_cidr else {
            continue;
        };
        let way = match *name == options.node || peer.ip == options.node_ip {
            true => Way::Nowhere,
            false => Way::Gateway(peer.ip),
        };
        let taken = wanted
            .routes
            .keys()
            .any(|other| other.contains(&cidr) || cidr.contains(other));
        if options.cluster_cidr.contains(&cidr) && cidr != options.cluster_cidr && !taken {
            wanted.routes.insert(cidr, way);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::Peer;

    fn options() -> Options {
        Options {
            node: "node1".to_owned(),
            uplink: "eth0".to_owned(),
            cluster_cidr: "10.244.0.0/16".parse().expect("net"),
            node_ip: Ipv4Addr::new(192, 168, 64, 2),
        }
    }

    fn peer(ip: u8, cidr: Option<&str>) -> Peer {
        Peer {
            ip: Ipv4Addr::new(192, 168, 64, ip),
            pod_cidr: cidr.map(|c| c.parse().expect("net")),
        }
    }

    #[test]
    fn nodes_with_a_valid_network_get_a_route() {
        let rows = [
            ("node1", peer(2, Some("10.244.1.0/24")), Some(Way::Nowhere)),
            (
                "node2",
                peer(3, Some("10.244.2.0/24")),
                Some(Way::Gateway(Ipv4Addr::new(192, 168, 64, 3))),
            ),
            ("node3", peer(4, None), None),
            ("outside", peer(5, Some("10.0.0.0/24")), None),
            ("all", peer(6, Some("10.244.0.0/16")), None),
            ("overlap", peer(7, Some("10.244.2.128/25")), None),
        ];
        let peers: Peers = rows
            .iter()
            .map(|(name, peer, _)| ((*name).to_owned(), peer.clone()))
            .collect();
        let got = wanted(&options(), &peers);
        let want: BTreeMap<Ipv4Net, Way> = rows
            .iter()
            .filter_map(|(_, peer, way)| Some((peer.pod_cidr?, (*way)?)))
            .collect();
        assert_eq!(got.routes, want);
        assert_eq!(got.nodes.len(), rows.len());
    }
}
