//! The choice of endpoints, exactly as upstream's proxies make it (KEP-1669, KEP-2433, KEP-3015).
//!
//! Pure. Ready endpoints come first. When none is ready, those that still serve while they terminate are
//! taken; the list of the whole cluster and that of this node fall back on their own. Hints narrow the
//! cluster's list only, and only when every ready endpoint has one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

use crate::objects::{Hint, Place, ServicePort, Site, Slice};

/// Most endpoints of one list; more are left out. Slots have 16-bit numbers.
const ENDPOINTS_MAX: usize = u16::MAX as usize;

/// An endpoint of one service port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub place: Place,
    pub zones: &'a Hint,
    pub nodes: &'a Hint,
}

/// The candidates of a service port by address and port.
pub(super) type Candidates<'a> = BTreeMap<SocketAddr, Candidate<'a>>;

/// The endpoints of `port` in all slices, merged by address and port.
pub(super) fn candidates<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a Slice>,
) -> Candidates<'a> {
    let mut candidates = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.iter();
        for slice_port in ports.filter(|p| p.name == port.name && p.protocol == port.protocol) {
            for endpoint in &slice.endpoints {
                let candidate = Candidate {
                    ready: endpoint.ready,
                    serving: endpoint.serving,
                    terminating: endpoint.terminating,
                    place: endpoint.place,
                    zones: &endpoint.zones,
                    nodes: &endpoint.nodes,
                };
                merge(
                    candidates.entry(SocketAddr::new(endpoint.ip, slice_port.port)),
                    candidate,
                );
            }
        }
    }
    candidates
}

/// An address is in two slices for a moment while it moves, or when a new Pod has got that of one that
/// terminates: then the one that stays counts, and of those that stay the one that is ready.
fn merge<'a>(entry: Entry<'_, SocketAddr, Candidate<'a>>, new: Candidate<'a>) {
    let rank = |c: &Candidate<'_>| (!c.terminating, c.ready, c.serving);
    match entry {
        Entry::Vacant(free) => {
            free.insert(new);
        }
        Entry::Occupied(mut known) => {
            if rank(&new) > rank(known.get()) {
                known.insert(new);
            }
        }
    }
}

/// How hints narrow the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    None,
    SameNode,
    SameZone,
}

impl Topology {
    /// What the hints of the ready endpoints allow. One without a hint, or none for us, lifts them.
    fn of(candidates: &Candidates<'_>, site: &Site) -> Self {
        let ready = || candidates.values().filter(|c| c.ready);
        let usable = |hint: for<'c> fn(&Candidate<'c>) -> &'c Hint, ours: Option<&str>| {
            let mut hints = ready().map(hint);
            hints.clone().all(Option::is_some) && hints.any(|hint| names(hint, ours))
        };
        if usable(|c| c.nodes, Some(&site.node)) {
            Topology::SameNode
        } else if usable(|c| c.zones, site.zone.as_deref()) {
            Topology::SameZone
        } else {
            Topology::None
        }
    }

    fn allows(self, candidate: &Candidate<'_>, site: &Site) -> bool {
        match self {
            Topology::None => true,
            Topology::SameNode => names(candidate.nodes, Some(&site.node)),
            Topology::SameZone => names(candidate.zones, site.zone.as_deref()),
        }
    }
}

fn names(hint: &Hint, ours: Option<&str>) -> bool {
    let mut names = hint.iter().flat_map(|names| names.iter());
    ours.is_some_and(|ours| names.any(|name| name == ours))
}

/// The endpoints that clients of the whole cluster get here.
pub(super) fn cluster(candidates: &Candidates<'_>, site: &Site) -> Vec<SocketAddr> {
    let topology = Topology::of(candidates, site);
    let ready = among(candidates, |c| c.ready && topology.allows(c, site));
    if ready.is_empty() {
        among(candidates, |c| c.serving && c.terminating)
    } else {
        ready
    }
}

/// The endpoints on this node.
pub(super) fn local(candidates: &Candidates<'_>) -> Vec<SocketAddr> {
    let here = |c: &Candidate<'_>| c.place == Place::Here;
    let ready = among(candidates, |c| here(c) && c.ready);
    if ready.is_empty() {
        among(candidates, |c| here(c) && c.serving && c.terminating)
    } else {
        ready
    }
}

fn among(candidates: &Candidates<'_>, wanted: impl Fn(&Candidate<'_>) -> bool) -> Vec<SocketAddr> {
    let chosen = candidates
        .iter()
        .filter(|(_, c)| wanted(c))
        .map(|(address, _)| *address);
    chosen.take(ENDPOINTS_MAX).collect()
}
