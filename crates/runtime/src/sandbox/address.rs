//! Gives out addresses of the node's pod CIDR.
//!
//! Which are taken follows from the sandboxes on disk, so there is no second truth that could differ.
//! The search goes on after the address given last, so that an address rests as long as it can before
//! it stands for another pod: others may still have the old one in a connection or a cache.

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config::{PodNetwork, SandboxConfig};
use crate::error::RuntimeError;
use crate::files::{self, Durability};
use crate::layout::Layout;
use crate::status::SandboxStatus;

/// Addresses at the beginning of a CIDR that pods don't get: the network's, and the first, which many
/// tools take for a gateway.
const RESERVED: u32 = 2;

/// One allocation at a time.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    turn: Mutex<()>,
}

/// `ipam.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    address: Ipv4Addr,
}

impl Addresses {
    /// Writes the record of a new sandbox, with an address unless it uses the node's network.
    pub(crate) fn reserve(
        &self,
        layout: &Layout,
        config: SandboxConfig,
    ) -> Result<SandboxStatus, RuntimeError> {
        let pod = layout.pod(&config.uid);
        let _turn = self.turn.lock();
        let ip = match config.network {
            PodNetwork::Host => None,
            PodNetwork::Pod { cidr, .. } => Some(next_free(layout, cidr)?),
        };
        files::make_private_dirs(&pod.dir).map_err(RuntimeError::io("make directory", &pod.dir))?;
        let status = super::record(config, ip);
        super::write(&pod, &status)?;
        if let Some(address) = ip {
            let path = layout.last_address();
            files::write_json(&path, &Last { address }, Durability::Volatile)
                .map_err(RuntimeError::io("write", &path))?;
        }
        Ok(status)
    }
}

fn next_free(layout: &Layout, cidr: Ipv4Net) -> Result<Ipv4Addr, RuntimeError> {
    let path = layout.last_address();
    let last = files::read_json::<Last>(&path).map_err(RuntimeError::io("read", &path))?;
    let taken = taken(layout)?;
    choose(cidr, last.map(|last| last.address), &taken)
        .ok_or(RuntimeError::AddressesExhausted { cidr })
}

/// Addresses of sandboxes that have a link, or are about to.
fn taken(layout: &Layout) -> Result<HashSet<Ipv4Addr>, RuntimeError> {
    let pods = layout.pods();
    let mut taken = HashSet::new();
    for entry in fs::read_dir(&pods).map_err(RuntimeError::io("list", &pods))? {
        let entry = entry.map_err(RuntimeError::io("list", &pods))?;
        let pod = layout.pod(&entry.file_name().to_string_lossy());
        taken.extend(
            super::read(&pod)?
                .filter(|status| status.interface.is_some())
                .and_then(|status| status.ip),
        );
    }
    Ok(taken)
}

/// The first free address after `last`, around the end of the CIDR if need be.
fn choose(cidr: Ipv4Net, last: Option<Ipv4Addr>, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = u32::from(cidr.network()).checked_add(RESERVED)?;
    let end = u32::from(cidr.broadcast());
    let start = match last.map(u32::from) {
        Some(last) if (first..end).contains(&last) => last + 1,
        _ => first,
    };
    (start..end)
        .chain(first..start.min(end))
        .map(Ipv4Addr::from)
        .find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_in_turn_and_not_twice() {
        let ip = |last: u8| Ipv4Addr::new(10, 244, 1, last);
        let cidr: Ipv4Net = "10.244.1.0/29".parse().expect("CIDR");
        for (last, taken, expected) in [
            (None, vec![], Some(ip(2))),
            (Some(ip(2)), vec![], Some(ip(3))),
            (Some(ip(2)), vec![ip(3), ip(4)], Some(ip(5))),
            (Some(ip(6)), vec![], Some(ip(2))),
            (Some(ip(5)), vec![ip(6), ip(2)], Some(ip(3))),
            (Some(ip(4)), vec![ip(2), ip(3), ip(4), ip(5), ip(6)], None),
            (Some(Ipv4Addr::new(10, 244, 9, 9)), vec![], Some(ip(2))),
        ] {
            let set = taken.iter().copied().collect();
            assert_eq!(choose(cidr, last, &set), expected, "{last:?} {taken:?}");
        }
        assert_eq!(
            choose("10.0.0.0/31".parse().expect("CIDR"), None, &HashSet::new()),
            None
        );
    }
}
