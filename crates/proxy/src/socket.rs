//! The short path: sockets of Pods and of the node connect to endpoints themselves.
//!
//! Programs at the node's cgroup (`bpf/balancer.c`) turn a connection to a Service's address into one to an
//! endpoint before its first packet, so that neither address translation nor connection tracking is in its
//! way. The maps follow the same desired state as the rules, and the rules stay as they are: they serve
//! what comes from elsewhere, and every socket that the programs leave alone.
//!
//! Invariants: nothing is attached before the maps are as desired; whatever fails takes the programs away,
//! for then the rules alone are right. Programs and maps live as long as the cgroup: an agent may die and
//! another one finds them, and changes nothing where nothing changed.
//!
//! Absent on purpose: UDP. Its flows have to leave an endpoint that goes, without the socket noticing, which
//! the rules can do and a connected socket can't. Absent so far: nets within Pods (a cluster inside of a
//! Pod), whose own Services may have the same addresses.

mod adopt;
mod layout;
mod programs;
mod steps;
mod wanted;

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use karve_sys::bpf;
use karve_sys::link::{self, Netlink};
use tracing::{info, warn};

use self::layout::{ENDPOINTS, FRONTENDS, MEMBERS, NODE_IPS, SERVICES};
use self::programs::{Programs, chain, report};
use self::steps::{InForce, Set, Steps};
use self::wanted::{Endpoints, Wanted};
use crate::dataplane::Family;
use crate::desired::{Changes, Desired};
use crate::table::Layout;

#[cfg(test)]
pub(crate) use self::programs::contents;
pub(crate) use self::programs::detach;

/// What the short path needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory, in a hierarchy of version 2, of the cgroup that holds the node's Pods and processes.
    pub cgroup: PathBuf,
    /// A file that says which path is in use, for `karve status`: `bpf`, or `nf_tables: REASON`.
    pub report: PathBuf,
}

/// Why there is no short path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cgroup is not there.
    #[error("open cgroup {}", path.display())]
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The object file is broken.
    #[error("read the balancer's programs")]
    Object(#[from] bpf::ObjectError),
    /// The kernel does not have what is needed, or does not let us.
    #[error(transparent)]
    Bpf(#[from] bpf::Error),
    /// The node's addresses can't be read.
    #[error("list the node's addresses")]
    Addresses(#[from] link::Error),
}

/// The short path of one address family.
#[derive(Debug)]
pub(crate) struct Balancer {
    family: Family,
    shared: Arc<Programs>,
    wanted: Wanted,
    in_force: InForce,
    node_ips: Vec<IpAddr>,
    netlink: Netlink,
}

/// Opens the short path for each family; none when the kernel does not offer it, which is reported.
pub(crate) fn open(options: &Options, families: &[Family]) -> Vec<Balancer> {
    let opened = Programs::open(options, families).and_then(|shared| {
        let shared = Arc::new(shared);
        let balancers = families
            .iter()
            .map(|family| Balancer::adopt(*family, shared.clone(), Netlink::open()?));
        balancers.collect::<Result<Vec<_>, Error>>()
    });
    opened.unwrap_or_else(|err| {
        let reason = chain(&err);
        info!(reason, "no short path, nf_tables serves all");
        if let Err(err) = detach(&options.cgroup) {
            warn!(
                err = &err as &dyn StdError,
                "programs of before could not be detached"
            );
        }
        report(&options.report, &format!("nf_tables: {reason}"));
        Vec::new()
    })
}

impl Balancer {
    /// Starts with whatever the maps hold.
    fn adopt(family: Family, shared: Arc<Programs>, netlink: Netlink) -> Result<Self, Error> {
        Ok(Self {
            family,
            node_ips: adopt::node_ips(&shared, family)?,
            in_force: adopt::in_force(&shared, family)?,
            shared,
            wanted: Wanted::default(),
            netlink,
        })
    }

    /// Follows a change of the rules.
    pub(crate) fn follow(&mut self, rules: &Layout, changes: &Changes) {
        self.wanted.follow(changes);
        let touched = self.wanted.take_touched();
        let steps = self.in_force.plan(self.family, &self.wanted, &touched);
        self.bring(rules, steps);
    }

    /// Makes the maps as desired, whatever they hold.
    pub(crate) fn resync(&mut self, rules: &Layout, desired: &Desired) {
        self.wanted = Wanted::of(desired);
        self.wanted.take_touched();
        let all = self.in_force.everything(&self.wanted);
        let steps = self.in_force.plan(self.family, &self.wanted, &all);
        self.bring(rules, steps);
    }

    fn bring(&mut self, rules: &Layout, steps: Steps) {
        if !self.shared.is_trusted() {
            return;
        }
        let done = self
            .apply(steps)
            .and_then(|()| self.follow_addresses(rules))
            .and_then(|()| self.shared.filled(self.family));
        if let Err(err) = done {
            self.shared.fail(&err);
        }
    }

    fn apply(&self, steps: Steps) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        let (family, shared) = (self.family, &self.shared);
        let (endpoints, members) = (shared.map(ENDPOINTS), shared.map(MEMBERS));
        let elements: Vec<_> = steps.new_sets.iter().flat_map(slots).collect();
        endpoints.set_all(&elements)?;
        let elements: Vec<_> = steps.new_sets.iter().flat_map(members_of).collect();
        members.set_all(&elements)?;
        let services = shared.map(SERVICES);
        let swaps = steps.swaps.iter().map(|(name, sets)| {
            let lists = sets
                .each_ref()
                .map(|set| (set.number, set.endpoints.addresses.len()));
            (layout::service(family, name), layout::lists(lists))
        });
        services.set_all(&swaps.collect::<Vec<_>>())?;
        let frontends = shared.map(FRONTENDS);
        let set = steps.targets.iter().filter_map(|(address, target)| {
            Some((
                layout::address(family, address),
                layout::target(family, target.as_ref()?),
            ))
        });
        frontends.set_all(&set.collect::<Vec<_>>())?;
        for (address, _) in steps.targets.iter().filter(|(_, target)| target.is_none()) {
            frontends.delete(&layout::address(family, address))?;
        }
        for name in &steps.gone {
            services.delete(&layout::service(family, name))?;
        }
        for set in &steps.old_sets {
            slots(set).try_for_each(|(key, _)| endpoints.delete(&key).map(drop))?;
            members_of(set).try_for_each(|(key, _)| members.delete(&key).map(drop))?;
        }
        Ok(())
    }

    /// Node ports are on all of the node's addresses but those of loopback.
    fn follow_addresses(&mut self, rules: &Layout) -> Result<(), Error> {
        let loopback = self.netlink.link_index("lo")?;
        let nets = &rules.node_port_addresses;
        let of_node = self
            .netlink
            .addresses()?
            .into_iter()
            .filter(|address| address.index != loopback);
        let ips: Vec<IpAddr> = of_node
            .map(|address| address.net.addr())
            .filter(|ip| Family::of(*ip) == self.family && !ip.is_loopback())
            .filter(|ip| nets.is_empty() || nets.iter().any(|net| net.contains(ip)))
            .collect();
        let map = self.shared.map(NODE_IPS);
        for ip in ips.iter().filter(|ip| !self.node_ips.contains(ip)) {
            map.set(&layout::ip_bytes(*ip), &[0; 4])?;
        }
        for ip in self.node_ips.iter().filter(|ip| !ips.contains(ip)) {
            map.delete(&layout::ip_bytes(*ip))?;
        }
        self.node_ips = ips;
        Ok(())
    }
}

/// A set's elements of `endpoints`.
fn slots(set: &Set) -> impl Iterator<Item = bpf::Entry> {
    let numbered = (0..).zip(&set.endpoints.addresses);
    numbered.map(|(number, address)| (layout::slot(set.number, number), layout::endpoint(address)))
}

/// A set's elements of `members`.
fn members_of(set: &Set) -> impl Iterator<Item = bpf::Entry> {
    let Endpoints { addresses, sticky } = &set.endpoints;
    let members: &[SocketAddr] = if *sticky { addresses } else { &[] };
    members
        .iter()
        .map(|address| (layout::member(set.number, address), vec![0; 4]))
}

#[cfg(test)]
mod tests;
