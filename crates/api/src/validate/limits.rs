//! ResourceQuotas and LimitRanges.

use super::checks::{Errors, invalid_each, list, map, some, text};
use super::pod::{self, container_resource_name, is_extended, may_overcommit};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

const QUOTA_NAMES: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const CONFLICTS: [(&str, &str); 2] = [
    ("BestEffort", "NotBestEffort"),
    ("Terminating", "NotTerminating"),
];

/// Whether quotas know a resource by this name.
fn is_quota_name(name: &str) -> bool {
    QUOTA_NAMES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// A list of amounts in a quota's spec or status.
fn amounts(errors: &mut Errors, path: &Path<'_>, node: &Value, member: &str) {
    let list_path = path.field(member);
    for (name, value) in map(node, member) {
        let at = list_path.key(name);
        pod::resource_name(errors, &at, name);
        if !name.contains('/') && !is_quota_name(name) {
            let detail = "must be a standard resource for quota";
            errors.push(Error::invalid(&at, name.as_str(), detail));
        }
        let whole = QUOTA_NAMES[10..].contains(&name.as_str()) || is_extended(name);
        pod::amount(errors, &at, value, whole);
    }
}

pub(super) fn resource_quota(errors: &mut Errors, quota: &Value) {
    let (spec, path) = (&quota["spec"], Path::root("spec"));
    amounts(errors, &path, spec, "hard");
    scopes(errors, spec);
    scope_selector(errors, spec);
}

/// The scopes of a quota are chosen once.
pub(super) fn resource_quota_update(errors: &mut Errors, old: &Value, new: &Value) {
    resource_quota(errors, new);
    let set = |quota: &Value| -> HashSet<String> {
        let scopes = list(&quota["spec"], "scopes").iter();
        scopes
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    if set(old) != set(new) {
        let spec = Path::root("spec");
        let shown = some(&new["spec"], "scopes");
        errors.push(Error::invalid(
            &spec.field("scopes"),
            shown,
            "field is immutable",
        ));
    }
}

pub(super) fn resource_quota_status(errors: &mut Errors, quota: &Value) {
    let path = Path::root("status");
    amounts(errors, &path, &quota["status"], "hard");
    amounts(errors, &path, &quota["status"], "used");
}

/// Whether a scope says something about a resource.
fn fits(scope: &str, name: &str) -> bool {
    let compute = || {
        matches!(
            name.trim_start_matches("requests.")
                .trim_start_matches("limits."),
            "cpu" | "memory"
        )
    };
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => name == "pods" || compute(),
        _ => true,
    }
}

/// Whether a scope is about none of the resources of one of the quota's amounts.
fn misfit(scope: &str, spec: &Value) -> bool {
    map(spec, "hard").any(|(name, _)| is_quota_name(name) && !fits(scope, name))
}

fn scopes(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("scopes");
    let shown = || some(spec, "scopes");
    let all: Vec<&str> = list(spec, "scopes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for scope in &all {
        if !SCOPES.contains(scope) {
            errors.push(Error::invalid(&path, shown(), "unsupported scope"));
        }
        if misfit(scope, spec) {
            let detail = "unsupported scope applied to resource";
            errors.push(Error::invalid(&path, shown(), detail));
        }
    }
    for (one, other) in CONFLICTS {
        if all.contains(&one) && all.contains(&other) {
            errors.push(Error::invalid(&path, shown(), "conflicting scopes"));
        }
    }
}

/// Scopes with values. Upstream names the lists without their places.
fn scope_selector(errors: &mut Errors, spec: &Value) {
    let Some(selector) = some(spec, "scopeSelector") else {
        return;
    };
    let (root, selector_path) = (Path::root("spec"), Path::root("spec.scopeSelector"));
    let path = selector_path.field("matchExpressions");
    let mut seen = HashSet::new();
    for one in list(selector, "matchExpressions") {
        let (scope, operator) = (text(one, "scopeName"), text(one, "operator"));
        let at = path.field("operator");
        if !SCOPES.contains(&scope) {
            errors.push(Error::invalid(
                &path.field("scopeName"),
                scope,
                "unsupported scope",
            ));
        }
        if misfit(scope, spec) {
            let shown = internal::show("core.ScopeSelector", Some(selector));
            errors.push(Error::invalid(
                &path,
                shown,
                "unsupported scope applied to resource",
            ));
        }
        let valueless = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if valueless && SCOPES.contains(&scope) && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                          ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                          ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&at, operator, detail));
        }
        let values = list(one, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.field("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(
                    &path.field("values"),
                    some(one, "values"),
                    detail,
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(Error::invalid(
                &at,
                operator,
                "not a valid selector operator",
            )),
        }
        seen.insert(scope);
    }
    for (one, other) in CONFLICTS {
        if seen.contains(one) && seen.contains(other) {
            let shown = some(spec, "scopes");
            let scopes = root.field("scopeSelector");
            errors.push(Error::invalid(
                &scopes.field("matchExpressions"),
                shown,
                "conflicting scopes",
            ));
        }
    }
}

pub(super) fn limit_range(errors: &mut Errors, range: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("limits");
    let mut seen = HashSet::new();
    for (i, item) in list(&range["spec"], "limits").iter().enumerate() {
        let at = path.index(i);
        let kind = text(item, "type");
        let kind_path = at.field("type");
        let wrong = names::qualified_name(kind);
        let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
        if wrong.is_empty() && !kind.contains('/') && !standard {
            let detail = "must be a standard limit type or fully qualified";
            errors.push(Error::invalid(&kind_path, kind, detail));
        }
        invalid_each(errors, &kind_path, kind, wrong);
        if !seen.insert(kind) {
            errors.push(Error::duplicate(&kind_path, kind));
        }
        limit_item(errors, &at, item, kind);
    }
}

fn limit_item(errors: &mut Errors, path: &Path<'_>, item: &Value, kind: &str) {
    let named = |errors: &mut Errors, member: &str| {
        let at = path.field(member);
        for (name, _) in map(item, member) {
            match kind {
                "Pod" | "Container" => container_resource_name(errors, &at.key(name), name),
                _ => drop(pod::resource_name(errors, &at.key(name), name)),
            }
        }
    };
    named(errors, "max");
    named(errors, "min");
    for member in ["default", "defaultRequest"] {
        if kind != "Pod" {
            named(errors, member);
        } else if map(item, member).next().is_some() {
            let detail = "may not be specified when `type` is 'Pod'";
            errors.push(Error::forbidden(&path.field(member), detail));
        }
    }
    let storage = |member: &str| item[member].get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.field("limits"), detail));
    }
    named(errors, "maxLimitRequestRatio");
    let members: &[&str] = match kind {
        "Pod" => &["max", "min", "maxLimitRequestRatio"],
        _ => &[
            "max",
            "min",
            "default",
            "defaultRequest",
            "maxLimitRequestRatio",
        ],
    };
    let names: BTreeSet<&String> = members
        .iter()
        .flat_map(|member| map(item, member).map(|(name, _)| name))
        .collect();
    for name in names {
        limit_amounts(errors, path, item, name, kind == "Pod");
    }
}

/// The five amounts of one resource, in order.
fn limit_amounts(errors: &mut Errors, path: &Path<'_>, item: &Value, name: &str, pod: bool) {
    let amount = |member: &str| -> Option<Quantity> {
        let value = item[member]
            .get(name)
            .filter(|_| !pod || !member.starts_with("default"))?;
        Quantity::from_json(value).ok()
    };
    // Where it is told, which value is shown there, and the words for both sides.
    let orders = [
        ("min", "max", "min", "min", "min", "max"),
        (
            "min",
            "defaultRequest",
            "defaultRequest",
            "defaultRequest",
            "min",
            "default request",
        ),
        (
            "defaultRequest",
            "max",
            "defaultRequest",
            "defaultRequest",
            "default request",
            "max",
        ),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "defaultRequest",
            "default request",
            "default limit",
        ),
        ("min", "default", "default", "min", "min", "default"),
        ("default", "max", "default", "max", "default", "max"),
    ];
    for (low, high, at, shown, low_word, high_word) in orders {
        if let (Some(below), Some(above)) = (amount(low), amount(high))
            && below > above
        {
            let detail =
                format!("{low_word} value {below} is greater than {high_word} value {above}");
            let list_path = path.field(at);
            errors.push(Error::invalid(
                &list_path.key(name),
                item[shown].get(name),
                detail,
            ));
        }
    }
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        let list_path = path.field("maxLimitRequestRatio");
        let shown = || item["maxLimitRequestRatio"].get(name);
        if ratio < Quantity::from_int(1) {
            let detail = format!("ratio {ratio} is less than 1");
            errors.push(Error::invalid(&list_path.key(name), shown(), detail));
        }
        if let (Some(min), Some(max)) = (amount("min"), amount("max"))
            && let Some(limit) = exceeded(&ratio, &min, &max)
        {
            let detail = format!("ratio {ratio} is greater than max/min = {limit}");
            errors.push(Error::invalid(&list_path.key(name), shown(), detail));
        }
    }
    if let (Some(default), Some(request)) = (amount("default"), amount("defaultRequest"))
        && !may_overcommit(name)
        && default != request
    {
        let detail = format!(
            "default value {default} must equal to defaultRequest value {request} in {name}"
        );
        let list_path = path.field("defaultRequest");
        errors.push(Error::invalid(
            &list_path.key(name),
            item["defaultRequest"].get(name),
            detail,
        ));
    }
}

/// The quotient of the bounds as Go's `%f` shows it, when the ratio is above it. Go's division by zero is infinite.
fn exceeded(ratio: &Quantity, min: &Quantity, max: &Quantity) -> Option<String> {
    const MILLI_MAX: i64 = i64::MAX / 1000;
    let fine = [ratio, min, max].iter().all(|q| q.value() < MILLI_MAX);
    let (ratio, min, max) = match fine {
        true => (
            ratio.milli_value() as f64 / 1000.0,
            min.milli_value(),
            max.milli_value(),
        ),
        false => (ratio.value() as f64, min.value(), max.value()),
    };
    let limit = max as f64 / min as f64;
    (ratio > limit).then(|| match limit.is_infinite() {
        true => "-Inf".to_owned(),
        false => format!("{limit:.6}"),
    })
}
