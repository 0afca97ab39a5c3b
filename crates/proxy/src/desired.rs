//! The desired state of the whole table: the plans of all Services, merged.
//!
//! Two Services may want the same element (an external IP and port, a hairpin endpoint). A Service has
//! its own cluster IP before those that claim it as an external address; otherwise the one whose
//! `namespace/name` is first has it. The others get it when that one lets go, and are told of as
//! [`Contest`]s. A change costs what it changes: [`Desired::set`] notes the touched elements,
//! [`Desired::take_changes`] gives the difference since it was last called.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use karve_watch::ObjectName;

use crate::dataplane::{Chain, Key, Value};
use crate::plan::Plan;

/// Who wants an element; the first in order has it. The flag is set for those that take an address that is
/// not their cluster IP.
type Claimant = (bool, ObjectName);

/// Who wants an element, and what it should map to.
#[derive(Debug)]
enum Claims {
    One(Claimant, Value),
    Several(BTreeMap<Claimant, Value>),
}

/// Two Services that claim one address or node port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// The address and port, or the node port.
    pub key: Key,
    /// The Service that has it.
    pub winner: ObjectName,
    /// The Service that does not.
    pub loser: ObjectName,
}

impl Claims {
    fn value(&self) -> Value {
        match self {
            Claims::One(_, value) => *value,
            Claims::Several(claims) => *claims.values().next().expect("at least two claim it"),
        }
    }

    fn insert(&mut self, owner: &Claimant, new: Value) {
        match self {
            Claims::One(known, value) if known == owner => *value = new,
            Claims::One(known, value) => {
                let claims = [(known.clone(), *value), (owner.clone(), new)];
                *self = Claims::Several(claims.into());
            }
            Claims::Several(claims) => {
                claims.insert(owner.clone(), new);
            }
        }
    }

    /// The contest that `claimant` has taken up, if there is one.
    fn contest(&self, key: Key, claimant: &Claimant) -> Option<Contest> {
        let Claims::Several(claims) = self else {
            return None;
        };
        let mut owners = claims.keys();
        let (winner, second) = (owners.next()?, owners.next()?);
        let loser = if winner == claimant { second } else { claimant };
        let (winner, loser) = (winner.1.clone(), loser.1.clone());
        Some(Contest { key, winner, loser })
    }

    /// What is left after `owner` lets go; `None` when nobody wants the element.
    fn without(self, owner: &Claimant) -> Option<Self> {
        match self {
            Claims::One(known, _) if known == *owner => None,
            Claims::Several(mut claims) => {
                claims.remove(owner);
                if claims.len() > 1 {
                    return Some(Claims::Several(claims));
                }
                claims
                    .pop_first()
                    .map(|(last, value)| Claims::One(last, value))
            }
            one => Some(one),
        }
    }
}

/// What has to change in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Chains that are to be made first.
    pub new_chains: Vec<Chain>,
    /// Elements to be deleted.
    pub delete: Vec<(Key, Value)>,
    /// Elements to be added, after the deletions.
    pub add: Vec<(Key, Value)>,
    /// Chains to be deleted last.
    pub old_chains: Vec<Chain>,
}

impl Changes {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.add.is_empty()
    }
}

/// The desired state of the table.
#[derive(Debug, Default)]
pub struct Desired {
    plans: HashMap<ObjectName, Plan>,
    claims: HashMap<Key, Claims>,
    /// How many elements and rules go to a chain.
    chains: HashMap<Chain, usize>,
    /// The elements touched since changes were last taken, as they were then.
    touched: HashMap<Key, Option<Value>>,
    contests: Vec<Contest>,
}

impl Desired {
    /// A Service's plan in force.
    pub fn plan(&self, service: &ObjectName) -> Option<&Plan> {
        self.plans.get(service)
    }

    /// All plans in force.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }

    /// Replaces a Service's plan; `None` when the Service is gone.
    pub fn set(&mut self, service: &ObjectName, plan: Option<Plan>) {
        let old = self.plans.remove(service).unwrap_or_default();
        let new = plan.unwrap_or_default();
        for key in old.elements.keys() {
            let claimant = claimant(service, key, &old);
            // An element of a Service that changes its rank changes hands, too.
            if new.elements.contains_key(key) && claimant == self::claimant(service, key, &new) {
                continue;
            }
            self.touch(*key);
            if let Some(claims) = self.claims.remove(key)
                && let Some(left) = claims.without(&claimant)
            {
                self.claims.insert(*key, left);
            }
        }
        for (key, value) in &new.elements {
            let claimant = claimant(service, key, &new);
            let known = old.elements.get(key) == Some(value);
            if known && claimant == self::claimant(service, key, &old) {
                continue;
            }
            self.touch(*key);
            match self.claims.entry(*key) {
                Entry::Occupied(mut claims) => {
                    claims.get_mut().insert(&claimant, *value);
                    if matches!(key, Key::ServiceIp(_) | Key::NodePort(..)) {
                        self.contests.extend(claims.get().contest(*key, &claimant));
                    }
                }
                Entry::Vacant(free) => {
                    free.insert(Claims::One(claimant, *value));
                }
            }
        }
        if new != Plan::default() {
            self.plans.insert(service.clone(), new);
        }
    }

    /// Remembers what an element was before its first change.
    fn touch(&mut self, key: Key) {
        let value = self.claims.get(&key).map(Claims::value);
        self.touched.entry(key).or_insert(value);
    }

    /// The contests that came up since the last call.
    pub fn take_contests(&mut self) -> Vec<Contest> {
        std::mem::take(&mut self.contests)
    }

    /// The difference since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for (key, before) in std::mem::take(&mut self.touched) {
            let after = self.claims.get(&key).map(Claims::value);
            if before != after {
                changes.delete.extend(before.map(|value| (key, value)));
                changes.add.extend(after.map(|value| (key, value)));
            }
        }
        // One order for one difference, so that transactions can be compared.
        changes.delete.sort_by_key(|(key, _)| *key);
        changes.add.sort_by_key(|(key, _)| *key);
        let mut used_before = HashMap::new();
        for (_, value) in &changes.add {
            self.count(*value, &mut used_before, |users| users + 1);
        }
        for (_, value) in &changes.delete {
            self.count(*value, &mut used_before, |users| users - 1);
        }
        self.chains.retain(|_, users| *users > 0);
        for (chain, used_before) in used_before {
            match (used_before, self.chains.contains_key(&chain)) {
                (false, true) => changes.new_chains.push(chain),
                (true, false) => changes.old_chains.push(chain),
                _ => {}
            }
        }
        changes.new_chains.sort();
        changes.old_chains.sort();
        changes
    }

    /// Counts an element's use of chains, noting which were in use before.
    fn count(
        &mut self,
        value: Value,
        used_before: &mut HashMap<Chain, bool>,
        change: impl Fn(usize) -> usize,
    ) {
        let Value::Goto(chain) = value else { return };
        for chain in std::iter::once(chain).chain(chain.targets()) {
            let users = self.chains.entry(chain).or_default();
            used_before.entry(chain).or_insert(*users > 0);
            *users = change(*users);
        }
    }

    /// Every element that should be in the table.
    pub fn elements(&self) -> impl Iterator<Item = (Key, Value)> {
        self.claims
            .iter()
            .map(|(key, claims)| (*key, claims.value()))
    }

    /// Every chain that should be in the table, besides the fixed ones.
    pub fn chains(&self) -> impl Iterator<Item = Chain> {
        self.chains.keys().copied()
    }
}

/// How `service` claims an element of its plan.
fn claimant(service: &ObjectName, key: &Key, plan: &Plan) -> Claimant {
    let foreign = match key {
        Key::ServiceIp(frontend) => !plan.elements.contains_key(&Key::ClusterIp(frontend.ip)),
        _ => false,
    };
    (foreign, service.clone())
}

#[cfg(test)]
mod tests;
