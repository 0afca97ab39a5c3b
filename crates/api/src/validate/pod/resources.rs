//! Requests and limits.

use super::super::checks::{Errors, NOT_NEGATIVE, invalid_each, list, map, some, text};
use super::container::Pod;
use crate::field::{Error, Path};
use crate::names;
use crate::quantity::Quantity;
use crate::strategy::pod_level::aggregate;
use serde_json::Value;
use std::collections::HashSet;

const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const POD_LEVEL: [&str; 3] = ["cpu", "hugepages-", "memory"];
const STANDARD: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "pods",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
];

/// Whether a resource has a huge page's name.
fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a resource is Kubernetes' own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a name is one that device plugins may give.
pub(in super::super) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more than there is may be promised: not for huge pages and extended resources.
pub(in super::super) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_hugepages(name)
}

/// The name of a resource: qualified, and standard when it has no prefix.
pub(in super::super) fn resource_name(errors: &mut Errors, path: &Path<'_>, name: &str) -> bool {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        invalid_each(errors, path, name, wrong);
        return false;
    }
    let standard = STANDARD.contains(&name)
        || name == "services.loadbalancers"
        || is_hugepages(name)
        || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !standard {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(Error::invalid(path, name, detail));
    }
    true
}

/// The name of a resource that a container can ask for.
pub(in super::super) fn container_resource_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    resource_name(errors, path, name);
    let detail = match name.contains('/') {
        false if !CONTAINER.contains(&name) && !is_hugepages(name) => {
            "must be a standard resource for containers"
        }
        true if !is_native(name) && !is_extended(name) => {
            "doesn't follow extended resource name standard"
        }
        _ => return,
    };
    errors.push(Error::invalid(path, name, detail));
}

fn pod_resource_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let before = errors.len();
    resource_name(errors, path, name);
    let supported = matches!(name, "cpu" | "memory") || is_hugepages(name);
    if errors.len() == before && !supported {
        errors.push(Error::not_supported(path, name, &POD_LEVEL));
    }
}

/// An amount: not negative, and whole for what has no parts.
pub(in super::super) fn amount(
    errors: &mut Errors,
    path: &Path<'_>,
    value: &Value,
    whole: bool,
) -> Option<Quantity> {
    let quantity = Quantity::from_json(value).ok()?;
    if quantity.is_negative() {
        errors.push(Error::invalid(path, value, NOT_NEGATIVE));
    }
    if whole && !quantity.is_integer() {
        errors.push(Error::invalid(path, value, "must be an integer"));
    }
    Some(quantity)
}

/// An amount of huge pages is a whole number of them.
fn huge_pages(errors: &mut Errors, path: &Path<'_>, name: &str, value: &Value) {
    let size = name
        .strip_prefix("hugepages-")
        .and_then(|size| size.parse::<Quantity>().ok());
    let whole = size.is_some_and(|size| {
        let amount = Quantity::from_json(value).map_or(0, |q| q.value());
        size.is_integer() && size.value() > 0 && amount % size.value() == 0
    });
    if !whole {
        let shown = value.as_str().unwrap_or("");
        let detail = format!("{shown} is not positive integer multiple of {name}");
        errors.push(Error::invalid(path, value, detail));
    }
}

/// `resources` of a container.
pub(super) fn container(errors: &mut Errors, path: &Path<'_>, resources: &Value, pod: &Pod<'_>) {
    requirements(errors, path, resources, container_resource_name);
    claims(
        errors,
        &path.field("claims"),
        list(resources, "claims"),
        &pod.claims,
    );
}

/// Amounts that a Pod costs beside its containers.
pub(in super::super) fn overhead(errors: &mut Errors, path: &Path<'_>, overhead: &Value) {
    let resources = serde_json::json!({"limits": overhead});
    requirements(errors, path, &resources, container_resource_name);
}

fn requirements(
    errors: &mut Errors,
    path: &Path<'_>,
    resources: &Value,
    name_check: fn(&mut Errors, &Path<'_>, &str),
) {
    let (limits_path, requests_path) = (path.field("limits"), path.field("requests"));
    for (name, value) in map(resources, "limits") {
        let at = limits_path.key(name);
        name_check(errors, &at, name);
        amount(errors, &at, value, is_extended(name));
        if is_hugepages(name) {
            huge_pages(errors, &at, name, value);
        }
    }
    for (name, value) in map(resources, "requests") {
        let at = requests_path.key(name);
        name_check(errors, &at, name);
        let request = amount(errors, &at, value, is_extended(name));
        let limit_text = resources.get("limits").and_then(|l| some(l, name));
        let limit = limit_text.and_then(|l| Quantity::from_json(l).ok());
        let shown = limit_text.and_then(Value::as_str).unwrap_or("");
        let detail = match (request, limit) {
            (Some(request), Some(limit)) if !may_overcommit(name) && request != limit => {
                format!("must be equal to {name} limit of {shown}")
            }
            (Some(request), Some(limit)) if request > limit => {
                format!("must be less than or equal to {name} limit of {shown}")
            }
            _ => String::new(),
        };
        if !detail.is_empty() {
            errors.push(Error::invalid(&requests_path, value, detail));
        }
        if limit_text.is_none() && !may_overcommit(name) {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(Error::required(&limits_path, detail));
        }
        if is_hugepages(name) {
            huge_pages(errors, &at, name, value);
        }
    }
    let names = || map(resources, "limits").chain(map(resources, "requests"));
    let computes = names().any(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
    if !computes && names().any(|(name, _)| is_hugepages(name)) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// Claims of the Pod that a container uses (KEP-4381).
fn claims(errors: &mut Errors, path: &Path<'_>, claims: &[Value], known: &[&str]) {
    let mut seen: HashSet<String> = HashSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let (at, name, request) = (path.index(i), text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        if seen.contains(name) {
            errors.push(Error::duplicate(&at, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                let wrong = names::dns1123_label(request);
                invalid_each(errors, &at.field("request"), request, wrong);
                key = format!("{name}/{request}");
            }
            let part_of_it =
                |other: &&String| other.split_once('/').is_some_and(|(n, _)| n == name);
            if seen.contains(&key) {
                errors.push(Error::duplicate(&at, key.as_str()));
            } else if request.is_empty() {
                for _ in seen.iter().filter(part_of_it) {
                    errors.push(Error::duplicate(&at, name));
                }
            }
            seen.insert(key);
        }
        if !known.contains(&name) {
            let mut error = Error::not_found(&at, name);
            let mut sorted = known.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            error.detail = match sorted.is_empty() {
                true => {
                    "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
                }
                false => format!(
                    "must be one of the names in pod.spec.resourceClaims: {}",
                    sorted.join(", ")
                ),
            };
            errors.push(error);
        }
    }
}

/// `resources` of the Pod itself (KEP-2837).
pub(super) fn pod_level(errors: &mut Errors, path: &Path<'_>, pod: &Pod<'_>) {
    let Some(own) = some(pod.spec, "resources") else {
        return;
    };
    let path = path.field("resources");
    if pod.spec["os"]["name"] == "windows" {
        errors.push(Error::forbidden(&path, "may not be set for a windows pod"));
        return;
    }
    if !list(own, "claims").is_empty() {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(Error::forbidden(&path.field("claims"), detail));
    }
    requirements(errors, &path, own, pod_resource_name);
    claims(
        errors,
        &path.field("claims"),
        list(own, "claims"),
        &pod.claims,
    );
    consistent(errors, &path, pod.spec, own);
}

/// The Pod has at least what its containers ask for, and none may take more than the Pod.
fn consistent(errors: &mut Errors, path: &Path<'_>, spec: &Value, own: &Value) {
    for (member, only_huge) in [("requests", false), ("limits", true)] {
        let at = path.field(member);
        for (name, sum) in aggregate(spec, member) {
            let Some(value) = own[member]
                .get(&name)
                .filter(|_| !only_huge || is_hugepages(&name))
            else {
                continue;
            };
            if Quantity::from_json(value).is_ok_and(|pod| sum > pod) {
                let detail = format!(
                    "must be greater than or equal to aggregate container {member} of {sum}"
                );
                errors.push(Error::invalid(&at.key(&name), value, detail));
            }
        }
    }
    let containers = path.field("containers");
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (name, value) in map(&container["resources"], "limits") {
            let Some(pod) = own["limits"].get(name) else {
                continue;
            };
            let both = (Quantity::from_json(value), Quantity::from_json(pod));
            if matches!(&both, (Ok(limit), Ok(pod)) if limit > pod) {
                let at = containers.index(i);
                let at = at.key(name);
                let pod = pod.as_str().unwrap_or("");
                let detail = format!("must be less than or equal to pod limits of {pod}");
                errors.push(Error::invalid(&at.field("limits"), value, detail));
            }
        }
    }
}
