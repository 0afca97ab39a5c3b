//! What a ServiceCIDR needs, and which ranges an address lies in.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::FINALIZER;

const READY: &str = "Ready";
const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// One write.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Finalizers(Vec<String>),
    Conditions(Vec<Condition>),
}

/// The next write for a range, if it needs one. `addresses` are asked for only when it is to go.
pub(super) fn step(
    range: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: impl Fn() -> Vec<Arc<IPAddress>>,
    now: Timestamp,
) -> Option<Step> {
    let finalizers = range.metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|one| one == FINALIZER);
    if range.metadata.deletion_timestamp.is_none() {
        if !held {
            return Some(Step::Finalizers(
                [finalizers, vec![FINALIZER.to_owned()]].concat(),
            ));
        }
        return condition(range, "True", "", "Kubernetes Service CIDR is ready", now);
    }
    if !lies_within_others(range, all)
        && addresses()
            .iter()
            .any(|one| would_be_orphan(range, all, one))
    {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        return condition(range, "False", "Terminating", message, now);
    }
    let others = finalizers.into_iter().filter(|one| one != FINALIZER);
    held.then(|| Step::Finalizers(others.collect()))
}

fn condition(
    range: &ServiceCIDR,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Option<Step> {
    let conditions = range
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let old = conditions.iter().find(|one| one.type_ == READY);
    if old.is_some_and(|old| old.status == status && old.reason == reason && old.message == message)
    {
        return None;
    }
    let since = old
        .filter(|old| old.status == status)
        .map(|old| old.last_transition_time.clone());
    let new = Condition {
        type_: READY.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: since.unwrap_or(Time(now)),
        observed_generation: None,
    };
    let others = conditions.into_iter().filter(|one| one.type_ != READY);
    Some(Step::Conditions(others.chain([new]).collect()))
}

fn nets(range: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let texts = range
        .spec
        .iter()
        .flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok())
}

/// Whether each of its nets is also a part of another's.
fn lies_within_others(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    let is_other = |one: &&Arc<ServiceCIDR>| one.metadata.name != range.metadata.name;
    nets(range).all(|net| {
        all.iter()
            .filter(is_other)
            .any(|one| nets(one).any(|other| other.contains(&net)))
    })
}

/// Whether an address of the allocator lies in this range only.
fn would_be_orphan(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], address: &IPAddress) -> bool {
    let manager = address
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY_LABEL));
    let name = address.metadata.name.as_deref().unwrap_or_default();
    let Some(address) = name
        .parse()
        .ok()
        .filter(|_| manager.is_some_and(|by| by == ALLOCATOR))
    else {
        return false;
    };
    let mut ranges = containing(all, address);
    ranges
        .next()
        .is_some_and(|first| first.metadata.name == range.metadata.name)
        && ranges.next().is_none()
}

/// The ranges that a Service's address may be of: neither their first address nor the broadcast address of IPv4 is one.
pub(in crate::controllers) fn containing(
    all: &[Arc<ServiceCIDR>],
    address: IpAddr,
) -> impl Iterator<Item = &Arc<ServiceCIDR>> {
    let may_have = move |net: IpNet| {
        net.contains(&address)
            && address != net.network()
            && (net.addr().is_ipv6() || address != net.broadcast())
    };
    all.iter().filter(move |range| nets(range).any(may_have))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(name: &str, cidr: &str, changes: Value) -> Arc<ServiceCIDR> {
        let mut object = json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]}});
        crate::fixture::merge(&mut object, &changes);
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn address(name: &str) -> Arc<IPAddress> {
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": {MANAGED_BY_LABEL: ALLOCATOR}}}),
            )
            .unwrap(),
        )
    }

    #[test]
    fn a_new_range_is_held_and_becomes_ready() {
        let now = Timestamp::UNIX_EPOCH;
        let none = || Vec::new();
        let new = range(
            "a",
            "10.0.0.0/24",
            json!({"metadata": {"finalizers": ["x"]}}),
        );
        let expected = Step::Finalizers(vec!["x".into(), FINALIZER.into()]);
        assert_eq!(step(&new, &[Arc::clone(&new)], none, now), Some(expected));
        let held = range("a", "10.0.0.0/24", json!({}));
        let Some(Step::Conditions(conditions)) = step(&held, &[Arc::clone(&held)], none, now)
        else {
            panic!("a condition is set");
        };
        assert_eq!(
            (conditions[0].status.as_str(), conditions[0].reason.as_str()),
            ("True", "")
        );
        let ready = range(
            "a",
            "10.0.0.0/24",
            json!({"status": {"conditions": conditions}}),
        );
        assert_eq!(step(&ready, &[Arc::clone(&ready)], none, now), None);
    }

    #[test]
    fn a_range_goes_when_no_address_needs_it() {
        let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let gone = range("a", "10.0.0.0/24", ending);
        let parent = range("p", "10.0.0.0/16", json!({}));
        let table = [
            (vec![], vec![], true),
            (vec!["10.0.1.7"], vec![], true),
            (vec!["10.0.0.7"], vec![], false),
            (vec!["10.0.0.7"], vec![parent], true),
        ];
        for (addresses, others, goes) in table {
            let all = [vec![Arc::clone(&gone)], others].concat();
            let list = || addresses.iter().map(|name| address(name)).collect();
            match step(&gone, &all, list, Timestamp::UNIX_EPOCH) {
                Some(Step::Finalizers(left)) => assert!(goes && left.is_empty(), "{addresses:?}"),
                Some(Step::Conditions(list)) => {
                    assert!(!goes, "{addresses:?}");
                    assert_eq!(
                        (list[0].status.as_str(), list[0].reason.as_str()),
                        ("False", "Terminating")
                    );
                }
                None => panic!("something is to be done"),
            }
        }
    }

    #[test]
    fn first_and_last_address_are_no_services() {
        let all = [
            range("a", "10.0.0.0/24", json!({})),
            range("b", "fd00::/120", json!({})),
        ];
        let count = |address: &str| containing(&all, address.parse().unwrap()).count();
        let cases = [
            ("10.0.0.0", 0),
            ("10.0.0.1", 1),
            ("10.0.0.255", 0),
            ("fd00::", 0),
            ("fd00::ff", 1),
            ("10.1.0.1", 0),
        ];
        for (address, expected) in cases {
            assert_eq!(count(address), expected, "{address}");
        }
    }
}
