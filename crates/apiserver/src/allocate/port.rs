//! Node ports and health check ports: one pool of numbers for all protocols (KEP-3668 for the bands).

use std::collections::{BTreeMap, BTreeSet};

use karve_api::field;
use karve_api::status::Status;
use karve_api::strategy::service as strategy;
use rand::Rng as _;
use serde_json::Value;

use super::{Held, exhausted};
use crate::answer::Refusal;
use crate::call::Call;
use crate::object::{self, Meta, number};
use crate::semantics;
use crate::server::Server;

const FIRST: u16 = 30_000;
const COUNT: u16 = 2_768;
/// The start of the range is kept for those who ask for a number: min(max(16, size / 32), 128).
const BAND: u16 = 86;
/// The first number that a dry run shows where any would do.
const DUMMY: i64 = 32_769;

/// The key of a port's lock.
pub fn key(port: u16) -> String {
    format!("/internal/nodeports/{port}")
}

/// All ports in the order in which they are tried: the upper band from a random place, then the lower one.
fn candidates(random: impl FnOnce(u16) -> u16) -> impl Iterator<Item = u16> {
    let upper = COUNT - BAND;
    let start = random(upper);
    let wrap = move |i: u16| FIRST + BAND + (start + i) % upper;
    (0..upper).map(wrap).chain(FIRST..FIRST + BAND)
}

/// What is free, as one write sees it.
struct Ports<'a> {
    server: &'a Server,
    /// Of the stored Service.
    held: BTreeSet<u16>,
    /// Taken by this write.
    taken: BTreeSet<i64>,
    dry_run: bool,
}

impl Ports<'_> {
    fn take(&mut self, wanted: i64) -> Result<i64, String> {
        let in_range = u16::try_from(wanted)
            .ok()
            .filter(|p| (FIRST..FIRST + COUNT).contains(p));
        // Upstream's dry run takes any number.
        if in_range.is_none() && !self.dry_run {
            let last = FIRST + COUNT - 1;
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {FIRST}-{last}"
            ));
        }
        let is_free =
            |port: u16| self.held.contains(&port) || self.server.store.get(&key(port)).is_none();
        match in_range.is_none_or(is_free) && self.taken.insert(wanted) {
            true => Ok(wanted),
            false => Err("provided port is already allocated".to_owned()),
        }
    }

    fn take_any(&mut self) -> Option<i64> {
        let free = |port: &u16| {
            !self.taken.contains(&i64::from(*port))
                && !self.held.contains(port)
                && self.server.store.get(&key(*port)).is_none()
        };
        let port = match self.dry_run {
            // A number that no Service can have: nothing is allocated.
            true => self.taken.last().map_or(DUMMY, |last| *last.max(&0) + 1),
            false => candidates(|n| rand::rng().random_range(0..n))
                .find(free)?
                .into(),
        };
        self.taken.insert(port);
        Some(port)
    }
}

/// Gives a Service the ports that it lacks, and checks those that it asks for.
pub fn assign(
    server: &Server,
    call: &Call,
    old: Option<&Value>,
    service: &mut Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    let held = old.map(|old| Held::of(old).ports).unwrap_or_default();
    let mut ports = Ports {
        server,
        held,
        taken: BTreeSet::new(),
        dry_run,
    };
    if strategy::needs_node_port(&service["spec"]) {
        let had = old.is_some_and(|old| strategy::needs_node_port(&old["spec"]));
        node_ports(&mut ports, call, service, had)?;
    }
    health_port(&mut ports, old, service)
}

fn node_ports(
    ports: &mut Ports<'_>,
    call: &Call,
    service: &mut Value,
    had: bool,
) -> Result<(), Refusal> {
    let name = service.meta("name").to_owned();
    let spec = &mut service["spec"];
    let automatic = spec["allocateLoadBalancerNodePorts"] != Value::Bool(false);
    let list = spec["ports"]
        .as_array_mut()
        .map_or(&mut [][..], Vec::as_mut_slice);
    let requested: Vec<(i64, i64)> = list
        .iter()
        .map(|p| (number(&p["port"]), number(&p["nodePort"])))
        .collect();
    // On create, the protocols of one service port share a number.
    let mut by_port: BTreeMap<i64, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (i, port) in list.iter_mut().enumerate() {
        let (service_port, mut wanted) = requested[i];
        if wanted == 0 && !automatic {
            continue;
        }
        let protocol = port["protocol"].as_str().unwrap_or_default().to_owned();
        if !had && wanted == 0 {
            let later = requested
                .iter()
                .find(|(p, n)| *p == service_port && *n != 0);
            wanted = by_port
                .get(&service_port)
                .map_or(later.map_or(0, |l| l.1), |n| *n);
        }
        let shared = match had {
            true => !seen.contains(&(protocol.clone(), wanted)) && ports.taken.contains(&wanted),
            false => wanted != 0 && by_port.get(&service_port) == Some(&wanted),
        };
        let number = match wanted {
            0 => ports.take_any().ok_or_else(|| exhausted("nodePort"))?,
            wanted if shared => wanted,
            wanted => ports
                .take(wanted)
                .map_err(|why| refuse(call, &name, i, wanted, &why))?,
        };
        seen.insert((protocol, number));
        by_port.entry(service_port).or_insert(number);
        object::member_of(port).insert("nodePort".into(), stored(number));
    }
    Ok(())
}

fn refuse(call: &Call, name: &str, i: usize, wanted: i64, why: &str) -> Refusal {
    let spec = field::Path::root("spec");
    let list = spec.field("ports");
    let item = list.index(i);
    semantics::invalid(
        call,
        name,
        &[field::Error::invalid(&item.field("nodePort"), wanted, why)],
    )
}

fn health_port(
    ports: &mut Ports<'_>,
    old: Option<&Value>,
    service: &mut Value,
) -> Result<(), Refusal> {
    let had = old.is_some_and(|old| strategy::needs_health_check_port(&old["spec"]));
    if !strategy::needs_health_check_port(&service["spec"]) || had {
        return Ok(());
    }
    let wanted = number(&service["spec"]["healthCheckNodePort"]);
    let port = match wanted {
        0 => ports
            .take_any()
            .ok_or_else(|| exhausted("HealthCheck NodePort"))?,
        wanted => ports.take(wanted).map_err(|why| {
            Status::internal(format!(
                "failed to allocate requested HealthCheck NodePort {wanted}: {why}"
            ))
        })?,
    };
    object::member_mut(service, "spec").insert("healthCheckNodePort".into(), stored(port));
    Ok(())
}

/// A number in the 32 bits that its field has: a dry run may count beyond them.
fn stored(port: i64) -> Value {
    Value::from(port as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_ports_come_from_the_upper_band_first() {
        let all: Vec<u16> = candidates(|n| n - 1).collect();
        assert_eq!((all[0], all[1]), (32_767, 30_086));
        assert_eq!(all.len(), usize::from(COUNT));
        assert_eq!(
            all[all.len() - 86..],
            (30_000..30_086).collect::<Vec<_>>()[..]
        );
    }
}
