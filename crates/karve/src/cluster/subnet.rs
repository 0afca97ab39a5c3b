//! Which /24 the nodes of a cluster get.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// First choice, as in minikube's tutorials.
const FIRST: u8 = 64;

/// A cluster's node network: the host is .1, node K is .(K+1), the LoadBalancer pool is .200 to .250.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subnet(Ipv4Net);

/// Most nodes on one machine; above are the LoadBalancer addresses.
pub const NODES_MAX: u8 = 100;

impl Subnet {
    /// `192.168.N.0/24`.
    fn numbered(n: u8) -> Self {
        Self(Ipv4Net::new(Ipv4Addr::new(192, 168, n, 0), 24).expect("24 is a prefix length"))
    }

    /// The first of 192.168.64.0/24 to 192.168.254.0/24 that overlaps nothing in use.
    pub fn choose(in_use: &[IpNet]) -> Option<Self> {
        (FIRST..=254).map(Self::numbered).find(|candidate| {
            let candidate = IpNet::V4(candidate.0);
            !in_use.iter().any(|used| overlaps(used, &candidate))
        })
    }

    /// The network.
    pub fn net(self) -> Ipv4Net {
        self.0
    }

    /// The host's address on the nodes' network.
    pub fn host(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The address of node `number`, which counts from 1.
    pub fn node(self, number: u8) -> Ipv4Addr {
        self.address(number + 1)
    }

    /// The LoadBalancer pool when nothing else is asked for.
    pub fn default_pool(self) -> (Ipv4Addr, Ipv4Addr) {
        (self.address(200), self.address(250))
    }

    /// `address` with the network's prefix length.
    pub fn with_prefix(self, address: Ipv4Addr) -> IpNet {
        IpNet::new(IpAddr::V4(address), self.0.prefix_len()).expect("the length is a network's own")
    }

    fn address(self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.0.network().octets();
        Ipv4Addr::new(a, b, c, last)
    }
}

/// Two networks share an address. The default route overlaps everything and is no use of an address.
fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.prefix_len() > 0
        && b.prefix_len() > 0
        && (a.contains(&b.network()) || b.contains(&a.network()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_free_network_is_chosen() {
        let cases: [(&[&str], Option<&str>); 6] = [
            (&[], Some("192.168.64.0/24")),
            (
                &["0.0.0.0/0", "10.0.0.0/8", "::/0"],
                Some("192.168.64.0/24"),
            ),
            (&["192.168.64.1/24"], Some("192.168.65.0/24")),
            (
                &["192.168.64.7/32", "192.168.65.128/25"],
                Some("192.168.66.0/24"),
            ),
            (&["192.168.64.0/18"], Some("192.168.128.0/24")),
            (&["192.168.0.0/16"], None),
        ];
        for (used, expected) in cases {
            let nets: Vec<IpNet> = used
                .iter()
                .map(|net| net.parse().expect("a network"))
                .collect();
            let chosen = Subnet::choose(&nets).map(|subnet| subnet.net().to_string());
            assert_eq!(chosen.as_deref(), expected, "{used:?}");
        }
    }

    #[test]
    fn addresses_follow_the_tutorial() {
        let subnet = Subnet::choose(&[]).expect("nothing is in use");
        assert_eq!(subnet.host().to_string(), "192.168.64.1");
        assert_eq!(subnet.node(1).to_string(), "192.168.64.2");
        assert_eq!(subnet.node(NODES_MAX).to_string(), "192.168.64.101");
        assert_eq!(
            subnet.with_prefix(subnet.node(1)).to_string(),
            "192.168.64.2/24"
        );
    }
}
