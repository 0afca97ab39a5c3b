//! From what the balancer's maps hold to what they should hold, in an order that no connection can notice.
//!
//! Pure. A set of endpoints is written as a whole under a number that is not in use, then the service port
//! is swapped over to it, then addresses, and what nobody leads to any more goes last. So a connection
//! meets a service port before a change or after it.

use std::collections::{BTreeMap, BTreeSet};

use super::wanted::{Address, Endpoints, Target, Touched, Wanted};
use crate::dataplane::{Family, Frontend};

/// A set of endpoints and its number; number 0 is never used, so that an empty list leads nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) number: u32,
    pub(super) endpoints: Endpoints,
}

/// What the maps hold for one address family.
#[derive(Debug, Default)]
pub(super) struct InForce {
    pub(super) targets: BTreeMap<Address, Target>,
    pub(super) services: BTreeMap<Frontend, [Set; 2]>,
    /// Sets that nobody leads to, left by a process that died on its way.
    pub(super) orphans: Vec<Set>,
    numbers: BTreeSet<u32>,
    last: u32,
}

/// What to do, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) new_sets: Vec<Set>,
    /// Service ports with their lists.
    pub(super) swaps: Vec<(Frontend, [Set; 2])>,
    /// Addresses with their targets.
    pub(super) targets: Vec<(Address, Option<Target>)>,
    /// Service ports without endpoints.
    pub(super) gone: Vec<Frontend>,
    pub(super) old_sets: Vec<Set>,
}

impl Steps {
    /// Nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl InForce {
    /// Plans what to do about what was touched, and takes it as done.
    pub(super) fn plan(&mut self, family: Family, wanted: &Wanted, touched: &Touched) -> Steps {
        let mut steps = Steps {
            old_sets: std::mem::take(&mut self.orphans),
            ..Steps::default()
        };
        for service in &touched.services {
            self.plan_service(family, wanted, service, &mut steps);
        }
        for address in &touched.addresses {
            let (now, new) = (self.targets.get(address), wanted.target(address));
            if now == new.as_ref() {
                continue;
            }
            match new {
                Some(target) => self.targets.insert(*address, target),
                None => self.targets.remove(address),
            };
            steps.targets.push((*address, new));
        }
        for set in &steps.old_sets {
            self.numbers.remove(&set.number);
        }
        steps
    }

    fn plan_service(
        &mut self,
        family: Family,
        wanted: &Wanted,
        service: &Frontend,
        steps: &mut Steps,
    ) {
        let now = self.services.remove(service);
        let lists = wanted.lists(service);
        let is_gone = lists.iter().all(|list| list.addresses.is_empty());
        let before = now.clone().unwrap_or_default();
        let mut zipped = before.into_iter().zip(lists);
        let after: [Set; 2] = std::array::from_fn(|_| {
            let (old, endpoints) = zipped.next().expect("two lists");
            if old.endpoints == endpoints {
                return old;
            }
            if old.number != 0 {
                steps.old_sets.push(old);
            }
            if endpoints.addresses.is_empty() {
                return Set::default();
            }
            let set = Set {
                number: self.next_number(family),
                endpoints,
            };
            steps.new_sets.push(set.clone());
            set
        });
        match (is_gone, now) {
            (true, None) => {}
            (true, Some(_)) => steps.gone.push(*service),
            (false, now) => {
                if now.as_ref() != Some(&after) {
                    steps.swaps.push((*service, after.clone()));
                }
                self.services.insert(*service, after);
            }
        }
    }

    /// Takes in a set that the maps hold.
    pub(super) fn note(&mut self, number: u32) {
        self.numbers.insert(number);
        self.last = self.last.max(number);
    }

    /// A number that is not in use. Even ones are IPv4's, odd ones IPv6's.
    fn next_number(&mut self, family: Family) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            let is_ours = self.last.is_multiple_of(2) == (family == Family::V4);
            if is_ours && self.last != 0 && self.numbers.insert(self.last) {
                return self.last;
            }
        }
    }

    /// What is in force or wanted: touches all that could differ.
    pub(super) fn everything(&self, wanted: &Wanted) -> Touched {
        let mut all = wanted.all();
        all.addresses.extend(self.targets.keys());
        all.services.extend(self.services.keys());
        all
    }
}
