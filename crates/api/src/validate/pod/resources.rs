//! Requests and limits.

use super::super::checks::{Errors, NOT_NEGATIVE, invalid_each, map, some, text};
use crate::field::{Error, Path};
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;

const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const STANDARD: [&str; 24] = [
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
    "services.loadbalancers",
    "count",
    "requests",
    "limits",
    "hugepages",
];

/// Whether a resource has a huge page's name.
fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether more than there is may be promised: not for huge pages and extended resources.
fn may_overcommit(name: &str) -> bool {
    !name.contains('/') && !is_hugepages(name) || name.starts_with("kubernetes.io/")
}

/// The name of a resource: qualified, and standard when it has no prefix.
pub(in super::super) fn resource_name(errors: &mut Errors, path: &Path<'_>, name: &str) -> bool {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        invalid_each(errors, path, name, wrong);
        return false;
    }
    let standard =
        STANDARD.contains(&name) || is_hugepages(name) || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !standard {
        errors.push(Error::invalid(
            path,
            name,
            "must be a standard resource type or fully qualified",
        ));
    }
    true
}

fn container_resource_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if !resource_name(errors, path, name) {
        return;
    }
    if !name.contains('/') && !CONTAINER.contains(&name) && !is_hugepages(name) {
        errors.push(Error::invalid(
            path,
            name,
            "must be a standard resource for containers",
        ));
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

/// `resources` of a container or a Pod.
pub(super) fn requirements(errors: &mut Errors, path: &Path<'_>, resources: &Value) {
    let (limits_path, requests_path) = (path.field("limits"), path.field("requests"));
    for (name, value) in map(resources, "limits") {
        let at = limits_path.key(name);
        container_resource_name(errors, &at, name);
        amount(errors, &at, value, name.contains('/'));
    }
    for (name, value) in map(resources, "requests") {
        let at = requests_path.key(name);
        container_resource_name(errors, &at, name);
        let request = amount(errors, &at, value, name.contains('/'));
        let limit = resources.get("limits").and_then(|l| some(l, name));
        let (Some(request), Some(limit_text)) = (request, limit) else {
            if limit.is_none() && !may_overcommit(name) {
                errors.push(Error::required(
                    &limits_path,
                    "Limit must be set for non overcommit resources",
                ));
            }
            continue;
        };
        let Ok(limit) = Quantity::from_json(limit_text) else {
            continue;
        };
        let relation = match may_overcommit(name) {
            false if request != limit => "equal to",
            true if request > limit => "less than or equal to",
            _ => continue,
        };
        let shown = text(&resources["limits"], name);
        errors.push(Error::invalid(
            &requests_path,
            value,
            format!("must be {relation} {name} limit of {shown}"),
        ));
    }
}
