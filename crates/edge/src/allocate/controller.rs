//! From changed Services and pools to what has to be written. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use karve_watch::{ObjectName, ServiceEvent};

use super::allocator::Allocator;
use super::request::Request;
use crate::objects::Objects;
use crate::pools::Pools;

/// Something to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A Service's address, or that it has none.
    Publish {
        /// The Service.
        service: ObjectName,
        /// Its address.
        ip: Option<Ipv4Addr>,
    },
    /// An event.
    Tell(ServiceEvent),
}

/// The allocator with what is still to be done.
#[derive(Debug, Default)]
pub(super) struct Controller {
    allocator: Allocator,
    changed: BTreeSet<ObjectName>,
    /// Services without an address, with the refusal that was told last.
    waiting: HashMap<ObjectName, String>,
    all_changed: bool,
}

impl Controller {
    /// Marks Services that are new, different or gone.
    pub(super) fn mark(&mut self, services: impl IntoIterator<Item = ObjectName>) {
        self.changed.extend(services);
    }

    /// Replaces the pools.
    pub(super) fn set_pools(&mut self, pools: Pools) {
        self.allocator.set_pools(pools);
        self.all_changed = true;
    }

    /// Decides about all marked Services.
    pub(super) fn converge(&mut self, services: &Objects<Request>) -> Vec<Action> {
        let mut changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all_changed) {
            changed.extend(services.iter().map(|(name, _)| name.clone()));
        }
        let mut actions = Vec::new();
        let mut released = false;
        let mut present: Vec<(&ObjectName, &Request)> = Vec::new();
        for name in &changed {
            match services.get(name) {
                Some(request) => present.push((name, request)),
                None => {
                    released |= self.allocator.release(name);
                    self.waiting.remove(name);
                }
            }
        }
        // Addresses in use are known before new ones are given out; then first come, first served.
        present.sort_by_key(|(_, request)| (Reverse(request.current.is_some()), &request.created));
        for (name, request) in present {
            let before = self.allocator.assigned(name);
            actions.extend(self.decide(name, request));
            released |= before.is_some() && self.allocator.assigned(name) != before;
        }
        if released {
            let waiting = self
                .waiting
                .keys()
                .filter_map(|name| Some((name.clone(), services.get(name)?)));
            let mut waiting: Vec<_> = waiting.collect();
            waiting.sort_by(|(a, x), (b, y)| (&x.created, a).cmp(&(&y.created, b)));
            for (name, request) in waiting {
                actions.extend(self.decide(&name, request));
            }
        }
        actions
    }

    /// Decides about one Service.
    fn decide(&mut self, name: &ObjectName, request: &Request) -> Vec<Action> {
        if !self.allocator.has_pools() {
            // Someone else may be in charge of load balancers; only what was ours is taken back.
            self.waiting.remove(name);
            let ours = self.allocator.release(name);
            let gone = Action::Publish {
                service: name.clone(),
                ip: None,
            };
            return ours.then_some(gone).into_iter().collect();
        }
        let before = self.allocator.assigned(name).or(request.current);
        let mut actions = Vec::new();
        let mut tell = |warning, reason, message| {
            let (service, uid) = (name.clone(), request.uid.clone());
            actions.push(Action::Tell(ServiceEvent {
                service,
                uid,
                warning,
                reason,
                message,
            }));
        };
        let ip = match self.allocator.assign(name, request) {
            Ok(ip) => {
                self.waiting.remove(name);
                if before != Some(ip) {
                    tell(
                        false,
                        "IPAllocated",
                        format!("Assigned IP [{:?}]", ip.to_string()),
                    );
                }
                Some(ip)
            }
            Err(refusal) => {
                let message = format!(
                    "Failed to allocate IP for {:?}: {refusal}",
                    name.to_string()
                );
                let told = self.waiting.insert(name.clone(), message.clone());
                if told.as_ref() != Some(&message) {
                    tell(true, "AllocationFailed", message);
                }
                None
            }
        };
        if ip != request.current || !request.published {
            actions.insert(
                0,
                Action::Publish {
                    service: name.clone(),
                    ip,
                },
            );
        }
        actions
    }
}

#[cfg(test)]
mod tests;
