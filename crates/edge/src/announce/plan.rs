//! The choice of the node that answers for an address. Pure, and the same on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use karve_watch::ObjectName;

use super::facts::{Node, Service, SliceNodes};
use crate::objects::Objects;
use crate::pools::Configured;

/// All that the choice depends on.
#[derive(Debug, Default)]
pub(super) struct View {
    pub services: Objects<Service>,
    pub nodes: Objects<Node>,
    pub slices: Objects<SliceNodes>,
    pub config_maps: Objects<String>,
    pub configured: Configured,
}

impl View {
    /// Whether enough is known to decide.
    pub(super) fn complete(&self) -> bool {
        self.services.complete() && self.nodes.complete() && self.config_maps.complete()
    }

    /// Whether some Service must be answered for where its endpoints are.
    pub(super) fn needs_slices(&self) -> bool {
        self.services.iter().any(|(_, service)| service.local)
    }

    /// Whether a node may answer for a Service.
    fn may_answer(&self, service: &ObjectName, facts: &Service, node: &str) -> bool {
        !facts.local
            || self
                .slices
                .iter()
                .any(|(_, slice)| slice.service == *service && slice.nodes.contains(node))
    }
}

/// The addresses that the node `me` answers for, with their Services.
pub(super) fn plan(view: &View, me: &str) -> BTreeMap<Ipv4Addr, BTreeSet<ObjectName>> {
    let own: BTreeSet<Ipv4Addr> = view
        .nodes
        .iter()
        .flat_map(|(_, node)| &node.ips)
        .copied()
        .collect();
    let in_pools = |ip: Ipv4Addr| view.configured.pools().pool_of(ip).is_some();
    let mut plan: BTreeMap<Ipv4Addr, BTreeSet<ObjectName>> = BTreeMap::new();
    for (name, service) in view.services.iter() {
        for ip in service
            .ips
            .iter()
            .filter(|ip| !own.contains(ip) && in_pools(**ip))
        {
            let live = view
                .nodes
                .iter()
                .filter(|(_, node)| node.live)
                .map(|(node, _)| &*node.name);
            let candidates = live.filter(|node| view.may_answer(name, service, node));
            if choose(*ip, candidates) == Some(me) {
                plan.entry(*ip).or_default().insert(name.clone());
            }
        }
    }
    plan
}

/// Rendezvous hashing: each node has its own score for an address, the highest wins. So addresses
/// spread over the nodes, and only those of a node that goes find another one.
fn choose<'a>(ip: Ipv4Addr, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.max_by_key(|node| (score(ip, node), *node))
}

/// FNV-1a with the finalizer of MurmurHash3, which spreads the few differing bits over all.
fn score(ip: Ipv4Addr, node: &str) -> u64 {
    let bytes = ip.octets().into_iter().chain(node.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
pub(super) mod tests;
