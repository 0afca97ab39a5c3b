//! HorizontalPodAutoscalers.

use super::checks::{Errors, int, list, required, some, text};
use crate::field::{Error, Path};
use serde_json::Value;

const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn autoscaler(errors: &mut Errors, hpa: &Value) {
    let (spec, path) = (&hpa["spec"], Path::root("spec"));
    let min = some(spec, "minReplicas").and_then(Value::as_i64);
    if let Some(min) = min.filter(|m| *m < 0) {
        errors.push(Error::invalid(
            &path.field("minReplicas"),
            min,
            super::checks::NOT_NEGATIVE,
        ));
    }
    let max = int(spec, "maxReplicas");
    let max_path = path.field("maxReplicas");
    if max < 0 {
        errors.push(Error::invalid(&max_path, max, "must be greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        errors.push(Error::invalid(
            &max_path,
            max,
            "must be greater than or equal to `minReplicas`",
        ));
    }
    let target = path.field("scaleTargetRef");
    for member in ["kind", "name"] {
        required(errors, &target, &spec["scaleTargetRef"], member);
    }
    // Also for a kind of the core group the version has to be written.
    if text(&spec["scaleTargetRef"], "apiVersion").is_empty() {
        let detail = "apiVersion must specify API group";
        errors.push(Error::invalid(&target.field("apiVersion"), "", detail));
    }
    metrics(errors, spec, min);
    if max == 0 {
        errors.push(Error::required(&max_path, ""));
    }
}

fn metrics(errors: &mut Errors, spec: &Value, min: Option<i64>) {
    let parent = Path::root("spec");
    let path = parent.field("metrics");
    let all = list(spec, "metrics");
    let mut scales_from_zero = false;
    for (i, metric) in all.iter().enumerate() {
        let at = path.index(i);
        let kind = text(metric, "type");
        scales_from_zero |= matches!(kind, "Object" | "External");
        match SOURCES.iter().find(|(name, _)| *name == kind) {
            None if kind.is_empty() => errors.push(Error::required(
                &at.field("type"),
                "must specify a metric source type",
            )),
            None => {
                let names = SOURCES.map(|(name, _)| name);
                errors.push(Error::not_supported(&at.field("type"), kind, &names));
            }
            Some((_, member)) if some(metric, member).is_none() => {
                let detail = "must populate information for the given metric source";
                errors.push(Error::required(&at.field(member), detail));
            }
            Some(_) => {}
        }
    }
    if min == Some(0) && !scales_from_zero {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(&path, detail));
    }
}
