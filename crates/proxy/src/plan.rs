//! Planning: one Service and its endpoints to the elements that it wants in the table.
//!
//! Pure. The choice of endpoints and the verdicts are upstream's (KEP-1669, KEP-2086); how they
//! become elements is ours. Planning one Service never looks at another one.

mod slots;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::dataplane::{Chain, Frontend, Key, List, Pick, Protocol, Value, Via};
use crate::objects::{Place, Service, ServicePort, Slice};

/// Most endpoints of one service port; more are left out. Slots have 16-bit numbers.
const ENDPOINTS_MAX: usize = u16::MAX as usize;

/// What one Service wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The elements.
    pub elements: BTreeMap<Key, Value>,
    /// Its UDP ports: flows to them outlive nothing but a serving endpoint.
    pub udp: Vec<UdpPort>,
}

/// A UDP port of a Service, as connection tracking sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpPort {
    /// Where its clients send to.
    pub frontends: Vec<SocketAddrV4>,
    /// The node port, on whichever address.
    pub node_port: Option<u16>,
    /// Its serving endpoints, sorted.
    pub serving: Vec<SocketAddrV4>,
}

/// An endpoint of one service port.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    ready: bool,
    serving: bool,
    terminating: bool,
    place: Place,
}

/// Plans one Service. `before` are the elements that it has now, whose endpoints keep their numbers
/// so that one changed endpoint changes few elements.
pub fn plan<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a Slice> + Clone,
    before: &BTreeMap<Key, Value>,
) -> Plan {
    let mut plan = Plan::default();
    plan.elements
        .insert(Key::ClusterIp(service.cluster_ip), Value::Present);
    for port in &service.ports {
        let candidates = candidates(port, slices.clone());
        PortPlan {
            service,
            port,
            candidates: &candidates,
            before,
        }
        .add_to(&mut plan);
    }
    plan
}

/// The endpoints of `port` in all slices, merged by address and port.
fn candidates<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a Slice>,
) -> BTreeMap<SocketAddrV4, Candidate> {
    let mut candidates = BTreeMap::new();
    for slice in slices {
        let ports = slice
            .ports
            .iter()
            .filter(|p| p.name == port.name && p.protocol == port.protocol);
        for (slice_port, endpoint) in
            ports.flat_map(|p| slice.endpoints.iter().map(move |e| (p, e)))
        {
            let candidate = Candidate {
                ready: endpoint.ready,
                serving: endpoint.serving,
                terminating: endpoint.terminating,
                place: endpoint.place,
            };
            candidates
                .entry(SocketAddrV4::new(endpoint.ip, slice_port.port))
                // In two slices for a moment while it moves: the better news counts.
                .and_modify(|known: &mut Candidate| {
                    if candidate.ready && !known.ready {
                        *known = candidate;
                    }
                })
                .or_insert(candidate);
        }
    }
    candidates
}

/// The ready ones, else those that serve while they terminate (KEP-1669).
fn choose(
    candidates: &BTreeMap<SocketAddrV4, Candidate>,
    eligible: impl Fn(&Candidate) -> bool,
) -> Vec<SocketAddrV4> {
    let among = |wanted: fn(&Candidate) -> bool| -> Vec<SocketAddrV4> {
        let chosen = candidates.iter().filter(|(_, c)| eligible(c) && wanted(c));
        chosen
            .map(|(address, _)| *address)
            .take(ENDPOINTS_MAX)
            .collect()
    };
    let ready = among(|c| c.ready);
    if ready.is_empty() {
        among(|c| c.serving && c.terminating)
    } else {
        ready
    }
}

/// One port of a Service, being planned.
struct PortPlan<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    candidates: &'a BTreeMap<SocketAddrV4, Candidate>,
    before: &'a BTreeMap<Key, Value>,
}

impl PortPlan<'_> {
    fn add_to(&self, plan: &mut Plan) {
        let Self {
            service,
            port,
            candidates,
            ..
        } = self;
        let cluster = choose(candidates, |_| true);
        let local = choose(candidates, |c| c.place == Place::Here);
        let external = port.node_port.is_some() || !service.external_ips.is_empty();
        let uses_cluster = !service.internal_local || external;
        let uses_local = service.internal_local || (service.external_local && external);

        let internal = self.internal_verdict(&cluster, &local);
        plan.elements
            .insert(Key::ServiceIp(self.frontend(service.cluster_ip)), internal);
        for ip in service
            .external_ips
            .iter()
            .filter(|ip| **ip != service.cluster_ip)
        {
            let verdict = self.external_verdict(Via::ExternalIp, &cluster, &local);
            plan.elements
                .insert(Key::ServiceIp(self.frontend(*ip)), verdict);
            plan.elements.insert(
                Key::ExternalIp(self.frontend(*ip)),
                Value::Service(self.name()),
            );
        }
        if let Some(node_port) = port.node_port {
            let verdict = self.external_verdict(Via::NodePort, &cluster, &local);
            let target = Value::Service(self.name());
            plan.elements
                .insert(Key::NodePort(port.protocol, node_port), verdict);
            plan.elements
                .insert(Key::NodePortTarget(port.protocol, node_port), target);
        }
        if uses_cluster {
            self.add_list(plan, List::Cluster, &cluster);
        }
        if uses_local {
            self.add_list(plan, List::Local, &local);
        }
        if port.protocol == Protocol::Udp {
            plan.udp.push(self.udp());
        }
    }

    /// The service port's name in the maps: its cluster IP, protocol and port.
    fn name(&self) -> Frontend {
        self.frontend(self.service.cluster_ip)
    }

    fn frontend(&self, ip: Ipv4Addr) -> Frontend {
        Frontend {
            ip,
            protocol: self.port.protocol,
            port: self.port.port,
        }
    }

    fn pick(&self, via: Via, list: List, endpoints: &[SocketAddrV4]) -> Pick {
        let count = u16::try_from(endpoints.len()).expect("cut to ENDPOINTS_MAX by choose");
        Pick {
            via,
            list,
            count,
            affinity: self.service.affinity,
        }
    }

    fn internal_verdict(&self, cluster: &[SocketAddrV4], local: &[SocketAddrV4]) -> Value {
        let (list, endpoints) = match self.service.internal_local {
            true => (List::Local, local),
            false => (List::Cluster, cluster),
        };
        match (endpoints, cluster) {
            (_, []) => Value::Goto(Chain::Refuse),
            // internalTrafficPolicy Local: endpoints exist, none of them here.
            ([], _) => Value::Drop,
            _ => Value::Goto(Chain::Internal(self.pick(Via::ClusterIp, list, endpoints))),
        }
    }

    fn external_verdict(
        &self,
        via: Via,
        cluster: &[SocketAddrV4],
        local: &[SocketAddrV4],
    ) -> Value {
        if cluster.is_empty() {
            return Value::Goto(Chain::Refuse);
        }
        let pick = self.pick(via, List::Cluster, cluster);
        Value::Goto(match self.service.external_local {
            true => {
                let local = self.pick(via, List::Local, local).count;
                Chain::ExternalLocal { pick, local }
            }
            false => Chain::External(pick),
        })
    }

    fn add_list(&self, plan: &mut Plan, list: List, endpoints: &[SocketAddrV4]) {
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
                    .insert(Key::Hairpin(*address.ip()), Value::Present);
            }
        }
    }

    fn udp(&self) -> UdpPort {
        let ips = self
            .service
            .external_ips
            .iter()
            .chain([&self.service.cluster_ip]);
        let serving = self.candidates.iter().filter(|(_, c)| c.serving);
        UdpPort {
            frontends: ips
                .map(|ip| SocketAddrV4::new(*ip, self.port.port))
                .collect(),
            node_port: self.port.node_port,
            serving: serving.map(|(address, _)| *address).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
