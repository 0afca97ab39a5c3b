//! Reading back what a former process has left in the maps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Error;
use super::layout::{self, ENDPOINTS, FRONTENDS, MEMBERS, NODE_IPS, SERVICES};
use super::programs::Programs;
use super::steps::{InForce, Set};
use super::wanted::Address;
use crate::dataplane::Family;

/// What the maps hold for a family.
pub(super) fn in_force(programs: &Programs, family: Family) -> Result<InForce, Error> {
    let mut in_force = InForce::default();
    let mut sets: BTreeMap<u32, Set> = BTreeMap::new();
    for (key, value) in programs.map(ENDPOINTS).elements()? {
        let (Some((number, _)), Some(address)) =
            (layout::parse_slot(&key), layout::parse_endpoint(&value))
        else {
            continue;
        };
        in_force.note(number);
        if Family::of(address.ip()) == family {
            let set = sets.entry(number).or_default();
            set.number = number;
            set.endpoints.addresses.push(address);
        }
    }
    note_affinity(programs, &mut sets)?;
    for (key, value) in programs.map(SERVICES).elements()? {
        let (Some((of, Address::Ip(name))), Some(lists)) =
            (layout::parse_address(&key), layout::parse_lists(&value))
        else {
            continue;
        };
        if of == family {
            let lists = lists.map(|(number, _)| sets.remove(&number).unwrap_or_default());
            in_force.services.insert(name, lists);
        }
    }
    for (key, value) in programs.map(FRONTENDS).elements()? {
        if let Some((of, address)) = layout::parse_address(&key)
            && let Some(target) = layout::parse_target(&value)
            && of == family
        {
            in_force.targets.insert(address, target);
        }
    }
    in_force.orphans = sets.into_values().collect();
    Ok(in_force)
}

/// Finds out which sets clients may stay with: all of their endpoints are members, or none.
fn note_affinity(programs: &Programs, sets: &mut BTreeMap<u32, Set>) -> Result<(), Error> {
    for set in sets.values_mut() {
        set.endpoints.addresses.sort();
        let member = set
            .endpoints
            .addresses
            .first()
            .map(|first| layout::member(set.number, first));
        set.endpoints.sticky = match member {
            Some(member) => programs.map(MEMBERS).get(&member)?.is_some(),
            None => false,
        };
    }
    Ok(())
}

/// The node's addresses of a family, as the maps have them.
pub(super) fn node_ips(programs: &Programs, family: Family) -> Result<Vec<IpAddr>, Error> {
    let elements = programs.map(NODE_IPS).elements()?;
    let ips = elements.iter().filter_map(|(key, _)| layout::parse_ip(key));
    Ok(ips.filter(|ip| Family::of(*ip) == family).collect())
}
