//! HorizontalPodAutoscalers, in the form of v2.

use super::checks::{Errors, int, invalid_each, list, non_negative, some, text};
use super::pod;
use crate::field::{Error, Path};
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;

const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;

/// Types of metrics, sorted, and their members.
const TYPES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// Members in the order in which they are looked at.
const SOURCES: [&str; 5] = [
    "object",
    "external",
    "pods",
    "resource",
    "containerResource",
];
const SELECT: [&str; 3] = ["Disabled", "Max", "Min"];

pub(super) fn autoscaler(errors: &mut Errors, old: Option<&Value>, hpa: &Value) {
    let (spec, path) = (&hpa["spec"], Path::root("spec"));
    // Upstream's generated validation tells these, and tells them last.
    let mut after = Errors::new();
    let min = some(spec, "minReplicas").and_then(Value::as_i64);
    if let Some(min) = min.filter(|m| *m < 0) {
        after.push(Error::invalid(
            &path.field("minReplicas"),
            min,
            super::checks::NOT_NEGATIVE,
        ));
    }
    let (max, max_path) = (int(spec, "maxReplicas"), path.field("maxReplicas"));
    if max == 0 {
        after.push(Error::required(&max_path, ""));
    } else if max < 0 {
        after.push(Error::invalid(
            &max_path,
            max,
            "must be greater than or equal to 1",
        ));
    }
    if min.is_some_and(|min| max < min) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(Error::invalid(&max_path, max, detail));
    }
    let (target, target_path) = (&spec["scaleTargetRef"], path.field("scaleTargetRef"));
    let before = old.map(|old| &old["spec"]["scaleTargetRef"]);
    let kept = before.is_some_and(|old| {
        ["apiVersion", "kind"]
            .iter()
            .all(|m| text(old, m) == text(target, m))
    });
    reference(errors, &target_path, target);
    if !kept {
        api_version(
            errors,
            &target_path,
            target,
            text(target, "kind") == "ReplicationController",
        );
    }
    let (metrics, metrics_path) = (list(spec, "metrics"), path.field("metrics"));
    for (i, each) in metrics.iter().enumerate() {
        metric(errors, &metrics_path.index(i), each);
    }
    let from_outside = metrics
        .iter()
        .any(|m| matches!(text(m, "type"), "Object" | "External"));
    if min == Some(0) && !from_outside {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(&metrics_path, detail));
    }
    let behavior = path.field("behavior");
    for member in ["scaleUp", "scaleDown"] {
        if let Some(rules) = some(&spec["behavior"], member) {
            scaling_rules(errors, &behavior.field(member), rules);
        }
    }
    errors.extend(after);
}

/// An object of any kind, by the parts of its path.
fn reference(errors: &mut Errors, path: &Path<'_>, object: &Value) {
    for member in ["kind", "name"] {
        let (at, word) = (path.field(member), text(object, member));
        match word {
            "" => errors.push(Error::required(&at, "")),
            _ => invalid_each(errors, &at, word, names::path_segment(word)),
        }
    }
}

fn api_version(errors: &mut Errors, path: &Path<'_>, object: &Value, core_too: bool) {
    let (version, path) = (text(object, "apiVersion"), path.field("apiVersion"));
    match version.matches('/').count() {
        0 if !core_too => {
            let detail = "apiVersion must specify API group";
            errors.push(Error::invalid(&path, version, detail));
        }
        0 | 1 => {}
        _ => {
            let detail = format!("unexpected GroupVersion string: {version}");
            errors.push(Error::invalid(&path, version, detail));
        }
    }
}

fn metric(errors: &mut Errors, path: &Path<'_>, metric: &Value) {
    let kind = text(metric, "type");
    let kinds = TYPES.map(|(kind, _)| kind);
    let own = TYPES
        .iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, member)| *member);
    if kind.is_empty() {
        errors.push(Error::required(
            &path.field("type"),
            "must specify a metric source type",
        ));
    }
    if own.is_none() {
        errors.push(Error::not_supported(&path.field("type"), kind, &kinds));
    }
    let present: Vec<&str> = SOURCES
        .into_iter()
        .filter(|m| some(metric, m).is_some())
        .collect();
    if let Some(first) = present.first() {
        source(errors, &path.field(first), first, &metric[*first]);
    }
    if let Some(own) = own.filter(|own| !present.contains(own)) {
        let detail = "must populate information for the given metric source";
        errors.push(Error::required(&path.field(own), detail));
    }
    if present.len() != 1 {
        for other in present.iter().filter(|m| Some(**m) != own) {
            let detail = "must populate the given metric source only";
            errors.push(Error::forbidden(&path.field(other), detail));
        }
    }
}

fn source(errors: &mut Errors, path: &Path<'_>, member: &str, source: &Value) {
    let target = &source["target"];
    let target_path = path.field("target");
    let set = |name: &str| some(target, name).is_some();
    match member {
        "object" => {
            let (object, at) = (&source["describedObject"], path.field("describedObject"));
            reference(errors, &at, object);
            api_version(errors, &at, object, true);
            identifier(errors, &path.field("metric"), &source["metric"]);
        }
        "external" | "pods" => identifier(errors, &path.field("metric"), &source["metric"]),
        _ => {
            let name = text(source, "name");
            match name {
                "" => errors.push(Error::required(
                    &path.field("name"),
                    "must specify a resource name",
                )),
                _ if member == "containerResource" => {
                    pod::container_resource_name(errors, &path.field("name"), name);
                }
                _ => {}
            }
            if member == "containerResource" {
                let container = text(source, "container");
                let at = path.field("container");
                match container {
                    "" => errors.push(Error::required(&at, "must specify a container")),
                    _ => invalid_each(errors, &at, container, names::dns1123_label(container)),
                }
            }
        }
    }
    self::target(errors, &target_path, target);
    let (value, average, utilization) =
        (set("value"), set("averageValue"), set("averageUtilization"));
    let average_path = target_path.field("averageValue");
    match member {
        "object" if !value && !average => {
            let detail = "must set either a target value or averageValue";
            errors.push(Error::required(&average_path, detail));
        }
        "external" if !value && !average => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.push(Error::required(&average_path, detail));
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&target_path.field("value"), detail));
        }
        "pods" if !average => {
            errors.push(Error::required(
                &average_path,
                "must specify a positive target averageValue",
            ));
        }
        "resource" | "containerResource" if !utilization && !average => {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(Error::required(
                &target_path.field("averageUtilization"),
                detail,
            ));
        }
        "resource" | "containerResource" if utilization && average => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(Error::forbidden(&average_path, detail));
        }
        _ => {}
    }
}

fn target(errors: &mut Errors, path: &Path<'_>, target: &Value) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(Error::required(
            &path.field("type"),
            "must specify a metric target type",
        ));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&path.field("type"), kind, detail));
    }
    for member in ["value", "averageValue"] {
        if let Some(value) = some(target, member)
            && Quantity::from_json(value).is_ok_and(|q| q.is_zero() || q.is_negative())
        {
            errors.push(Error::invalid(
                &path.field(member),
                value,
                "must be positive",
            ));
        }
    }
    if let Some(percent) = some(target, "averageUtilization").and_then(Value::as_i64)
        && percent < 1
    {
        errors.push(Error::invalid(
            &path.field("averageUtilization"),
            percent,
            "must be greater than 0",
        ));
    }
}

fn identifier(errors: &mut Errors, path: &Path<'_>, metric: &Value) {
    let (name, at) = (text(metric, "name"), path.field("name"));
    match name {
        "" => errors.push(Error::required(&at, "must specify a metric name")),
        _ => invalid_each(errors, &at, name, names::path_segment(name)),
    }
}

/// How fast replicas come or go (KEP-853).
fn scaling_rules(errors: &mut Errors, path: &Path<'_>, rules: &Value) {
    let (window, at) = (
        int(rules, "stabilizationWindowSeconds"),
        path.field("stabilizationWindowSeconds"),
    );
    if window < 0 {
        errors.push(Error::invalid(
            &at,
            window,
            "must be greater than or equal to zero",
        ));
    }
    if window > WINDOW_MAX {
        let detail = format!("must be less than or equal to {WINDOW_MAX}");
        errors.push(Error::invalid(&at, window, detail));
    }
    if let Some(policy) = some(rules, "selectPolicy").and_then(Value::as_str)
        && !SELECT.contains(&policy)
    {
        errors.push(Error::not_supported(
            &path.field("selectPolicy"),
            policy,
            &SELECT,
        ));
    }
    let (policies, at) = (list(rules, "policies"), path.field("policies"));
    if policies.is_empty() {
        errors.push(Error::required(&at, "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let at = at.index(i);
        let kind = text(policy, "type");
        if !matches!(kind, "Pods" | "Percent") {
            errors.push(Error::not_supported(
                &at.field("type"),
                kind,
                &["Percent", "Pods"],
            ));
        }
        for member in ["value", "periodSeconds"] {
            if int(policy, member) <= 0 {
                let shown = int(policy, member);
                errors.push(Error::invalid(
                    &at.field(member),
                    shown,
                    "must be greater than zero",
                ));
            }
        }
        let period = int(policy, "periodSeconds");
        if period > PERIOD_MAX {
            let detail = format!("must be less than or equal to {PERIOD_MAX}");
            errors.push(Error::invalid(&at.field("periodSeconds"), period, detail));
        }
    }
    if let Some(tolerance) = some(rules, "tolerance")
        && Quantity::from_json(tolerance).is_ok_and(|q| q.is_negative())
    {
        let detail = super::checks::NOT_NEGATIVE;
        errors.push(Error::invalid(&path.field("tolerance"), tolerance, detail));
    }
}

pub(super) fn status(errors: &mut Errors, hpa: &Value) {
    let (status, path) = (&hpa["status"], Path::root("status"));
    let conditions = path.field("conditions");
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        non_negative(
            errors,
            &conditions.index(i),
            condition,
            "observedGeneration",
        );
    }
    for member in ["currentReplicas", "desiredReplicas"] {
        non_negative(errors, &path, status, member);
    }
}
