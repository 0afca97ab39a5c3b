//! What the socket balancer should do: addresses to service ports, and those to lists of endpoints.
//!
//! Pure. It follows from the elements of the rules' own desired state, so that both paths make the same
//! choices. Elements that say anything else than "pick one of these" are not followed: refusals, drops and
//! guarded addresses are the rules' business, and so is every protocol but TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::dataplane::{Chain, Frontend, Key, List, Protocol, Value};
use crate::desired::{Changes, Desired};

/// An address that clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Address {
    /// A Service's.
    Ip(Frontend),
    /// A node port, on every address of the node.
    NodePort(u16),
}

/// Where connections to an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The service port.
    pub(super) service: Frontend,
    /// Which of its lists.
    pub(super) list: List,
    /// For how many seconds a client stays with an endpoint; 0 for no affinity.
    pub(super) affinity: u32,
}

/// A list of endpoints in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) addresses: Vec<SocketAddr>,
    /// Clients may stay with one of them.
    pub(super) sticky: bool,
}

/// The desired state of the balancer, of one address family.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    verdicts: BTreeMap<Address, Value>,
    /// The service ports that external addresses and node ports mean.
    services: BTreeMap<Address, Frontend>,
    /// Endpoints by number; those of service ports with affinity have keys of another kind.
    endpoints: BTreeMap<(Frontend, List), BTreeMap<(bool, u16), SocketAddr>>,
    touched: Touched,
}

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) addresses: BTreeSet<Address>,
    pub(super) services: BTreeSet<Frontend>,
}

impl Wanted {
    /// The whole desired state of the rules.
    pub(super) fn of(desired: &Desired) -> Self {
        let mut wanted = Self::default();
        for (key, value) in desired.elements() {
            wanted.set(&key, Some(value));
        }
        wanted
    }

    /// Follows a change of the rules.
    pub(super) fn follow(&mut self, changes: &Changes) {
        for (key, _) in &changes.delete {
            self.set(key, None);
        }
        for (key, value) in &changes.add {
            self.set(key, Some(*value));
        }
    }

    fn set(&mut self, key: &Key, value: Option<Value>) {
        match key {
            Key::ServiceIp(frontend) if frontend.protocol == Protocol::Tcp => {
                self.set_verdict(Address::Ip(*frontend), value);
            }
            Key::NodePort(Protocol::Tcp, port) => {
                self.set_verdict(Address::NodePort(*port), value);
            }
            Key::ExternalIp(frontend) if frontend.protocol == Protocol::Tcp => {
                self.set_service(Address::Ip(*frontend), value);
            }
            Key::NodePortTarget(Protocol::Tcp, port) => {
                self.set_service(Address::NodePort(*port), value);
            }
            Key::Endpoint(name, list, slot) if name.protocol == Protocol::Tcp => {
                self.set_endpoint(*name, *list, (false, *slot), value);
            }
            Key::AffinityPick(name, list, slot) if name.protocol == Protocol::Tcp => {
                self.set_endpoint(*name, *list, (true, *slot), value);
            }
            _ => {}
        }
    }

    fn set_verdict(&mut self, address: Address, value: Option<Value>) {
        match value {
            Some(value) => self.verdicts.insert(address, value),
            None => self.verdicts.remove(&address),
        };
        self.touched.addresses.insert(address);
    }

    fn set_service(&mut self, address: Address, value: Option<Value>) {
        match value {
            Some(Value::Service(name)) => self.services.insert(address, name),
            _ => self.services.remove(&address),
        };
        self.touched.addresses.insert(address);
    }

    fn set_endpoint(
        &mut self,
        name: Frontend,
        list: List,
        slot: (bool, u16),
        value: Option<Value>,
    ) {
        let slots = self.endpoints.entry((name, list)).or_default();
        match value {
            Some(Value::Endpoint(address)) => slots.insert(slot, address),
            _ => slots.remove(&slot),
        };
        if slots.is_empty() {
            self.endpoints.remove(&(name, list));
        }
        self.touched.services.insert(name);
    }

    /// What may have changed since this was last called.
    pub(super) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Where connections to an address should go; `None` when that is the rules' business.
    pub(super) fn target(&self, address: &Address) -> Option<Target> {
        let Value::Goto(chain) = self.verdicts.get(address)? else {
            return None;
        };
        let named = self.services.get(address).copied();
        let (service, pick) = match (chain, address) {
            (Chain::Internal(pick), Address::Ip(frontend)) => (*frontend, pick),
            // Pods and the node itself get the whole cluster's endpoints under either policy.
            (Chain::External(pick) | Chain::ExternalLocal { pick, .. }, _) => (named?, pick),
            _ => return None,
        };
        self.endpoints.get(&(service, pick.list))?;
        Some(Target {
            service,
            list: pick.list,
            affinity: pick.affinity.unwrap_or(0),
        })
    }

    /// The endpoints of a service port; both lists are empty when it has none.
    pub(super) fn lists(&self, service: &Frontend) -> [Endpoints; 2] {
        [List::Cluster, List::Local].map(|list| {
            let slots = self.endpoints.get(&(*service, list));
            let mut addresses: Vec<_> = slots
                .into_iter()
                .flat_map(BTreeMap::values)
                .copied()
                .collect();
            // In an order of their own: it doesn't depend on what happened before.
            addresses.sort();
            addresses.dedup();
            let sticky = slots.is_some_and(|slots| slots.keys().any(|(sticky, _)| *sticky));
            Endpoints { addresses, sticky }
        })
    }

    /// Every address that has a verdict, and every service port that has endpoints.
    pub(super) fn all(&self) -> Touched {
        Touched {
            addresses: self.verdicts.keys().copied().collect(),
            services: self.endpoints.keys().map(|(service, _)| *service).collect(),
        }
    }
}
