//! A cluster's name, and everything in the kernel and on disk that is named after it.
//!
//! Invariant: from the name alone follows where all of a cluster is, so that a cluster can be removed
//! when its processes are dead and its files are lost.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use karve_sys::link::NAME_MAX;

/// The name of a cluster: a DNS label that leaves room for what is made from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName(String);

/// The cluster that commands mean when none is named.
pub const DEFAULT: &str = "karve";

/// Longest name; node hostnames and context names are made from it.
const LENGTH_MAX: usize = 40;

/// Names that mean something else below the data root.
const RESERVED: [&str; 1] = ["images"];

/// Why a text is not a cluster's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not a DNS label.
    #[error(
        "a cluster name has 1 to 40 of a-z, 0-9 and '-', and begins and ends with a letter or digit"
    )]
    Label,
    /// Taken for something else.
    #[error("the name is reserved")]
    Reserved,
}

impl FromStr for ClusterName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let label = (1..=LENGTH_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !label {
            return Err(InvalidName::Label);
        }
        if RESERVED.contains(&text) {
            return Err(InvalidName::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host's link to the LAN of the nodes.
    pub fn host_link(&self) -> String {
        let name = format!("kv-{self}");
        if name.len() <= NAME_MAX {
            return name;
        }
        let digits = format!("{:016x}", fnv1a(&self.0));
        format!("kv-{}", &digits[..NAME_MAX - "kv-".len()])
    }

    /// The network namespace of the bridge between the nodes and the host.
    pub fn lan(&self) -> String {
        format!("karve-{self}-lan")
    }

    /// The network namespace of a node.
    pub fn netns(&self, node: &str) -> String {
        format!("karve-{self}-{node}")
    }

    /// Whether the network namespace is one of this cluster's: a node's, or the bridge's.
    pub fn owns_netns(&self, netns: &str) -> bool {
        let rest = netns
            .strip_prefix("karve-")
            .and_then(|rest| rest.strip_prefix(&self.0))
            .and_then(|rest| rest.strip_prefix('-'));
        let is_node = |rest: &str| {
            let number = rest.strip_prefix("node").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        };
        rest.is_some_and(|rest| rest == "lan" || is_node(rest))
    }

    /// The cgroup, below the root of each hierarchy, that holds all of the cluster's pods.
    pub fn cgroup(&self) -> PathBuf {
        PathBuf::from("karve").join(&self.0)
    }

    /// The Ethernet address of a node: the same after every start, so that no neighbour's entry goes stale.
    pub fn mac(&self, node: &str) -> [u8; 6] {
        let hash = fnv1a(&format!("{self}/{node}")).to_be_bytes();
        // Locally administered, unicast (IEEE 802c).
        [0x02, hash[1], hash[2], hash[3], hash[4], hash[5]]
    }
}

/// FNV-1a, 64 bits: stable over builds and machines, which the standard library's hashers are not.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ClusterName {
        text.parse().expect("a valid name")
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["karve", "a", "a-1", "1", &"x".repeat(40)] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", &"x".repeat(41)] {
            assert_eq!(bad.parse::<ClusterName>(), Err(InvalidName::Label), "{bad}");
        }
        assert_eq!("images".parse::<ClusterName>(), Err(InvalidName::Reserved));
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert_eq!(name("karve").host_link(), "kv-karve");
        let long = name("a-rather-long-name");
        assert_eq!(long.host_link().len(), NAME_MAX);
        assert_ne!(long.host_link(), name("a-rather-long-nam").host_link());
    }

    #[test]
    fn a_namespace_belongs_to_one_cluster() {
        let rows = [
            ("a", "karve-a-node1", true),
            ("a", "karve-a-lan", true),
            ("a", "karve-a-node1-node1", false),
            ("a", "karve-a-node1-lan", false),
            ("a-node1", "karve-a-node1-node1", true),
            ("a-node1", "karve-a-node1-lan", true),
            ("a", "karve-a-node", false),
            ("a", "karve-ab-node1", false),
        ];
        for (cluster, netns, owned) in rows {
            assert_eq!(name(cluster).owns_netns(netns), owned, "{cluster} {netns}");
        }
    }
}
