//! Who has which address. Pure: it knows pools and requests, and nothing of the API.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use karve_watch::ObjectName;

use super::request::{Port, Request, Sharing, Wish};
use crate::pools::{Pool, Pools};

/// Why a Service can't have an address; the texts are MetalLB's, users know them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// All addresses are taken.
    #[error("no available IPs")]
    Exhausted,
    /// All addresses of the wanted pool are taken.
    #[error("no available IPs in pool {0:?}")]
    PoolExhausted(String),
    /// There is no such pool.
    #[error("unknown pool {0:?}")]
    UnknownPool(String),
    /// The wanted address is in no pool.
    #[error("{0:?} is not allowed in config")]
    NotAllowed(String),
    /// Others have the wanted address and don't share it with this Service.
    #[error("can't change sharing key for {service:?}, address also in use by {others}")]
    NotShared {
        /// The Service that was refused.
        service: String,
        /// Who has the address.
        others: String,
    },
    /// Others have the wanted address and this port on it.
    #[error("port {port} is already in use on {ip:?}")]
    PortTaken {
        /// The port.
        port: String,
        /// The address.
        ip: String,
    },
    /// The wish makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// A Service on an address.
#[derive(Debug, Clone)]
struct Holder {
    ports: BTreeSet<Port>,
    sharing: Sharing,
}

/// The state of all addresses.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    pools: Pools,
    holders: HashMap<Ipv4Addr, BTreeMap<ObjectName, Holder>>,
    assigned: HashMap<ObjectName, Ipv4Addr>,
}

impl Allocator {
    /// Replaces the pools. Addresses that are in none any more are lost at the next
    /// [`Self::assign`] of their Service.
    pub(super) fn set_pools(&mut self, pools: Pools) {
        self.pools = pools;
    }

    /// Whether there are any addresses to be had.
    pub(super) fn has_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// The address of a Service.
    pub(super) fn assigned(&self, service: &ObjectName) -> Option<Ipv4Addr> {
        self.assigned.get(service).copied()
    }

    /// Takes a Service's address from it; whether it had one.
    pub(super) fn release(&mut self, service: &ObjectName) -> bool {
        let Some(ip) = self.assigned.remove(service) else {
            return false;
        };
        if let Some(holders) = self.holders.get_mut(&ip) {
            holders.remove(service);
            if holders.is_empty() {
                self.holders.remove(&ip);
            }
        }
        true
    }

    /// Gives a Service the address that it should have: the one it has, or has in its status, if that
    /// is still right, else another one. On a refusal it has none.
    pub(super) fn assign(
        &mut self,
        service: &ObjectName,
        request: &Request,
    ) -> Result<Ipv4Addr, Refusal> {
        let known = self.assigned(service).or(request.current);
        let kept = known.filter(|ip| self.suits(*ip, service, request).is_ok());
        self.release(service);
        let ip = match kept {
            Some(ip) => ip,
            None => self.choose(service, request)?,
        };
        let holder = Holder {
            ports: request.ports.clone(),
            sharing: request.sharing.clone(),
        };
        self.holders
            .entry(ip)
            .or_default()
            .insert(service.clone(), holder);
        self.assigned.insert(service.clone(), ip);
        Ok(ip)
    }

    /// Whether a Service may have, or keep, an address.
    fn suits(&self, ip: Ipv4Addr, service: &ObjectName, request: &Request) -> Result<(), Refusal> {
        let pool = self
            .pools
            .pool_of(ip)
            .ok_or_else(|| Refusal::NotAllowed(ip.to_string()))?;
        let wished = match &request.wish {
            Wish::Any => true,
            Wish::Pool(name) => pool.name == *name,
            Wish::Ip(wanted) => ip == *wanted,
            Wish::Invalid(why) => return Err(Refusal::Invalid(why.clone())),
        };
        if !wished {
            return Err(Refusal::NotAllowed(ip.to_string()));
        }
        self.is_free(ip, service, request)
    }

    /// Whether nobody else has an address, or all who have it share it and use other ports.
    fn is_free(
        &self,
        ip: Ipv4Addr,
        service: &ObjectName,
        request: &Request,
    ) -> Result<(), Refusal> {
        let holders = self.holders.get(&ip).into_iter().flatten();
        let others: Vec<_> = holders.filter(|(name, _)| *name != service).collect();
        let sharing = &request.sharing;
        let shared = |holder: &Holder| !sharing.key.is_empty() && holder.sharing == *sharing;
        if others.iter().any(|(_, holder)| !shared(holder)) {
            let names: Vec<_> = others.iter().map(|(name, _)| name.to_string()).collect();
            return Err(Refusal::NotShared {
                service: service.to_string(),
                others: names.join(","),
            });
        }
        let mut taken = others.iter().flat_map(|(_, holder)| &holder.ports);
        match taken.find(|port| request.ports.contains(port)) {
            Some(port) => Err(Refusal::PortTaken {
                port: port.to_string(),
                ip: ip.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// An address for a Service that has none.
    fn choose(&self, service: &ObjectName, request: &Request) -> Result<Ipv4Addr, Refusal> {
        let first_free = |pool: &Pool| {
            pool.addresses()
                .find(|ip| self.is_free(*ip, service, request).is_ok())
        };
        match &request.wish {
            Wish::Invalid(why) => Err(Refusal::Invalid(why.clone())),
            Wish::Ip(ip) => self.suits(*ip, service, request).map(|()| *ip),
            Wish::Pool(name) => {
                let pool = self.pools.iter().find(|pool| pool.name == *name);
                let pool = pool.ok_or_else(|| Refusal::UnknownPool(name.clone()))?;
                first_free(pool).ok_or_else(|| Refusal::PoolExhausted(name.clone()))
            }
            Wish::Any => {
                let mut pools = self.pools.iter().filter(|pool| pool.auto_assign);
                pools.find_map(first_free).ok_or(Refusal::Exhausted)
            }
        }
    }
}

#[cfg(test)]
mod tests;
