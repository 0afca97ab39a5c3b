//! Planning: one Service and its endpoints to the elements that it wants in the table.
//!
//! Pure. The choice of endpoints and the verdicts are upstream's (KEP-1669, KEP-2086); how they
//! become elements is ours. Planning one Service never looks at another one.

mod choice;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use self::choice::Candidates;
use crate::dataplane::{Chain, Frontend, Guarded, Key, List, Pick, Protocol, Value, Via};
use crate::objects::{Place, Service, ServicePort, Site, Slice};

/// What one Service wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The elements.
    pub elements: BTreeMap<Key, Value>,
    /// Its UDP ports: flows to them outlive nothing but a serving endpoint.
    pub udp: Vec<UdpPort>,
    /// What load balancers are told.
    pub health: Option<HealthCheck>,
    /// How many of its ports have endpoints, but none here for a policy Local.
    pub without_local: WithoutLocal,
}

/// A UDP port of a Service, as connection tracking sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpPort {
    /// Where its clients send to.
    pub frontends: Vec<SocketAddr>,
    /// The node port, on whichever address.
    pub node_port: Option<u16>,
    /// Its serving endpoints, sorted.
    pub serving: Vec<SocketAddr>,
}

/// What load balancers learn about this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// Where they ask.
    pub port: u16,
    /// How many ready endpoints are here. Those that terminate don't count, even while they serve.
    pub local: usize,
}

/// Service ports that drop packets here for want of a local endpoint, by policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WithoutLocal {
    /// internalTrafficPolicy.
    pub internal: usize,
    /// externalTrafficPolicy.
    pub external: usize,
}

/// Plans one Service. `before` are the elements that it has now, whose endpoints keep their numbers
/// so that one changed endpoint changes few elements.
pub fn plan<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a Slice> + Clone,
    site: &Site,
    before: &BTreeMap<Key, Value>,
) -> Plan {
    let mut plan = Plan::default();
    plan.elements
        .insert(Key::ClusterIp(service.cluster_ip), Value::Present);
    let mut ready_here = BTreeSet::new();
    for port in &service.ports {
        let candidates = choice::candidates(port, slices.clone());
        if service.health_port.is_some() {
            let here = candidates
                .iter()
                .filter(|(_, c)| c.ready && c.place == Place::Here);
            ready_here.extend(here.map(|(address, _)| address.ip()));
        }
        PortPlan {
            service,
            port,
            site,
            candidates: &candidates,
            before,
        }
        .add_to(&mut plan);
    }
    plan.health = service.health_port.map(|port| HealthCheck {
        port,
        local: ready_here.len(),
    });
    plan
}

/// One port of a Service, being planned.
struct PortPlan<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    site: &'a Site,
    candidates: &'a Candidates<'a>,
    before: &'a BTreeMap<Key, Value>,
}

/// The two lists of a service port.
struct Lists {
    cluster: Vec<SocketAddr>,
    local: Vec<SocketAddr>,
}

impl PortPlan<'_> {
    fn add_to(&self, plan: &mut Plan) {
        let Self { service, port, .. } = self;
        let lists = Lists {
            cluster: choice::cluster(self.candidates, self.site),
            local: choice::local(self.candidates),
        };
        let external = port.node_port.is_some() || self.external_ips().next().is_some();
        let uses_cluster = !service.internal_local || external;
        let uses_local = service.internal_local || (service.external_local && external);

        let internal = self.internal_verdict(&lists);
        plan.elements
            .insert(Key::ServiceIp(self.frontend(service.cluster_ip)), internal);
        self.add_external(plan, &lists);
        if uses_cluster {
            self.add_list(plan, List::Cluster, &lists.cluster);
        }
        if uses_local {
            self.add_list(plan, List::Local, &lists.local);
        }
        if port.protocol == Protocol::Udp {
            plan.udp.push(self.udp());
        }
        let without = !lists.cluster.is_empty() && lists.local.is_empty();
        plan.without_local.internal += usize::from(without && service.internal_local);
        plan.without_local.external += usize::from(without && service.external_local && external);
    }

    /// The addresses and the node port that clients outside of the cluster use.
    fn add_external(&self, plan: &mut Plan, lists: &Lists) {
        let target = Value::Service(self.name());
        let mut guarded = false;
        for ip in self.external_ips() {
            let open = self.external_verdict(Via::ExternalIp, lists);
            let restricted =
                !self.service.source_ranges.is_empty() && self.service.balancer_ips.contains(&ip);
            guarded |= restricted;
            let verdict = if restricted { guard(open) } else { open };
            let frontend = self.frontend(ip);
            plan.elements
                .insert(Key::ServiceIp(frontend), Value::Goto(verdict));
            plan.elements.insert(Key::ExternalIp(frontend), target);
        }
        if let Some(node_port) = self.port.node_port {
            // Source ranges never apply to node ports.
            let verdict = Value::Goto(self.external_verdict(Via::NodePort, lists));
            let protocol = self.port.protocol;
            plan.elements
                .insert(Key::NodePort(protocol, node_port), verdict);
            plan.elements
                .insert(Key::NodePortTarget(protocol, node_port), target);
        }
        if guarded {
            let ranges = self.source_ranges().into_iter();
            let elements = ranges.map(|net| (Key::SourceRange(self.name(), net), Value::Present));
            plan.elements.extend(elements);
        }
    }

    /// External and load balancer addresses, each once.
    fn external_ips(&self) -> impl Iterator<Item = IpAddr> {
        let Service {
            external_ips,
            balancer_ips,
            cluster_ip,
            ..
        } = self.service;
        let only_external = external_ips.iter().filter(|ip| !balancer_ips.contains(ip));
        let ips = balancer_ips.iter().chain(only_external).copied();
        ips.filter(move |ip| ip != cluster_ip)
    }

    /// Where the ranges take in this node, they take in the addresses, too: a node that holds one of them
    /// talks to it from that very address.
    fn source_ranges(&self) -> Vec<IpNet> {
        let Service {
            source_ranges,
            balancer_ips,
            ..
        } = self.service;
        let takes = |ip: &IpAddr| source_ranges.iter().any(|range| range.contains(ip));
        let mut ranges = source_ranges.clone();
        if self.site.addresses.iter().any(takes) {
            ranges.extend(
                balancer_ips
                    .iter()
                    .filter(|ip| !takes(ip))
                    .map(|ip| IpNet::from(*ip)),
            );
        }
        ranges
    }

    /// The service port's name in the maps: its cluster IP, protocol and port.
    fn name(&self) -> Frontend {
        self.frontend(self.service.cluster_ip)
    }

    fn frontend(&self, ip: IpAddr) -> Frontend {
        Frontend {
            ip,
            protocol: self.port.protocol,
            port: self.port.port,
        }
    }

    fn pick(&self, via: Via, list: List, endpoints: &[SocketAddr]) -> Pick {
        let count = u16::try_from(endpoints.len()).expect("the choice is cut to 16 bits");
        Pick {
            via,
            list,
            count,
            affinity: self.service.affinity,
        }
    }

    fn internal_verdict(&self, lists: &Lists) -> Value {
        let (list, endpoints) = match self.service.internal_local {
            true => (List::Local, &lists.local),
            false => (List::Cluster, &lists.cluster),
        };
        match (endpoints.as_slice(), lists.cluster.as_slice()) {
            (_, []) => Value::Goto(Chain::Refuse),
            // internalTrafficPolicy Local: endpoints exist, none of them here.
            ([], _) => Value::Drop,
            _ => Value::Goto(Chain::Internal(self.pick(Via::ClusterIp, list, endpoints))),
        }
    }

    fn external_verdict(&self, via: Via, lists: &Lists) -> Chain {
        if lists.cluster.is_empty() {
            return Chain::Refuse;
        }
        let pick = self.pick(via, List::Cluster, &lists.cluster);
        if self.service.external_local {
            let local = self.pick(via, List::Local, &lists.local).count;
            Chain::ExternalLocal { pick, local }
        } else {
            Chain::External(pick)
        }
    }

    fn add_list(&self, plan: &mut Plan, list: List, endpoints: &[SocketAddr]) {
        let sticky = self.service.affinity.is_some();
        let key = |slot| match sticky {
            true => Key::AffinityPick(self.name(), list, slot),
            false => Key::Endpoint(self.name(), list, slot),
        };
        let before = self
            .before
            .range(key(0)..=key(u16::MAX))
            .filter_map(|pair| match pair {
                (
                    Key::Endpoint(_, _, slot) | Key::AffinityPick(_, _, slot),
                    Value::Endpoint(address),
                ) => Some((*slot, *address)),
                _ => None,
            });
        for (slot, address) in slots::assign(before, endpoints) {
            plan.elements.insert(key(slot), Value::Endpoint(address));
            if sticky {
                let key = Key::AffinityEndpoint(self.name(), list, address);
                plan.elements.insert(key, Value::Present);
            }
            if self.candidates[&address].place != Place::Elsewhere {
                plan.elements
                    .insert(Key::Hairpin(address.ip()), Value::Present);
            }
        }
    }

    fn udp(&self) -> UdpPort {
        let ips = self.external_ips().chain([self.service.cluster_ip]);
        let serving = self.candidates.iter().filter(|(_, c)| c.serving);
        UdpPort {
            frontends: ips.map(|ip| SocketAddr::new(ip, self.port.port)).collect(),
            node_port: self.port.node_port,
            serving: serving.map(|(address, _)| *address).collect(),
        }
    }
}

/// The same verdict behind a look at the source ranges.
fn guard(open: Chain) -> Chain {
    match open {
        Chain::External(pick) => Chain::Guarded(Guarded::External(pick)),
        Chain::ExternalLocal { pick, local } => {
            Chain::Guarded(Guarded::ExternalLocal { pick, local })
        }
        _ => Chain::Guarded(Guarded::Refuse),
    }
}

#[cfg(test)]
mod tests;
