//! Which routes and addresses the other nodes ask for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Options;
use crate::nodes::Peers;

/// What should be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Gateways of the other nodes' pods.
    pub routes: BTreeMap<Ipv4Net, Ipv4Addr>,
    /// All nodes' addresses: traffic from pods to them keeps the pod's address.
    pub nodes: BTreeSet<Ipv4Addr>,
}

/// A node whose pod network lies outside of the cluster's, or overlaps an earlier one, is left out: a wrong object must
/// not take other addresses away.
pub fn wanted(options: &Options, peers: &Peers) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.nodes.insert(options.node_ip);
    for (name, peer) in peers {
        wanted.nodes.insert(peer.ip);
        let Some(cidr) = peer
            .pod_cidr
            .filter(|_| *name != options.node && peer.ip != options.node_ip)
        else {
            continue;
        };
        let taken = wanted
            .routes
            .keys()
            .any(|other| other.contains(&cidr) || cidr.contains(other));
        if options.cluster_cidr.contains(&cidr) && cidr != options.cluster_cidr && !taken {
            wanted.routes.insert(cidr, peer.ip);
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
    fn other_nodes_with_a_valid_network_get_a_route() {
        let rows = [
            ("node1", peer(2, Some("10.244.1.0/24")), None),
            (
                "node2",
                peer(3, Some("10.244.2.0/24")),
                Some("10.244.2.0/24"),
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
        let routes: Vec<String> = got.routes.keys().map(ToString::to_string).collect();
        let want: Vec<&str> = rows.iter().filter_map(|(_, _, cidr)| *cidr).collect();
        assert_eq!(routes, want);
        assert_eq!(got.nodes.len(), rows.len());
    }
}
