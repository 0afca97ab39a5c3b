//! The Endpoints object that a Service should have.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use serde_json::{Value, json};

use crate::{
    controllers::endpointslice::{
        address, hostname, is_headless, ports, primary_family, publishes_not_ready, target, trigger,
    },
    pod,
};

const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpoint-controller";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses beyond this number are left out.
const CAPACITY: usize = 1000;

pub(super) fn is_managed(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY_LABEL))
        .is_some_and(|by| by == MANAGED_BY)
}

/// A new Endpoints object.
pub(super) fn new(service: &Service, pods: &[Arc<Pod>], triggered: Option<Timestamp>) -> Endpoints {
    let (subsets, truncated) = subsets(service, pods);
    let mut annotations = BTreeMap::new();
    annotations.extend(triggered.map(|at| (trigger::ANNOTATION.into(), trigger::text(at))));
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            annotations: Some(annotations).filter(|all| !all.is_empty()),
            ..ObjectMeta::default()
        },
        subsets: Some(subsets).filter(|list| !list.is_empty()),
    }
}

/// The merge patch that brings `existing` up to date, if it is not.
pub(super) fn patch(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &Endpoints,
    triggered: Option<Timestamp>,
) -> Option<Value> {
    let (subsets, truncated) = subsets(service, pods);
    let labels = labels(service);
    let have = existing.metadata.labels.clone().unwrap_or_default();
    if existing.subsets.as_deref().unwrap_or_default() == subsets && have == labels {
        return None;
    }
    let mut label_patch = json!(labels);
    for name in have.keys().filter(|name| !labels.contains_key(*name)) {
        label_patch[name.as_str()] = Value::Null;
    }
    let subsets = (!subsets.is_empty()).then_some(subsets);
    Some(json!({
        "metadata": {
            "resourceVersion": existing.metadata.resource_version,
            "labels": label_patch,
            "annotations": {
                trigger::ANNOTATION: triggered.map(trigger::text),
                OVER_CAPACITY: truncated.then_some("truncated"),
            },
        },
        "subsets": subsets,
    }))
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    match is_headless(service) {
        true => labels.insert(HEADLESS_LABEL.into(), String::new()),
        false => labels.remove(HEADLESS_LABEL),
    };
    labels
}

/// Addresses sort by number, then by pod.
type AddressKey = (Option<IpAddr>, String);
/// Ports sort by name.
type PortKey = (String, String, i32, String);

/// Addresses with the same ports share a subset, ready and not ready apart.
///
/// First all addresses of each port are gathered, then ports with the very
/// same addresses are put together: the form that upstream gives (RepackSubsets).
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let mut addresses: BTreeMap<AddressKey, (EndpointAddress, bool)> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<PortKey>, BTreeSet<AddressKey>> = BTreeMap::new();
    let mut port_of: BTreeMap<PortKey, EndpointPort> = BTreeMap::new();
    let has_ports = service
        .spec
        .iter()
        .any(|spec| spec.ports.iter().flatten().next().is_some());
    let all_ready = publishes_not_ready(service);
    for pod in pods {
        let terminating = pod::is_terminating(pod) && !all_ready;
        let Some(ip) = address(pod, primary_family(service)).filter(|_| !terminating) else {
            continue;
        };
        let ports = ports(pod, service);
        if has_ports && ports.is_empty() {
            continue;
        }
        let key: AddressKey = (
            ip.parse().ok(),
            pod.metadata.uid.clone().unwrap_or_default(),
        );
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: hostname(pod, service).map(str::to_owned),
            node_name: pod::node_name(pod).map(str::to_owned),
            target_ref: Some(target(pod)),
        };
        addresses.insert(key.clone(), (address, all_ready || pod::is_ready(pod)));
        if !has_ports {
            by_port.entry(None).or_default().insert(key.clone());
        }
        for port in ports {
            let (name, port) = endpoint_port(port);
            by_port
                .entry(Some(name.clone()))
                .or_default()
                .insert(key.clone());
            port_of.insert(name, port);
        }
    }
    let mut by_addresses: BTreeMap<BTreeSet<AddressKey>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, keys) in by_port {
        let ports = by_addresses.entry(keys).or_default();
        ports.extend(port.and_then(|port| port_of.get(&port).cloned()));
    }
    let subset = |(keys, ports): (BTreeSet<AddressKey>, Vec<EndpointPort>)| {
        let members = || keys.iter().filter_map(|key| addresses.get(key));
        let with = |wanted: bool| {
            let list: Vec<_> = members().filter(|(_, ready)| *ready == wanted).collect();
            let list: Vec<_> = list
                .into_iter()
                .map(|(address, _)| address.clone())
                .collect();
            Some(list).filter(|list| !list.is_empty())
        };
        EndpointSubset {
            addresses: with(true),
            not_ready_addresses: with(false),
            ports: Some(ports).filter(|list| !list.is_empty()),
        }
    };
    let mut subsets: Vec<EndpointSubset> = by_addresses.into_iter().map(subset).collect();
    let truncated = truncate(&mut subsets);
    (subsets, truncated)
}

/// Leaves out what is beyond the capacity: first addresses that are not ready, from each subset in proportion.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| count(&subset.addresses)).sum();
    let others: usize = subsets
        .iter()
        .map(|subset| count(&subset.not_ready_addresses))
        .sum();
    if ready + others <= CAPACITY {
        return false;
    }
    let (room, total) = match ready > CAPACITY {
        true => (CAPACITY, ready),
        false => (CAPACITY - ready, others),
    };
    let mut left = room;
    for subset in subsets {
        let list = match ready > CAPACITY {
            true => {
                subset.not_ready_addresses = None;
                &mut subset.addresses
            }
            false => &mut subset.not_ready_addresses,
        };
        let share = (count(list) * room).div_ceil(total).min(left);
        if let Some(addresses) = list {
            addresses.truncate(share);
            left -= addresses.len();
        }
        *list = list.take().filter(|list| !list.is_empty());
    }
    true
}

fn endpoint_port(port: k8s_openapi::api::discovery::v1::EndpointPort) -> (PortKey, EndpointPort) {
    let name = port.name.filter(|name| !name.is_empty());
    let number = port.port.unwrap_or(0);
    let key = (
        name.clone().unwrap_or_default(),
        port.protocol.clone().unwrap_or_default(),
        number,
        port.app_protocol.clone().unwrap_or_default(),
    );
    let port = EndpointPort {
        name,
        port: number,
        protocol: port.protocol,
        app_protocol: port.app_protocol,
    };
    (key, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_addresses_come_first_and_subsets_in_proportion() {
        let addresses = |count: usize| {
            Some(vec![EndpointAddress::default(); count]).filter(|list| !list.is_empty())
        };
        let counted = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
        type Counts = [(usize, usize); 2];
        let table: [(Counts, bool, Counts); 5] = [
            ([(600, 400), (0, 0)], false, [(600, 400), (0, 0)]),
            ([(600, 500), (0, 0)], true, [(600, 400), (0, 0)]),
            ([(1500, 10), (500, 10)], true, [(750, 0), (250, 0)]),
            ([(300, 300), (300, 900)], true, [(300, 100), (300, 300)]),
            ([(1000, 7), (0, 0)], true, [(1000, 0), (0, 0)]),
        ];
        for (before, cut, after) in table {
            let subset = |(ready, others): (usize, usize)| EndpointSubset {
                addresses: addresses(ready),
                not_ready_addresses: addresses(others),
                ports: None,
            };
            let mut subsets = before.map(subset);
            assert_eq!(truncate(&mut subsets), cut, "{before:?}");
            let have =
                subsets.map(|one| (counted(&one.addresses), counted(&one.not_ready_addresses)));
            assert_eq!(have, after, "{before:?}");
        }
    }
}
