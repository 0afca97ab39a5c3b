//! How objects come into the zone and go.

use std::net::IpAddr;

use karve_watch::ObjectName;

use super::reverse::Owner;
use super::{Service, Slice, Zone};

impl Zone {
    /// Takes a Service as it now is; `None`: it is gone.
    pub fn set_service(&mut self, name: &ObjectName, service: Option<Service>) {
        self.forget_service(name);
        let Some(mut service) = service else {
            self.drop_if_empty(&name.namespace);
            return;
        };
        if !service.addresses().is_empty() {
            let owner = Owner {
                namespace: Box::from(&*name.namespace),
                service: Box::from(&*name.name),
                slice: None,
            };
            let addresses = service.addresses().iter().copied();
            service.owner = Some(self.reverse.add(owner, addresses));
        }
        let space = self.namespaces.entry(Box::from(&*name.namespace));
        let services = &mut space.or_default().services;
        services.insert(Box::from(&*name.name), service);
    }

    fn forget_service(&mut self, name: &ObjectName) {
        let Some(space) = self.namespaces.get_mut(&*name.namespace) else {
            return;
        };
        let Some(old) = space.services.remove(&*name.name) else {
            return;
        };
        if let Some(owner) = old.owner {
            self.reverse.remove(owner, old.addresses().iter().copied());
        }
    }

    /// Takes a slice as it now is, with its Service's name; `None`: it is gone, or of no Service.
    pub fn set_slice(&mut self, name: &ObjectName, slice: Option<(Box<str>, Slice)>) {
        self.forget_slice(name);
        let Some((service, mut slice)) = slice else {
            self.drop_if_empty(&name.namespace);
            return;
        };
        if !self.keep_pod_names {
            for endpoint in slice.endpoints.iter_mut() {
                endpoint.pod = None;
            }
        }
        let owner = Owner {
            namespace: Box::from(&*name.namespace),
            service: service.clone(),
            slice: Some(Box::from(&*name.name)),
        };
        slice.owner = Some(self.reverse.add(owner, slice.addresses()));
        let space = self.namespaces.entry(Box::from(&*name.namespace));
        let space = space.or_default();
        space
            .slice_owners
            .insert(Box::from(&*name.name), service.clone());
        let slices = space.slices.entry(service).or_default();
        slices.reserve_exact(1);
        slices.push((Box::from(&*name.name), slice));
    }

    fn forget_slice(&mut self, name: &ObjectName) {
        let Some(space) = self.namespaces.get_mut(&*name.namespace) else {
            return;
        };
        let Some(service) = space.slice_owners.remove(&*name.name) else {
            return;
        };
        let Some(slices) = space.slices.get_mut(&service) else {
            return;
        };
        let at = slices.iter().position(|(slice, _)| **slice == *name.name);
        let old = at.map(|at| slices.remove(at).1);
        if slices.is_empty() {
            space.slices.remove(&service);
        }
        if let Some((old, owner)) = old.and_then(|old| old.owner.map(|owner| (old, owner))) {
            self.reverse.remove(owner, old.addresses());
        }
    }

    /// Takes a namespace: it is there, or not.
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        if exists {
            self.namespaces.entry(name.into()).or_default().exists = true;
        } else if let Some(space) = self.namespaces.get_mut(name) {
            space.exists = false;
            self.drop_if_empty(name);
        }
    }

    /// Takes a Pod's addresses; none: it is gone.
    pub fn set_pod(&mut self, name: &ObjectName, addresses: &[IpAddr]) {
        for old in self.pods.remove(name).iter().flatten() {
            if let Some(names) = self.pod_addresses.get_mut(old) {
                names.retain(|other| other != name);
                if names.is_empty() {
                    self.pod_addresses.remove(old);
                }
            }
        }
        if addresses.is_empty() {
            return;
        }
        for address in addresses {
            let names = self.pod_addresses.entry(*address).or_default();
            names.push(name.clone());
        }
        self.pods.insert(name.clone(), addresses.into());
    }

    /// The node's proxy has programmed a Service, or has it no more.
    pub fn set_programmed(&mut self, name: &ObjectName, programmed: bool) {
        let Some(gate) = &mut self.gate else { return };
        let space = gate.entry(Box::from(&*name.namespace)).or_default();
        match programmed {
            true => drop(space.insert(Box::from(&*name.name))),
            false => drop(space.remove(&*name.name)),
        }
        if space.is_empty() {
            gate.remove(&*name.namespace);
        }
    }

    /// From now on a Service that the node's proxy serves has a name when that one has programmed it, not before.
    pub fn wait_for_proxy(&mut self) {
        self.gate.get_or_insert_default();
    }

    /// Forgets all objects, since others are to be watched; the proxy's word stays.
    pub fn forget(&mut self) {
        *self = Zone {
            gate: self.gate.take(),
            ..Zone::default()
        };
    }

    /// All Services are known.
    pub fn services_complete(&mut self) {
        self.services_synced = true;
    }

    /// All slices are known, or none are wanted.
    pub fn slices_complete(&mut self) {
        self.slices_synced = true;
    }

    fn drop_if_empty(&mut self, namespace: &str) {
        let space = self.namespaces.get(namespace);
        if space.is_some_and(|space| space.is_empty()) {
            self.namespaces.remove(namespace);
        }
    }
}

impl super::Namespace {
    fn is_empty(&self) -> bool {
        !self.exists && self.services.is_empty() && self.slices.is_empty()
    }
}
