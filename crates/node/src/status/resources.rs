//! Requests and limits as the status shows them.
//!
//! Absent: resizing in place; what is allocated is what the spec asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::containers::is_sidecar;
use crate::quantity::{self, Exact};

type List = BTreeMap<String, Quantity>;

/// `allocatedResources` of a container: its requests (the API server sets a request for each limit).
pub(super) fn requests(container: &Container) -> Option<List> {
    container
        .resources
        .as_ref()?
        .requests
        .clone()
        .filter(|r| !r.is_empty())
}

/// `resources` of a container that was created.
pub(super) fn effective(container: &Container) -> ResourceRequirements {
    let wanted = container.resources.clone().unwrap_or_default();
    ResourceRequirements {
        claims: None,
        ..wanted
    }
}

/// `allocatedResources` of the pod.
pub(super) fn pod_requests(spec: &PodSpec) -> Option<List> {
    pod_resources(spec).requests
}

/// `resources` of the pod: what it asks for itself, else what its containers add up to.
pub(super) fn pod_resources(spec: &PodSpec) -> ResourceRequirements {
    let own = spec.resources.clone().unwrap_or_default();
    let requests = total(spec, |r| r.requests.as_ref());
    let limits = total(spec, |r| r.limits.as_ref());
    let pick = |own: Option<List>, sum: List| {
        let mut list = sum;
        list.extend(own.unwrap_or_default());
        (!list.is_empty()).then_some(list)
    };
    ResourceRequirements {
        claims: None,
        requests: pick(own.requests, requests),
        limits: pick(own.limits, limits),
    }
}

/// The sum over the main containers and sidecars, but at least what any init container asks for.
pub(crate) fn total(spec: &PodSpec, part: impl Fn(&ResourceRequirements) -> Option<&List>) -> List {
    let of = |c: &Container| {
        c.resources
            .as_ref()
            .and_then(&part)
            .cloned()
            .unwrap_or_default()
    };
    let mut sums: BTreeMap<String, (Exact, Option<Quantity>)> = BTreeMap::new();
    let init = spec.init_containers.iter().flatten();
    for container in spec
        .containers
        .iter()
        .chain(init.clone().filter(|c| is_sidecar(c)))
    {
        for (name, quantity) in of(container) {
            let Some(value) = quantity::parse(&quantity.0) else {
                continue;
            };
            sums.entry(name)
                .and_modify(|(sum, only)| {
                    *sum = sum.saturating_add(value);
                    *only = None;
                })
                .or_insert((value, Some(quantity)));
        }
    }
    for container in init.filter(|c| !is_sidecar(c)) {
        for (name, quantity) in of(container) {
            let Some(value) = quantity::parse(&quantity.0) else {
                continue;
            };
            let entry = sums.entry(name).or_insert((Exact::ZERO, None));
            if value > entry.0 {
                *entry = (value, Some(quantity));
            }
        }
    }
    sums.into_iter()
        .map(|(name, (sum, only))| (name.clone(), only.unwrap_or_else(|| sum.to_quantity(&name))))
        .collect()
}
