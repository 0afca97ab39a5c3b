//! Topology hints by the capacity of zones: each zone serves as many endpoints as its share of the CPUs (KEP-2433).
//!
//! Asked for by the annotation `service.kubernetes.io/topology-mode: Auto`. Slices whose hints still fit keep them, so
//! that few change. Where endpoints can't be shared out without overloading one, there are no hints at all.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, ForZone},
};

use super::hints::zone_of;
use crate::scheduler::milli;

/// By how much an endpoint may be asked for more than on average.
const OVERLOAD: f64 = 0.2;
const MODE: &str = "service.kubernetes.io/topology-mode";
/// The older annotation, which counts more where both are.
const OLDER_MODE: &str = "service.kubernetes.io/topology-aware-hints";
/// Nodes with these labels take no part.
const EXCLUDED: [&str; 2] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
];

/// The share of the cluster's CPUs that each zone has.
pub(super) type Shares = BTreeMap<String, f64>;

/// Whether a Service asks for hints by capacity.
pub(super) fn is_asked_for(service: &Service) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    let mode = annotations.and_then(|all| all.get(OLDER_MODE).or_else(|| all.get(MODE)));
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// What of a node the shares depend on.
pub(super) fn capacity(node: &Node) -> Option<(Option<&str>, i64)> {
    let labels = node.metadata.labels.as_ref();
    let excluded = EXCLUDED
        .iter()
        .any(|name| labels.is_some_and(|all| all.contains_key(*name)));
    let status = node.status.as_ref();
    let conditions = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    let cpus = status.and_then(|status| status.allocatable.as_ref()?.get("cpu"));
    (ready && !excluded).then(|| (zone_of(node), cpus.map(milli).unwrap_or(0)))
}

/// The shares; `None` when a node's zone or CPUs are unknown, or there is one zone only.
pub(super) fn shares(nodes: &[Arc<Node>]) -> Option<Shares> {
    let mut by_zone: BTreeMap<String, i64> = BTreeMap::new();
    for (zone, cpus) in nodes.iter().filter_map(|node| capacity(node)) {
        let zone = zone.filter(|zone| !zone.is_empty() && cpus > 0)?;
        *by_zone.entry(zone.to_owned()).or_default() += cpus;
    }
    let total: i64 = by_zone.values().sum();
    let share = |(zone, cpus): (String, i64)| (zone, cpus as f64 / total as f64);
    (by_zone.len() >= 2).then(|| by_zone.into_iter().map(share).collect())
}

/// A slice whose endpoints get hints.
pub(super) struct Hinted<'a> {
    pub(super) endpoints: &'a mut Vec<Endpoint>,
    /// The endpoints that it has already, when nothing else of it changes.
    pub(super) unchanged: Option<&'a [Endpoint]>,
}

/// How many endpoints a zone should have.
struct Allocation {
    maximum: usize,
    desired: f64,
}

/// Gives hints, or says why there are none. No endpoint has one before.
pub(super) fn assign(slices: Vec<Hinted<'_>>, shares: Option<&Shares>) -> Result<(), String> {
    let ready = slices
        .iter()
        .flat_map(|slice| &*slice.endpoints)
        .filter(|one| is_ready(one))
        .count();
    let allocations = allocations(ready, shares)?;
    let mut given: BTreeMap<String, usize> = BTreeMap::new();
    let mut open: Vec<Hinted<'_>> = Vec::new();
    let mut kept: Vec<Hinted<'_>> = Vec::new();
    for slice in slices {
        match slice
            .unchanged
            .and_then(|old| counted(old, &given, &allocations))
        {
            Some(counts) => {
                counts
                    .into_iter()
                    .for_each(|(zone, count)| *given.entry(zone).or_default() += count);
                kept.push(slice);
            }
            None => open.push(slice),
        }
    }
    let mut endpoints: Vec<&mut Endpoint> = open
        .iter_mut()
        .flat_map(|slice| slice.endpoints.iter_mut())
        .collect();
    endpoints.retain(|one| is_ready(one));
    if endpoints
        .iter()
        .any(|one| one.zone.as_deref().unwrap_or_default().is_empty())
    {
        return Err("One or more endpoints do not have a zone specified".to_owned());
    }
    for endpoint in &endpoints {
        *given
            .entry(endpoint.zone.clone().unwrap_or_default())
            .or_default() += 1;
    }
    if given.is_empty() {
        return Err("No hints allocated for zones".to_owned());
    }
    share_out(endpoints, &allocations, &given);
    for slice in kept {
        slice
            .endpoints
            .clone_from_slice(slice.unchanged.unwrap_or_default());
    }
    Ok(())
}

fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|conditions| conditions.ready) == Some(true)
}

fn allocations(
    ready: usize,
    shares: Option<&Shares>,
) -> Result<BTreeMap<String, Allocation>, String> {
    const INSUFFICIENT: &str =
        "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
    let shares = shares.ok_or(INSUFFICIENT)?;
    let counts = || format!("({ready} endpoints, {} zones)", shares.len());
    if shares.len() > ready {
        return Err(format!("Insufficient number of endpoints {}", counts()));
    }
    let least = |share: f64| (share * ready as f64 / (1.0 + OVERLOAD)).ceil() as usize;
    let total: usize = shares.values().map(|share| least(*share)).sum();
    if total > ready {
        let text = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
        return Err(format!("{text} {}", counts()));
    }
    let allocation = |(zone, share): (&String, &f64)| {
        let minimum = least(*share);
        let desired = (share * ready as f64).max(minimum as f64);
        (
            zone.clone(),
            Allocation {
                maximum: minimum + ready - total,
                desired,
            },
        )
    };
    Ok(shares.iter().map(allocation).collect())
}

/// The hints that a slice has, by zone; `None` if they don't fit any more.
fn counted(
    endpoints: &[Endpoint],
    given: &BTreeMap<String, usize>,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<BTreeMap<String, usize>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|one| is_ready(one)) {
        let zones = endpoint
            .hints
            .as_ref()?
            .for_zones
            .as_ref()
            .filter(|zones| !zones.is_empty())?;
        for zone in zones {
            *counts.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&String, &usize)| {
        let already = given.get(zone).copied().unwrap_or(0);
        allocations
            .get(zone)
            .is_some_and(|allocation| count + already <= allocation.maximum)
    };
    counts.iter().all(fits).then_some(counts)
}

/// Each endpoint is for its own zone, but for those that zones with too many give to others.
fn share_out(
    endpoints: Vec<&mut Endpoint>,
    allocations: &BTreeMap<String, Allocation>,
    given: &BTreeMap<String, usize>,
) {
    let (mut giving, mut receiving) = exchanges(allocations, given);
    for endpoint in endpoints {
        let own = endpoint.zone.clone().unwrap_or_default();
        let gives = giving.get(&own).copied().unwrap_or(0) > 0;
        let receiver = receiving
            .iter_mut()
            .find(|(_, count)| **count > 0)
            .filter(|_| gives);
        let zone = match receiver {
            Some((zone, count)) => {
                *count -= 1;
                *giving.entry(own).or_default() -= 1;
                zone.clone()
            }
            None => own,
        };
        endpoint.hints = Some(EndpointHints {
            for_zones: Some(vec![ForZone { name: zone }]),
            for_nodes: None,
        });
    }
}

type Counts = BTreeMap<String, usize>;

/// How many endpoints each zone gives away, and how many each receives.
fn exchanges(allocations: &BTreeMap<String, Allocation>, given: &Counts) -> (Counts, Counts) {
    let mut spare: BTreeMap<&String, f64> = BTreeMap::new();
    let mut lacks: BTreeMap<&String, f64> = BTreeMap::new();
    for (zone, allocation) in allocations {
        let have = given.get(zone).copied().unwrap_or(0) as f64;
        if have > allocation.desired {
            spare.insert(zone, have - allocation.desired);
        } else if have < allocation.desired {
            lacks.insert(zone, allocation.desired - have);
        }
    }
    let most = |zones: &BTreeMap<&String, f64>| {
        let most = zones.iter().max_by(|a, b| a.1.total_cmp(b.1));
        most.map(|(zone, count)| ((*zone).clone(), *count))
            .filter(|(_, count)| *count > 0.0)
    };
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    while let (Some((giver, gives)), Some((receiver, receives))) = (most(&spare), most(&lacks)) {
        if (gives < 1.0 && receives < 1.0) || gives < 0.5 || receives < 0.5 {
            break;
        }
        spare
            .entry(allocations.get_key_value(&giver).expect("a zone").0)
            .and_modify(|count| *count -= 1.0);
        lacks
            .entry(allocations.get_key_value(&receiver).expect("a zone").0)
            .and_modify(|count| *count -= 1.0);
        *giving.entry(giver).or_default() += 1;
        *receiving.entry(receiver).or_default() += 1;
    }
    (giving, receiving)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint(zone: &str) -> Endpoint {
        let zone = Some(zone).filter(|zone| !zone.is_empty());
        serde_json::from_value(
            json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "zone": zone}),
        )
        .unwrap()
    }

    fn shares_of(list: &[(&str, f64)]) -> Shares {
        list.iter()
            .map(|(zone, share)| ((*zone).to_owned(), *share))
            .collect()
    }

    fn hints(endpoints: &[Endpoint]) -> String {
        let zone = |one: &Endpoint| {
            one.hints.as_ref().map_or("-".into(), |hints| {
                hints.for_zones.as_ref().unwrap()[0].name.clone()
            })
        };
        endpoints.iter().map(zone).collect()
    }

    fn assigned(zones: &str, shares: Option<&Shares>) -> Result<String, String> {
        let mut endpoints: Vec<Endpoint> = zones
            .chars()
            .map(|zone| endpoint(zone.to_string().trim_matches('-')))
            .collect();
        assign(
            vec![Hinted {
                endpoints: &mut endpoints,
                unchanged: None,
            }],
            shares,
        )?;
        Ok(hints(&endpoints))
    }

    #[test]
    fn endpoints_are_shared_out_by_capacity() {
        let half = shares_of(&[("a", 0.5), ("b", 0.5)]);
        let thirds = shares_of(&[("a", 1.0 / 3.0), ("b", 1.0 / 3.0), ("c", 1.0 / 3.0)]);
        let cases = [
            ("ab", &half, Ok("ab")),
            ("aabb", &half, Ok("aabb")),
            ("aaab", &half, Ok("baab")),
            (
                "a",
                &half,
                Err("Insufficient number of endpoints (1 endpoints, 2 zones)"),
            ),
            (
                "a-b",
                &half,
                Err(
                    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (3 endpoints, 2 zones)",
                ),
            ),
            (
                "aa-b",
                &half,
                Err("One or more endpoints do not have a zone specified"),
            ),
            ("aabbcc", &thirds, Ok("aabbcc")),
            ("aaaaab", &thirds, Ok("ccbaab")),
        ];
        for (zones, shares, expected) in cases {
            let have = assigned(zones, Some(shares));
            match (zones, &have) {
                // Which of two zones receives first is no matter.
                ("aaaaab", Ok(have)) => {
                    let count = |zone| have.matches(zone).count();
                    assert_eq!((count('a'), count('b'), count('c')), (2, 2, 2), "{have}");
                }
                _ => assert_eq!(have.as_deref().map_err(String::as_str), expected, "{zones}"),
            }
        }
        let unknown = assigned("ab", None).unwrap_err();
        assert!(
            unknown.starts_with("Insufficient Node information"),
            "{unknown}"
        );
    }

    #[test]
    fn hints_that_fit_stay() {
        let half = shares_of(&[("a", 0.5), ("b", 0.5)]);
        let mut old: Vec<Endpoint> = "aaab"
            .chars()
            .map(|zone| endpoint(&zone.to_string()))
            .collect();
        assign(
            vec![Hinted {
                endpoints: &mut old,
                unchanged: None,
            }],
            Some(&half),
        )
        .unwrap();
        let before = hints(&old);
        let mut again: Vec<Endpoint> = "aaab"
            .chars()
            .map(|zone| endpoint(&zone.to_string()))
            .collect();
        assign(
            vec![Hinted {
                endpoints: &mut again,
                unchanged: Some(&old),
            }],
            Some(&half),
        )
        .unwrap();
        assert_eq!(hints(&again), before);
    }

    #[test]
    fn shares_need_zones_and_processors() {
        let node = |zone: Option<&str>, cpu: &str| -> Arc<Node> {
            let labels = zone.map(|zone| json!({"topology.kubernetes.io/zone": zone}));
            Arc::new(serde_json::from_value(json!({"metadata": {"labels": labels},
                "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]}})).unwrap())
        };
        let two = [
            node(Some("a"), "1"),
            node(Some("b"), "2"),
            node(Some("b"), "1"),
        ];
        assert_eq!(shares(&two), Some(shares_of(&[("a", 0.25), ("b", 0.75)])));
        assert_eq!(shares(&two[..1]), None);
        assert_eq!(shares(&[two[0].clone(), node(None, "1")]), None);
        assert_eq!(shares(&[two[0].clone(), node(Some("b"), "0")]), None);
    }
}
