//! Packs the endpoints of a Service into slices so that few slices change.
//!
//! Slices are grouped by their ports. In each group endpoints stay in the slice
//! they are in; new ones go into slices that change anyway, then into those
//! with room, then into new slices. A slice that became useless is rewritten
//! rather than deleted when another is needed. There is always one slice.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::{
    MANAGED_BY, MANAGED_BY_LABEL, endpoint,
    topology::{self, Hinted, Shares},
    trigger,
};
use crate::{controllers::SERVICE_NAME_LABEL, ownership::controller_reference, pod};

pub(super) const ENDPOINTS_PER_SLICE: usize = 100;
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controllers) enum Family {
    V4,
    V6,
}

impl Family {
    pub(in crate::controllers) fn of(address: &str) -> Option<Self> {
        Some(match address.parse().ok()? {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// The families that a Service has endpoints of.
pub(in crate::controllers) fn families(service: &Service) -> Vec<Family> {
    let named = service
        .spec
        .iter()
        .flat_map(|spec| spec.ip_families.iter().flatten());
    let mut families: Vec<Family> = named
        .filter_map(|name| match name.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect();
    if families.is_empty() {
        families.push(Family::V4);
    }
    families
}

pub(super) fn family_of(slice: &EndpointSlice) -> Option<Family> {
    match slice.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

/// What is known of nodes.
pub(super) struct Nodes<'a> {
    /// The zone of a node, if it has one; `None` for a node that is not there.
    pub(super) zone: &'a (dyn Fn(&str) -> Option<Option<String>> + Sync),
    /// What zones have of the cluster's CPUs.
    pub(super) shares: &'a (dyn Fn() -> Option<Shares> + Sync),
}

/// Writes to slices of one family.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What came of hints by capacity, where they are asked for.
    pub(super) hinted: Option<Result<(), String>>,
    pub(super) create: Vec<EndpointSlice>,
    /// Slices with the merge patch for each.
    pub(super) update: Vec<(Arc<EndpointSlice>, Value)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// What a slice should hold.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    endpoints: Vec<Endpoint>,
    ports: Vec<EndpointPort>,
}

/// Ports as something that can be compared and sorted.
type PortKey = Vec<(String, String, i32, String)>;

fn port_key(ports: &[EndpointPort]) -> PortKey {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let key = |port: &EndpointPort| {
        let number = port.port.unwrap_or(0);
        (
            text(&port.name),
            text(&port.protocol),
            number,
            text(&port.app_protocol),
        )
    };
    let mut key: PortKey = ports.iter().map(key).collect();
    key.sort();
    key
}

/// The UID of the pod that an endpoint stands for.
fn target(endpoint: &Endpoint) -> &str {
    let target = endpoint.target_ref.as_ref();
    target
        .and_then(|target| target.uid.as_deref())
        .unwrap_or_default()
}

/// Endpoints wanted for one set of ports.
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

/// Plans the slices of `service` for one family.
///
/// `existing` are the slices of that family that this controller made for it.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    family: Family,
    nodes: &Nodes<'_>,
    triggered: Option<Timestamp>,
) -> Plan {
    let mut groups: BTreeMap<PortKey, Group> = BTreeMap::new();
    for pod in pods {
        // A pod that was on a node that is gone may be gone, too, and nobody would say so.
        let zone = pod::node_name(pod).and_then(|name| (nodes.zone)(name));
        if zone.is_none() && !endpoint::publishes_not_ready(service) {
            continue;
        }
        let Some(endpoint) = endpoint::endpoint(pod, service, family, zone.flatten()) else {
            continue;
        };
        let ports = endpoint::ports(pod, service);
        let group = groups.entry(port_key(&ports)).or_insert_with(|| Group {
            ports,
            endpoints: Vec::new(),
        });
        group.endpoints.push(endpoint);
    }
    let mut packing = Packing::default();
    for slice in existing {
        let ports = slice.ports.as_deref().unwrap_or_default();
        match groups.contains_key(&port_key(ports)) {
            true => packing.kept.push(Arc::clone(slice)),
            false => packing.spare.push(Arc::clone(slice)),
        }
    }
    for (key, group) in groups {
        packing.pack(&key, group);
    }
    let shares = topology::is_asked_for(service).then(|| (nodes.shares)());
    packing.finish(service, family, shares, triggered)
}

#[derive(Default)]
struct Packing {
    /// Existing slices of ports that are still wanted.
    kept: Vec<Arc<EndpointSlice>>,
    /// Existing slices that are of no use as they are.
    spare: Vec<Arc<EndpointSlice>>,
    wanted: Vec<(Option<Arc<EndpointSlice>>, Content)>,
}

impl Packing {
    fn pack(&mut self, key: &PortKey, group: Group) {
        let mut missing: BTreeMap<String, Endpoint> = BTreeMap::new();
        for endpoint in &group.endpoints {
            missing.insert(target(endpoint).to_owned(), endpoint.clone());
        }
        let order: Vec<String> = group
            .endpoints
            .iter()
            .map(|one| target(one).to_owned())
            .collect();
        let mut kept = Vec::new();
        let of_group = |slice: &Arc<EndpointSlice>| {
            port_key(slice.ports.as_deref().unwrap_or_default()) == *key
        };
        for slice in self.kept.extract_if(.., |slice| of_group(slice)) {
            let present = slice.endpoints.iter().flatten();
            let endpoints: Vec<Endpoint> = present
                .filter_map(|old| missing.remove(target(old)))
                .collect();
            kept.push((slice, endpoints));
        }
        let mut rest: Vec<Endpoint> = order.iter().filter_map(|uid| missing.remove(uid)).collect();
        fill(&mut kept, &mut rest);
        for (slice, endpoints) in kept {
            if endpoints.is_empty() {
                self.spare.push(slice);
                continue;
            }
            let ports = group.ports.clone();
            self.wanted
                .push((Some(slice), Content { endpoints, ports }));
        }
        while !rest.is_empty() {
            let endpoints = rest.drain(..rest.len().min(ENDPOINTS_PER_SLICE)).collect();
            let ports = group.ports.clone();
            self.wanted.push((None, Content { endpoints, ports }));
        }
    }

    /// Hints by capacity: slices of which nothing else changes keep theirs where they fit.
    fn hint(&mut self, service: &Service, shares: Option<&Shares>) -> Result<(), String> {
        let labels = labels(service);
        let slices = self.wanted.iter_mut().map(|(slice, content)| {
            let old = slice.as_ref().filter(|old| {
                old.metadata.labels.as_ref() == Some(&labels)
                    && is_same_beyond_hints(old, &content.endpoints)
            });
            Hinted {
                unchanged: old.and_then(|old| old.endpoints.as_deref()),
                endpoints: &mut content.endpoints,
            }
        });
        topology::assign(slices.collect(), shares)
    }

    fn finish(
        mut self,
        service: &Service,
        family: Family,
        shares: Option<Option<Shares>>,
        triggered: Option<Timestamp>,
    ) -> Plan {
        if self.wanted.is_empty() {
            let nothing = Content {
                endpoints: Vec::new(),
                ports: Vec::new(),
            };
            self.wanted.push((None, nothing));
        }
        let mut plan = Plan {
            hinted: shares.map(|shares| self.hint(service, shares.as_ref())),
            ..Plan::default()
        };
        let ends = service.metadata.deletion_timestamp.is_some();
        // An empty slice that is there serves best where an empty one is wanted.
        self.spare
            .sort_by_key(|slice| slice.endpoints.iter().flatten().count());
        self.spare.reverse();
        for (slice, content) in self.wanted {
            match slice.or_else(|| self.spare.pop()) {
                Some(slice) => {
                    let patch = patch(service, &slice, &content, triggered);
                    plan.update.extend(patch.map(|patch| (slice, patch)));
                }
                None if ends => {}
                None => plan
                    .create
                    .push(new_slice(service, family, content, triggered)),
            }
        }
        plan.delete = self.spare;
        plan
    }
}

fn is_same_beyond_hints(slice: &EndpointSlice, endpoints: &[Endpoint]) -> bool {
    let old = slice.endpoints.as_deref().unwrap_or_default();
    let without = |endpoint: &Endpoint| Endpoint {
        hints: None,
        ..endpoint.clone()
    };
    old.len() == endpoints.len() && old.iter().map(without).eq(endpoints.iter().cloned())
}

/// Puts endpoints that are not in a slice yet into slices with room: first
/// those that are written anyway, then the fullest that can take all.
fn fill(kept: &mut [(Arc<EndpointSlice>, Vec<Endpoint>)], rest: &mut Vec<Endpoint>) {
    // Hints of capacity are given later: a slice that differs in them only is not written for it.
    let changed = |slice: &EndpointSlice, endpoints: &[Endpoint]| {
        slice.endpoints.as_deref().unwrap_or_default() != endpoints
            && !is_same_beyond_hints(slice, endpoints)
    };
    for (slice, endpoints) in kept.iter_mut() {
        if changed(slice, endpoints) && !endpoints.is_empty() {
            let room = ENDPOINTS_PER_SLICE.saturating_sub(endpoints.len());
            endpoints.extend(rest.drain(..rest.len().min(room)));
        }
    }
    if rest.is_empty() || rest.len() >= ENDPOINTS_PER_SLICE {
        return;
    }
    let fits = |endpoints: &Vec<Endpoint>| endpoints.len() + rest.len() <= ENDPOINTS_PER_SLICE;
    let candidates = kept.iter_mut().map(|(_, endpoints)| endpoints);
    let fullest = candidates
        .filter(|endpoints| fits(endpoints))
        .max_by_key(|one| one.len());
    if let Some(endpoints) = fullest {
        endpoints.append(rest);
    }
}

/// The Service's own labels, and those by which consumers find slices.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let reserved = [SERVICE_NAME_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL];
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|name, _| !reserved.contains(&name.as_str()));
    let name = service.metadata.name.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME_LABEL.into(), name);
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    if is_headless(service) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    labels
}

pub(in crate::controllers) fn is_headless(service: &Service) -> bool {
    let address = service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref());
    matches!(address, None | Some("" | "None"))
}

fn new_slice(
    service: &Service,
    family: Family,
    content: Content,
    triggered: Option<Timestamp>,
) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let annotation = triggered.map(|at| [(trigger::ANNOTATION.into(), trigger::text(at))].into());
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            annotations: annotation,
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.as_str().into(),
        endpoints: Some(content.endpoints).filter(|list| !list.is_empty()),
        ports: Some(content.ports).filter(|list| !list.is_empty()),
    }
}

/// The patch that gives a slice this content, if it differs.
fn patch(
    service: &Service,
    slice: &EndpointSlice,
    content: &Content,
    triggered: Option<Timestamp>,
) -> Option<Value> {
    let labels = labels(service);
    let have = slice.metadata.labels.clone().unwrap_or_default();
    let ports = slice.ports.as_deref().unwrap_or_default();
    let same = have == labels
        && slice.endpoints.as_deref().unwrap_or_default() == content.endpoints
        && port_key(ports) == port_key(&content.ports);
    if same {
        return None;
    }
    let superfluous: BTreeSet<&String> = have
        .keys()
        .filter(|name| !labels.contains_key(*name))
        .collect();
    let mut label_patch = json!(labels);
    for name in superfluous {
        label_patch[name.as_str()] = Value::Null;
    }
    let or_null = |list: Value| match list.as_array().is_some_and(Vec::is_empty) {
        true => Value::Null,
        false => list,
    };
    Some(json!({
        "metadata": {
            "resourceVersion": slice.metadata.resource_version,
            "labels": label_patch,
            "annotations": {trigger::ANNOTATION: triggered.map(trigger::text)},
        },
        "endpoints": or_null(json!(content.endpoints)),
        "ports": or_null(json!(content.ports)),
    }))
}
