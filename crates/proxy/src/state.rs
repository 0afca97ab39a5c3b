//! What the proxy knows: the objects as last seen, and the desired state that follows from them.
//!
//! Pure. An object that changes marks its Service; [`State::replan`] plans the marked Services only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use karve_watch::ObjectName;

use crate::dataplane::{Key, Value};
use crate::desired::{Changes, Desired};
use crate::objects::{Service, Slice};
use crate::plan::{UdpPort, plan};

/// The objects and the desired state.
#[derive(Debug, Default)]
pub struct State {
    services: HashMap<ObjectName, Service>,
    /// The slices of each Service, by the slice's name.
    slices: HashMap<ObjectName, BTreeMap<ObjectName, Slice>>,
    /// The Service of each slice.
    owners: HashMap<ObjectName, ObjectName>,
    changed: BTreeSet<ObjectName>,
    desired: Desired,
    /// Endpoints as a former process numbered them, until their Service is planned.
    adopted: BTreeMap<Key, Value>,
}

/// What planning changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replanned {
    /// The difference for the kernel.
    pub changes: Changes,
    /// UDP ports whose flows may have become stale.
    pub udp: Vec<UdpPort>,
}

impl State {
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

    /// Whether anything has changed since the last plan.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Plans the Services that have changed.
    pub fn replan(&mut self) -> Replanned {
        let mut udp = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let former = self.desired.plan(&name);
            let planned = self.services.get(&name).map(|service| {
                let slices = self.slices.get(&name);
                let before = former.map_or(&self.adopted, |plan| &plan.elements);
                plan(
                    service,
                    slices.into_iter().flat_map(|slices| slices.values()),
                    before,
                )
            });
            let known = former.map(|plan| plan.udp.as_slice()).unwrap_or_default();
            let new = planned.iter().flat_map(|plan| &plan.udp);
            udp.extend(new.filter(|port| !known.contains(port)).cloned());
            self.desired.set(&name, planned);
        }
        self.adopted.clear();
        Replanned {
            changes: self.desired.take_changes(),
            udp,
        }
    }

    /// The desired state as last planned.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// All UDP ports as last planned.
    pub fn udp_ports(&self) -> Vec<UdpPort> {
        self.desired
            .plans()
            .flat_map(|plan| plan.udp.iter().cloned())
            .collect()
    }
}

#[cfg(test)]
impl State {
    /// The same objects in a process that has just started.
    pub fn restarted(&self) -> Self {
        Self {
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
