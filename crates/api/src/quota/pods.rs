//! How Pods count.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::scopes;
use crate::amounts::{self, Amounts, Side};
use crate::quantity::Quantity;
use crate::strategy::qos;

const NAMES: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// Where a quota names these, each container must have an amount: an old mistake that upstream keeps.
const DEMANDED: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

pub(super) fn counts_in(name: &str) -> bool {
    NAMES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || is_extended(name)
}

/// `requests.example.com/gpu`, and `requests.deviceclass.resource.kubernetes.io/CLASS`.
fn is_extended(name: &str) -> bool {
    let Some(resource) = name.strip_prefix("requests.") else {
        return false;
    };
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native || resource.starts_with("deviceclass.resource.kubernetes.io/")
}

/// Whether a container may ask for it though no node has it by itself.
fn is_extended_request(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    let by_class = name.starts_with("deviceclass.resource.kubernetes.io/");
    (!native && !name.starts_with("requests.")) || by_class
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::from([("count/pods".to_owned(), Quantity::from_int(1))]);
    if is_charged(pod, now) {
        let requests = amounts::of_pod(pod, Side::Requests);
        let limits = amounts::of_pod(pod, Side::Limits);
        used.extend(compute(&requests, &limits));
    }
    used
}

/// Compute resources of a Pod that is over, or that should have gone by now, are free again.
fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(
        pod["status"]["phase"].as_str(),
        Some("Failed" | "Succeeded")
    ) {
        return false;
    }
    let marked = pod["metadata"]["deletionTimestamp"].as_str();
    let marked = marked.and_then(|text| text.parse::<Timestamp>().ok());
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    match marked.zip(grace) {
        Some((marked, grace)) => marked
            .checked_add(SignedDuration::from_secs(grace))
            .is_ok_and(|end| now <= end),
        None => true,
    }
}

fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), Quantity::from_int(1))]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            used.insert(name.to_owned(), request.clone());
            used.insert(format!("requests.{name}"), request.clone());
        }
        if let Some(limit) = limits.get(name) {
            used.insert(format!("limits.{name}"), limit.clone());
        }
    }
    for (name, request) in requests {
        if name.starts_with("hugepages-") {
            used.insert(name.clone(), request.clone());
            used.insert(format!("requests.{name}"), request.clone());
        }
        if is_extended_request(name) {
            used.insert(format!("requests.{name}"), request.clone());
        }
    }
    used
}

pub(super) fn missing(names: &[&str], pod: &Value) -> Option<String> {
    if amounts::has_pod_level(pod) {
        return None;
    }
    let demanded: BTreeSet<&str> = names
        .iter()
        .copied()
        .filter(|n| DEMANDED.contains(n))
        .collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let resources = &container["resources"];
            let have = compute(
                &amounts::read(&resources["requests"]),
                &amounts::read(&resources["limits"]),
            );
            let name = container["name"].as_str().unwrap_or_default();
            for resource in demanded.iter().filter(|d| !have.contains_key(**d)) {
                missing.entry(resource).or_default().insert(name);
            }
        }
    }
    let parts: Vec<String> = missing
        .iter()
        .map(|(resource, containers)| {
            let containers: Vec<&str> = containers.iter().copied().collect();
            format!("{resource} for: {}", containers.join(","))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
}

/// Whether it ends by itself at a known time.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds >= 0)
}

pub(super) fn in_scope(scope: &Value, pod: &Value) -> bool {
    let best_effort = || qos::class(pod) == qos::Class::BestEffort;
    match scope["scopeName"].as_str().unwrap_or_default() {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = pod["spec"]["priorityClassName"].as_str();
            let classes: Vec<&str> = class.into_iter().filter(|c| !c.is_empty()).collect();
            scopes::selects(scope, &classes)
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(&pod["spec"]["affinity"]),
        _ => false,
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        let named = term["namespaces"].as_array().is_some_and(|n| !n.is_empty());
        named || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = |list: &str| affinity[*kind][list].as_array().into_iter().flatten();
        terms("requiredDuringSchedulingIgnoredDuringExecution").any(crosses)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
