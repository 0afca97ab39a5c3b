//! The slices that Endpoints should have.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointPort, Endpoints},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort as Port, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use super::{MANAGED_BY, MANAGED_BY_LABEL, SERVICE_NAME_LABEL};
use crate::{ownership::controller_reference, write::merge_diff};

/// Addresses of one set of ports that are mirrored.
pub(super) const MOST: usize = 1000;
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that slices don't have.
const NOT_MIRRORED: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// A generated name has five letters more, and no label of DNS more than this many.
const PREFIX_MAX: usize = 63 - 5;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<(Arc<EndpointSlice>, Value)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
    /// Addresses that are none.
    pub(super) invalid: usize,
    /// Addresses beyond [`MOST`].
    pub(super) too_many: usize,
}

/// True unless the Endpoints say that they are not for proxies.
pub(super) fn is_for_mirroring(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skips = meta
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SKIP_LABEL));
    let elects = meta
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(LEADER_ANNOTATION));
    skips.is_none_or(|text| text != "true") && !elects
}

/// A port, as far as ports of the same address differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PortKey {
    name: String,
    protocol: String,
    port: i32,
    app_protocol: Option<String>,
}

/// Stands for the ports of addresses that have none.
const NO_PORT: PortKey = PortKey {
    name: String::new(),
    protocol: String::new(),
    port: -1,
    app_protocol: None,
};

/// What makes slices differ.
type SliceKey = (&'static str, BTreeSet<PortKey>);
/// Addresses by text and target, each with whether it is ready.
type Addresses = BTreeMap<(String, String), (EndpointAddress, bool)>;

/// Plans for Endpoints that are to be mirrored.
pub(super) fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut left: BTreeMap<SliceKey, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        left.entry(key_of(slice))
            .or_default()
            .push(Arc::clone(slice));
    }
    for ((family, ports), wanted) in wanted(endpoints, &mut plan) {
        let mut same = left
            .remove(&(family, ports.clone()))
            .unwrap_or_default()
            .into_iter();
        let new = slice(endpoints, family, &ports, wanted);
        match same.next() {
            Some(old) => {
                if let Some(patch) = difference(&old, &new) {
                    plan.update.push((old, patch));
                }
            }
            None => plan.create.push(new),
        }
        plan.delete.extend(same);
    }
    plan.delete.extend(left.into_values().flatten());
    recycle(&mut plan);
    plan
}

/// Writes what is new into slices that would go otherwise.
fn recycle(plan: &mut Plan) {
    for old in std::mem::take(&mut plan.delete) {
        let same_family = |new: &EndpointSlice| new.address_type == old.address_type;
        let Some(at) = plan.create.iter().rposition(same_family) else {
            plan.delete.push(old);
            continue;
        };
        let new = plan.create.remove(at);
        if let Some(patch) = difference(&old, &new) {
            plan.update.push((old, patch));
        }
    }
}

fn key_of(slice: &EndpointSlice) -> SliceKey {
    let family = match slice.address_type.as_str() {
        "IPv6" => "IPv6",
        _ => "IPv4",
    };
    let ports = slice.ports.iter().flatten().map(|port| PortKey {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_default(),
        port: port.port.unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
    });
    (family, ports.collect())
}

/// The endpoints of each slice. Subsets are taken apart and put together anew: addresses with the same ports belong
/// together, and an address that is not ready in one place is not ready.
fn wanted(endpoints: &Endpoints, plan: &mut Plan) -> BTreeMap<SliceKey, Vec<Endpoint>> {
    let mut by_port: BTreeMap<PortKey, Addresses> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset
            .addresses
            .iter()
            .flatten()
            .map(|address| (address, true));
        let not_ready = subset
            .not_ready_addresses
            .iter()
            .flatten()
            .map(|address| (address, false));
        let addresses: Vec<_> = ready.chain(not_ready).collect();
        let ports: Vec<PortKey> = subset.ports.iter().flatten().map(port_key).collect();
        let ports = if ports.is_empty() {
            vec![NO_PORT]
        } else {
            ports
        };
        for port in ports {
            let known = by_port.entry(port).or_default();
            for (address, ready) in &addresses {
                let target = address
                    .target_ref
                    .as_ref()
                    .and_then(|target| target.uid.clone());
                let place = (address.ip.clone(), target.unwrap_or_default());
                let entry = known
                    .entry(place)
                    .or_insert_with(|| ((*address).clone(), *ready));
                entry.1 &= ready;
            }
        }
    }
    let mut groups: Vec<(Addresses, BTreeSet<PortKey>)> = Vec::new();
    for (port, addresses) in by_port {
        match groups.iter_mut().find(|(same, _)| *same == addresses) {
            Some((_, ports)) => {
                ports.insert(port);
            }
            None => groups.push((addresses, BTreeSet::from([port]))),
        }
    }
    groups
        .iter_mut()
        .for_each(|(_, ports)| ports.retain(|port| *port != NO_PORT));
    let mut slices: BTreeMap<SliceKey, Vec<Endpoint>> = BTreeMap::new();
    for (addresses, ports) in groups {
        let mut count = 0;
        for (address, ready) in addresses.into_values() {
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                plan.invalid += 1;
                continue;
            };
            if count == MOST {
                plan.too_many += 1;
                continue;
            }
            count += 1;
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            slices
                .entry((family, ports.clone()))
                .or_default()
                .push(endpoint(address, ip, ready));
        }
    }
    slices
}

fn port_key(port: &EndpointPort) -> PortKey {
    PortKey {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        port: port.port,
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.filter(|name| !name.is_empty()),
        node_name: address.node_name,
        target_ref: address.target_ref,
        ..Endpoint::default()
    }
}

fn slice(
    endpoints: &Endpoints,
    family: &str,
    ports: &BTreeSet<PortKey>,
    wanted: Vec<Endpoint>,
) -> EndpointSlice {
    let name = endpoints.metadata.name.as_deref().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME_LABEL.into(), name.into());
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_MIRRORED.contains(&name.as_str()));
    let dash = if name.len() < PREFIX_MAX { "-" } else { "" };
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}{dash}")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|all| !all.is_empty()),
            owner_references: Some(vec![controller_reference(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(wanted),
        ports: Some(ports.iter().map(slice_port).collect()),
    }
}

fn slice_port(port: &PortKey) -> Port {
    Port {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    }
}

/// The merge patch that makes `old` say what `new` says.
fn difference(old: &EndpointSlice, new: &EndpointSlice) -> Option<Value> {
    let said = |slice: &EndpointSlice| {
        let mut endpoints = slice.endpoints.clone().unwrap_or_default();
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        json!({
            "metadata": {
                "labels": slice.metadata.labels.clone().unwrap_or_default(),
                "annotations": slice.metadata.annotations.clone().unwrap_or_default(),
                "ownerReferences": slice.metadata.owner_references,
            },
            "endpoints": endpoints,
            "ports": slice.ports,
        })
    };
    let mut patch = merge_diff(&said(old), &said(new))?;
    patch["metadata"]["resourceVersion"] = json!(old.metadata.resource_version);
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(subsets: Value) -> Endpoints {
        let object = json!({
            "metadata": {"name": "e", "namespace": "ns", "uid": "e1", "labels": {"a": "b"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "k": "v"}},
            "subsets": subsets,
        });
        serde_json::from_value(object).unwrap()
    }

    fn shown(slices: &[EndpointSlice]) -> Vec<String> {
        let show = |slice: &EndpointSlice| {
            let ports = slice
                .ports
                .iter()
                .flatten()
                .map(|port| port.port.unwrap().to_string());
            let addresses = slice.endpoints.iter().flatten().map(|one| {
                let ready = one.conditions.as_ref().unwrap().ready.unwrap();
                format!("{}{}", one.addresses[0], if ready { "" } else { "!" })
            });
            let list = |words: Vec<String>| words.join(" ");
            format!(
                "{} {}: {}",
                slice.address_type,
                list(ports.collect()),
                list(addresses.collect())
            )
        };
        slices.iter().map(show).collect()
    }

    #[test]
    fn one_slice_for_each_set_of_ports_and_family() {
        let table = [
            (
                json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80, "protocol": "TCP"}]}]),
                vec!["IPv4 80: 10.0.0.1", "IPv6 80: fd00::1"],
            ),
            (
                json!([
                    {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "a", "port": 80}]},
                    {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "b", "port": 81}]},
                    {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "c", "port": 82}]},
                ]),
                vec!["IPv4 80 81: 10.0.0.1", "IPv4 82: 10.0.0.2"],
            ),
            (
                json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
                    "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80}]}]),
                vec!["IPv4 80: 10.0.0.1 10.0.0.2!"],
            ),
            (
                json!([{"addresses": [{"ip": "10.0.0.1"}]}]),
                vec!["IPv4 : 10.0.0.1"],
            ),
            (json!([]), vec![]),
        ];
        for (subsets, expected) in table {
            let plan = plan(&endpoints(subsets.clone()), &[]);
            assert_eq!(shown(&plan.create), expected, "{subsets}");
        }
    }

    #[test]
    fn slice_follows_its_endpoints() {
        let before =
            endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]));
        let slice = Arc::new(plan(&before, &[]).create.remove(0));
        let labels = slice.metadata.labels.as_ref().unwrap();
        assert_eq!(
            (labels["a"].as_str(), labels[SERVICE_NAME_LABEL].as_str()),
            ("b", "e")
        );
        assert_eq!(
            slice
                .metadata
                .annotations
                .as_ref()
                .unwrap()
                .keys()
                .collect::<Vec<_>>(),
            ["k"]
        );

        let same = plan(&before, &[Arc::clone(&slice)]);
        assert!(same.create.is_empty() && same.update.is_empty() && same.delete.is_empty());

        let more = endpoints(
            json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.3"}], "ports": [{"port": 80}]}]),
        );
        let changed = plan(&more, &[Arc::clone(&slice)]);
        assert_eq!(
            changed.update[0].1["endpoints"].as_array().unwrap().len(),
            2
        );

        let other =
            endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 81}]}]));
        let moved = plan(&other, &[slice]);
        let counts = (moved.create.len(), moved.update.len(), moved.delete.len());
        assert_eq!(counts, (0, 1, 0), "the slice is used again");
        assert_eq!(moved.update[0].1["ports"][0]["port"], 81);
    }

    #[test]
    fn what_cannot_be_mirrored_is_counted() {
        let many: Vec<Value> = (0..=MOST)
            .map(|i| json!({"ip": format!("10.0.{}.{}", i / 256, i % 256)}))
            .collect();
        let plan = plan(
            &endpoints(json!([{"addresses": many, "ports": [{"port": 80}]},
            {"addresses": [{"ip": "x"}], "ports": [{"port": 81}]}])),
            &[],
        );
        assert_eq!((plan.invalid, plan.too_many), (1, 1));
    }

    #[test]
    fn endpoints_that_are_not_for_proxies_are_left_alone() {
        let mut one = endpoints(json!([]));
        assert!(is_for_mirroring(&one));
        one.metadata.labels = Some([(SKIP_LABEL.to_owned(), "true".to_owned())].into());
        assert!(!is_for_mirroring(&one));
        one.metadata.labels = None;
        one.metadata.annotations = Some([(LEADER_ANNOTATION.to_owned(), "{}".to_owned())].into());
        assert!(!is_for_mirroring(&one));
    }
}
