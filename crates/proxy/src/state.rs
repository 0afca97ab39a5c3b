//! What the proxy of one address family knows: the objects as last seen, and the desired state that
//! follows from them.
//!
//! Pure. An object that changes marks its Service; [`State::replan`] plans the marked Services only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use karve_watch::ObjectName;

use crate::dataplane::{Key, Value};
use crate::desired::{Changes, Contest, Desired};
use crate::objects::{Service, Site, Slice};
use crate::plan::{HealthCheck, Plan, UdpPort, WithoutLocal, plan};

/// The objects and the desired state.
#[derive(Debug, Default)]
pub struct State {
    site: Site,
    services: HashMap<ObjectName, Service>,
    /// The slices of each Service, by the slice's name.
    slices: HashMap<ObjectName, BTreeMap<ObjectName, Slice>>,
    /// The Service of each slice.
    owners: HashMap<ObjectName, ObjectName>,
    changed: BTreeSet<ObjectName>,
    desired: Desired,
    /// Endpoints as a former process numbered them, until their Service is planned.
    adopted: BTreeMap<Key, Value>,
    /// When the changes began that have not been planned yet.
    triggered: Vec<Timestamp>,
    /// The Services that load balancers ask about.
    health: BTreeMap<ObjectName, HealthCheck>,
    without_local: WithoutLocal,
}

/// What planning changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replanned {
    /// The difference for the kernel.
    pub changes: Changes,
    /// UDP ports whose flows may have become stale.
    pub udp: Vec<UdpPort>,
    /// What is left of UDP ports that are not there any more: their flows go nowhere now.
    pub gone: Vec<UdpPort>,
    /// Services that claim the same address or node port.
    pub contests: Vec<Contest>,
    /// When the changes began.
    pub triggered: Vec<Timestamp>,
}

impl State {
    /// Takes the facts about this node in.
    pub fn set_site(&mut self, site: Site) {
        if self.site != site {
            self.site = site;
            self.changed.extend(self.services.keys().cloned());
        }
    }

    /// Takes a Service in, or out.
    pub fn set_service(&mut self, name: ObjectName, service: Option<Service>) {
        let known = self.services.get(&name);
        if known == service.as_ref() {
            return;
        }
        match service {
            Some(service) => self.services.insert(name.clone(), service),
            None => self.services.remove(&name),
        };
        self.changed.insert(name);
    }

    /// Takes an EndpointSlice in, with the Service that it belongs to, or out.
    pub fn set_slice(&mut self, name: ObjectName, slice: Option<(ObjectName, Slice)>) {
        let former = self.owners.get(&name).cloned();
        if let Some(former) = former
            && slice.as_ref().is_none_or(|(owner, _)| *owner != former)
        {
            if let Some(slices) = self.slices.get_mut(&former) {
                slices.remove(&name);
                if slices.is_empty() {
                    self.slices.remove(&former);
                }
            }
            self.owners.remove(&name);
            self.changed.insert(former);
        }
        if let Some((owner, slice)) = slice {
            let slices = self.slices.entry(owner.clone()).or_default();
            if slices.get(&name) != Some(&slice) {
                self.triggered.extend(slice.triggered);
                slices.insert(name.clone(), slice);
                self.changed.insert(owner.clone());
            }
            self.owners.insert(name, owner);
        }
    }

    /// Lets the first plans keep the numbers of endpoints that are in force.
    pub fn adopt(&mut self, endpoints: impl IntoIterator<Item = (Key, Value)>) {
        self.adopted = endpoints.into_iter().collect();
    }

    /// How many Services have changed since the last plan.
    pub fn pending(&self) -> usize {
        self.changed.len()
    }

    /// Plans the Services that have changed.
    pub fn replan(&mut self) -> Replanned {
        let (mut udp, mut gone) = (Vec::new(), Vec::new());
        let nothing = Plan::default();
        for name in std::mem::take(&mut self.changed) {
            let former = self.desired.plan(&name);
            let planned = self.services.get(&name).map(|service| {
                let slices = self.slices.get(&name);
                let slices = slices.into_iter().flat_map(|slices| slices.values());
                let before = former.map_or(&self.adopted, |plan| &plan.elements);
                plan(service, slices, &self.site, before)
            });
            let (old, new) = (
                former.unwrap_or(&nothing),
                planned.as_ref().unwrap_or(&nothing),
            );
            udp.extend(
                new.udp
                    .iter()
                    .filter(|port| !old.udp.contains(port))
                    .cloned(),
            );
            gone.extend(old.udp.iter().filter_map(|port| left_of(port, &new.udp)));
            let total = &mut self.without_local;
            total.internal =
                total.internal + new.without_local.internal - old.without_local.internal;
            total.external =
                total.external + new.without_local.external - old.without_local.external;
            match new.health {
                Some(health) => self.health.insert(name.clone(), health),
                None => self.health.remove(&name),
            };
            self.desired.set(&name, planned);
        }
        self.adopted.clear();
        Replanned {
            changes: self.desired.take_changes(),
            udp,
            gone,
            contests: self.desired.take_contests(),
            triggered: std::mem::take(&mut self.triggered),
        }
    }

    /// The desired state as last planned.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The Services that load balancers ask about.
    pub fn health(&self) -> &BTreeMap<ObjectName, HealthCheck> {
        &self.health
    }

    /// Service ports that drop packets here for want of a local endpoint.
    pub fn without_local(&self) -> WithoutLocal {
        self.without_local
    }

    /// All UDP ports as last planned.
    pub fn udp_ports(&self) -> Vec<UdpPort> {
        self.desired
            .plans()
            .flat_map(|plan| plan.udp.iter().cloned())
            .collect()
    }
}

/// The addresses and the node port of `port` that no port of `now` has.
fn left_of(port: &UdpPort, now: &[UdpPort]) -> Option<UdpPort> {
    let frontends = port.frontends.iter();
    let frontends = frontends.filter(|f| !now.iter().any(|port| port.frontends.contains(f)));
    let left = UdpPort {
        frontends: frontends.copied().collect(),
        node_port: port
            .node_port
            .filter(|p| !now.iter().any(|port| port.node_port == Some(*p))),
        serving: port.serving.clone(),
    };
    (!left.frontends.is_empty() || left.node_port.is_some()).then_some(left)
}

#[cfg(test)]
impl State {
    /// The same objects in a process that has just started.
    pub fn restarted(&self) -> Self {
        Self {
            site: self.site.clone(),
            services: self.services.clone(),
            slices: self.slices.clone(),
            owners: self.owners.clone(),
            changed: self.services.keys().cloned().collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
