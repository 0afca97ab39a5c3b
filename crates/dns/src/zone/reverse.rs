//! Addresses back to the Services and slices that have them, in little memory: one number for an address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The namespace.
    pub namespace: Box<str>,
    /// The Service.
    pub service: Box<str>,
    /// The slice; `None`: the Service's own address.
    pub slice: Option<Box<str>>,
}

/// The number of an [`Owner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerId(u32);

/// The index.
#[derive(Debug, Default)]
pub struct Reverse {
    owners: Vec<Option<Owner>>,
    free: Vec<u32>,
    v4: HashMap<Ipv4Addr, u32>,
    v6: HashMap<Ipv6Addr, u32>,
    /// The second and further owners of an address.
    more: HashMap<IpAddr, Vec<u32>>,
}

impl Reverse {
    /// Notes an owner and its addresses.
    pub fn add(&mut self, owner: Owner, addresses: impl Iterator<Item = IpAddr>) -> OwnerId {
        let id = match self.free.pop() {
            Some(id) => {
                self.owners[id as usize] = Some(owner);
                id
            }
            None => {
                self.owners.push(Some(owner));
                (self.owners.len() - 1) as u32
            }
        };
        for address in addresses {
            let first = self.first(address);
            match first {
                None => self.set(address, id),
                Some(first) if first == id => {}
                Some(_) => {
                    let more = self.more.entry(address).or_default();
                    if !more.contains(&id) {
                        more.push(id);
                    }
                }
            }
        }
        OwnerId(id)
    }

    /// Forgets an owner, which had `addresses`.
    pub fn remove(&mut self, owner: OwnerId, addresses: impl Iterator<Item = IpAddr>) {
        let OwnerId(id) = owner;
        for address in addresses {
            if self.first(address) == Some(id) {
                match self.next_of(address) {
                    Some(next) => self.set(address, next),
                    None => self.unset(address),
                }
            } else if let Some(more) = self.more.get_mut(&address) {
                more.retain(|other| *other != id);
                if more.is_empty() {
                    self.more.remove(&address);
                }
            }
        }
        self.owners[id as usize] = None;
        self.free.push(id);
    }

    /// The owners of an address.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = &Owner> {
        let more = match self.more.is_empty() {
            true => None,
            false => self.more.get(&address),
        };
        let ids = self
            .first(address)
            .into_iter()
            .chain(more.into_iter().flatten().copied());
        ids.filter_map(|id| self.owners[id as usize].as_ref())
    }

    fn first(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(v4) => self.v4.get(&v4).copied(),
            IpAddr::V6(v6) => self.v6.get(&v6).copied(),
        }
    }

    fn set(&mut self, address: IpAddr, id: u32) {
        match address {
            IpAddr::V4(v4) => self.v4.insert(v4, id),
            IpAddr::V6(v6) => self.v6.insert(v6, id),
        };
    }

    fn unset(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.v4.remove(&v4),
            IpAddr::V6(v6) => self.v6.remove(&v6),
        };
    }

    fn next_of(&mut self, address: IpAddr) -> Option<u32> {
        let more = self.more.get_mut(&address)?;
        let next = more.pop();
        if more.is_empty() {
            self.more.remove(&address);
        }
        next
    }

    /// Whether nothing is known.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.more.is_empty()
    }
}
