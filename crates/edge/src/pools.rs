//! The pools of addresses, in MetalLB 0.9's format.
//!
//! ```yaml
//! address-pools:
//! - name: default
//!   protocol: layer2
//!   addresses: ["192.168.64.200-192.168.64.250"]
//! ```
//!
//! Unknown fields are ignored, as there. BGP pools are refused, since nobody would announce them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

use crate::objects::Objects;

/// Longest text that is looked at.
const TEXT_MAX: usize = 64 * 1024;

/// Pools that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The text is longer than any reasonable one.
    #[error("address pools have more than {TEXT_MAX} bytes")]
    TooLong,
    /// The text is not YAML of the expected shape.
    #[error("parse address pools")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// A pool has a name that another one has, or none.
    #[error("address pool name {0:?} is missing or taken")]
    Name(String),
    /// Only layer 2 is announced.
    #[error("address pool {pool:?} has protocol {protocol:?}, but only layer2 is supported")]
    Protocol {
        /// The pool.
        pool: String,
        /// Its protocol.
        protocol: String,
    },
    /// An entry is neither a range nor a prefix of IPv4 addresses.
    #[error("address pool {pool:?} has invalid addresses {addresses:?}")]
    Addresses {
        /// The pool.
        pool: String,
        /// The entry.
        addresses: String,
    },
    /// An address is in two entries.
    #[error("address pool {pool:?} overlaps with others at {ip}")]
    Overlap {
        /// The pool.
        pool: String,
        /// The first address that is in both.
        ip: Ipv4Addr,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    address_pools: Vec<FilePool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FilePool {
    #[serde(default)]
    name: String,
    protocol: String,
    #[serde(default)]
    addresses: Vec<String>,
    auto_assign: Option<bool>,
    #[serde(default)]
    avoid_buggy_ips: bool,
}

/// The pools in force: those of the ConfigMap as it was when it was last right.
#[derive(Debug, Default)]
pub(crate) struct Configured {
    text: Option<String>,
    pools: Pools,
}

impl Configured {
    /// Follows the ConfigMap; whether the pools in force are others now. A broken text is told once
    /// and changes nothing, as in MetalLB; a ConfigMap that is gone means that there are no pools.
    pub(crate) fn follow(&mut self, config: &Objects<String>) -> Result<bool, Error> {
        let text = config.iter().next().map(|(_, text)| text);
        if self.text.as_ref() == text {
            return Ok(false);
        }
        self.text = text.cloned();
        let pools = text
            .map(|text| Pools::parse(text))
            .transpose()?
            .unwrap_or_default();
        let changed = self.pools != pools;
        self.pools = pools;
        Ok(changed)
    }

    /// The pools in force.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }
}

/// The text of the pools in a ConfigMap.
pub(crate) fn text(config_map: &ConfigMap) -> Option<String> {
    config_map.data.as_ref()?.get("config").cloned()
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Its name, for the annotation `metallb.universe.tf/address-pool`.
    pub name: String,
    /// Services that ask for no pool may get an address of this one.
    pub auto_assign: bool,
    /// Addresses ending in .0 and .255 are left out, which some devices can't reach.
    avoid_buggy_ips: bool,
    /// First and last addresses.
    ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Pool {
    /// Whether an address is in the pool.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.ranges
            .iter()
            .any(|(first, last)| (first..=last).contains(&&ip))
            && self.usable(ip)
    }

    /// All addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let bits = self
            .ranges
            .iter()
            .flat_map(|(first, last)| first.to_bits()..=last.to_bits());
        bits.map(Ipv4Addr::from_bits).filter(|ip| self.usable(*ip))
    }

    fn usable(&self, ip: Ipv4Addr) -> bool {
        !(self.avoid_buggy_ips && matches!(ip.octets()[3], 0 | 255))
    }
}

/// All pools, in the order of their file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pools(Vec<Pool>);

impl Pools {
    /// Parses the file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_MAX {
            return Err(Error::TooLong);
        }
        let file: File = serde_saphyr::from_str(text).map_err(|err| Error::Yaml(Box::new(err)))?;
        let mut pools: Vec<Pool> = Vec::new();
        for parsed in file.address_pools {
            let pool = parse_pool(parsed)?;
            if pool.name.is_empty() || pools.iter().any(|known| known.name == pool.name) {
                return Err(Error::Name(pool.name));
            }
            let mut before: Vec<_> = pools
                .iter()
                .flat_map(|pool| &pool.ranges)
                .copied()
                .collect();
            for range in &pool.ranges {
                if let Some(ip) = before.iter().find_map(|known| overlap(known, range)) {
                    return Err(Error::Overlap {
                        pool: pool.name,
                        ip,
                    });
                }
                before.push(*range);
            }
            pools.push(pool);
        }
        Ok(Self(pools))
    }

    /// All pools.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pool that an address is in.
    pub fn pool_of(&self, ip: Ipv4Addr) -> Option<&Pool> {
        self.iter().find(|pool| pool.contains(ip))
    }
}

fn parse_pool(parsed: FilePool) -> Result<Pool, Error> {
    let FilePool {
        name,
        protocol,
        addresses,
        auto_assign,
        avoid_buggy_ips,
    } = parsed;
    if protocol != "layer2" {
        return Err(Error::Protocol {
            pool: name,
            protocol,
        });
    }
    let mut ranges = Vec::with_capacity(addresses.len());
    for entry in addresses {
        match parse_range(&entry) {
            Some(range) => ranges.push(range),
            None => {
                return Err(Error::Addresses {
                    pool: name,
                    addresses: entry,
                });
            }
        }
    }
    Ok(Pool {
        name,
        auto_assign: auto_assign.unwrap_or(true),
        avoid_buggy_ips,
        ranges,
    })
}

/// `A-B` or a prefix.
fn parse_range(entry: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = match entry.split_once('-') {
        Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
        None => {
            let net: Ipv4Net = entry.trim().parse().ok()?;
            (net.network(), net.broadcast())
        }
    };
    (first <= last).then_some((first, last))
}

/// The first address that is in both ranges.
fn overlap(a: &(Ipv4Addr, Ipv4Addr), b: &(Ipv4Addr, Ipv4Addr)) -> Option<Ipv4Addr> {
    let first = a.0.max(b.0);
    (first <= a.1.min(b.1)).then_some(first)
}

#[cfg(test)]
mod tests {
    use karve_watch::{Notice, ObjectName};

    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let pools = Pools::parse(text).map_err(|error| error.to_string())?;
        let show = |pool: &Pool| {
            let addresses: Vec<_> = pool
                .addresses()
                .map(|ip| ip.octets()[3].to_string())
                .collect();
            let auto = if pool.auto_assign {
                ""
            } else {
                " by name only"
            };
            format!("{}{auto}: {}", pool.name, addresses.join(" "))
        };
        Ok(pools.iter().map(show).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn a_broken_text_leaves_the_pools_as_they_are() {
        let (mut config, mut configured) = (Objects::default(), Configured::default());
        let name = ObjectName::new("metallb-system", "config");
        let mut set = |text: Option<&str>| {
            config.take(Notice::Changed(name.clone(), text.map(str::to_owned)));
            let changed = configured
                .follow(&config)
                .map_err(|error| error.to_string());
            (changed, configured.pools().iter().count())
        };
        let one = "address-pools: [{name: a, protocol: layer2, addresses: [10.0.0.0/24]}]";
        assert_eq!(set(Some(one)), (Ok(true), 1));
        assert_eq!(
            set(Some(&format!("{one}\n"))),
            (Ok(false), 1),
            "the same pools"
        );
        assert_eq!(set(Some("[")), (Err("parse address pools".to_owned()), 1));
        assert_eq!(set(Some("[")), (Ok(false), 1), "told once");
        assert_eq!(set(None), (Ok(true), 0));
    }

    /// Each row: what it shows, the text of the pools, and the result.
    #[test]
    fn files_are_read_as_metallb_reads_them() {
        let rows = [
            (
                "minikube's own file",
                "address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - 192.168.64.2-192.168.64.2\n",
                Ok("default: 2"),
            ),
            (
                "prefixes, several pools, unknown fields",
                "peers: []\naddress-pools: [{name: a, protocol: layer2, addresses: [10.0.0.4/30]}, \
                 {name: b, protocol: layer2, auto-assign: false, addresses: ['10.0.0.9 - 10.0.0.10']}]",
                Ok("a: 4 5 6 7; b by name only: 9 10"),
            ),
            (
                "buggy addresses left out",
                "address-pools: [{name: a, protocol: layer2, avoid-buggy-ips: true, \
                 addresses: [10.0.0.254-10.0.1.1]}]",
                Ok("a: 254 1"),
            ),
            ("no pools", "address-pools: []", Ok("")),
            ("nothing", "{}", Ok("")),
            (
                "BGP",
                "address-pools: [{name: a, protocol: bgp}]",
                Err("address pool \"a\" has protocol \"bgp\", but only layer2 is supported"),
            ),
            (
                "backwards",
                "address-pools: [{name: a, protocol: layer2, addresses: [10.0.0.9-10.0.0.1]}]",
                Err("address pool \"a\" has invalid addresses \"10.0.0.9-10.0.0.1\""),
            ),
            (
                "IPv6",
                "address-pools: [{name: a, protocol: layer2, addresses: ['fd00::/120']}]",
                Err("address pool \"a\" has invalid addresses \"fd00::/120\""),
            ),
            (
                "the same name twice",
                "address-pools: [{name: a, protocol: layer2}, {name: a, protocol: layer2}]",
                Err("address pool name \"a\" is missing or taken"),
            ),
            (
                "overlap",
                "address-pools: [{name: a, protocol: layer2, addresses: [10.0.0.0/24]}, \
                 {name: b, protocol: layer2, addresses: [10.0.0.200-10.0.1.9]}]",
                Err("address pool \"b\" overlaps with others at 10.0.0.200"),
            ),
            ("no YAML", "address-pools: [", Err("parse address pools")),
        ];
        for (name, text, expected) in rows {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(parse(text), expected, "{name}");
        }
        assert!(matches!(
            Pools::parse(&" ".repeat(TEXT_MAX + 1)),
            Err(Error::TooLong)
        ));
    }
}
