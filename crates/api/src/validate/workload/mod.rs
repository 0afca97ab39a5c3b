//! Controllers that keep Pods running.

mod stateful;
mod status;

pub(super) use stateful::{stateful_set, stateful_set_update};
pub(super) use status::{daemon_status, replica_status};

use super::checks::{
    Errors, at_most_all, count_or_percent, int, label_selector, labels, non_negative, same, some,
    text,
};
use super::pod;
use crate::field::{Bad, Error, Path};
use crate::internal;
use crate::intstr::IntOrString;
use crate::selector::LabelSelector;
use serde_json::Value;

/// Upstream says deployment of ReplicaSets too.
const WRONG: &str = "invalid label selector";

fn spec_path() -> Path<'static> {
    Path::root("spec")
}

/// Checks the selector; gives it in its parsed form when it has one.
///
/// `empty` is told of a selector that selects everything, `wrong` of one that can't be parsed.
fn selector(errors: &mut Errors, spec: &Value, empty: &str, wrong: &str) -> Option<LabelSelector> {
    let parent = spec_path();
    let path = parent.field("selector");
    let found = some(spec, "selector");
    match found {
        None => errors.push(Error::required(&path, "")),
        Some(selector) => {
            label_selector(errors, &path, selector);
            if is_empty_selector(selector) {
                errors.push(Error::invalid(&path, shown_selector(found), empty));
            }
        }
    }
    LabelSelector::from_object(found)
        .inspect_err(|_| errors.push(Error::invalid(&path, shown_selector(found), wrong)))
        .ok()
}

/// A selector as errors show it: with its members in Go's order.
pub(super) fn shown_selector(selector: Option<&Value>) -> Bad {
    internal::show("meta.LabelSelector", selector)
}

/// [`super::checks::immutable`], for a selector.
pub(super) fn selector_stays(errors: &mut Errors, old: &Value, new: &Value) {
    let (path, none) = (spec_path(), Value::Null);
    let found = some(new, "selector");
    if !same(
        some(old, "selector").unwrap_or(&none),
        found.unwrap_or(&none),
    ) {
        let detail = "field is immutable";
        errors.push(Error::invalid(
            &path.field("selector"),
            shown_selector(found),
            detail,
        ));
    }
}

fn is_empty_selector(selector: &Value) -> bool {
    let none = Value::Null;
    ["matchLabels", "matchExpressions"]
        .iter()
        .all(|member| same(&selector[*member], &none))
}

fn always_restarts(errors: &mut Errors, template: &Value, owner: &str) {
    let spec = spec_path();
    let template_path = spec.field("template");
    let path = template_path.field("spec");
    let pod = &template["spec"];
    let policy = text(pod, "restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(
            &path.field("restartPolicy"),
            policy,
            &["Always"],
        ));
    }
    if some(pod, "activeDeadlineSeconds").is_some() {
        let detail = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.push(Error::forbidden(
            &path.field("activeDeadlineSeconds"),
            detail,
        ));
    }
}

fn template(errors: &mut Errors, spec: &Value, selector: &LabelSelector, owner: &str) {
    let parent = spec_path();
    pod::selected_template(
        errors,
        &parent.field("template"),
        &spec["template"],
        selector,
    );
    always_restarts(errors, &spec["template"], owner);
}

pub(super) fn deployment(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], spec_path());
    non_negative(errors, &path, spec, "replicas");
    if let Some(selector) = selector(
        errors,
        spec,
        "empty selector is invalid for deployment",
        WRONG,
    ) {
        template(errors, spec, &selector, "ReplicaSet");
    }
    strategy(errors, &spec["strategy"]);
    non_negative(errors, &path, spec, "minReadySeconds");
    non_negative(errors, &path, spec, "revisionHistoryLimit");
    if some(spec, "progressDeadlineSeconds").is_some() {
        non_negative(errors, &path, spec, "progressDeadlineSeconds");
        let deadline = int(spec, "progressDeadlineSeconds");
        if deadline <= int(spec, "minReadySeconds") {
            let detail = "must be greater than minReadySeconds";
            errors.push(Error::invalid(
                &path.field("progressDeadlineSeconds"),
                deadline,
                detail,
            ));
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match IntOrString::from_json(value) {
        Some(IntOrString::Int(number)) => number == 0,
        Some(text) => text.percent().unwrap_or(0) == 0,
        None => true,
    }
}

fn strategy(errors: &mut Errors, strategy: &Value) {
    let spec = spec_path();
    let path = spec.field("strategy");
    let rolling_path = path.field("rollingUpdate");
    match (text(strategy, "type"), some(strategy, "rollingUpdate")) {
        ("Recreate", Some(_)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(Error::forbidden(&rolling_path, detail));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.push(Error::required(
                &rolling_path,
                "this should be defaulted and never be nil",
            ));
        }
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let unavailable_path = rolling_path.field("maxUnavailable");
            count_or_percent(errors, &unavailable_path, unavailable);
            count_or_percent(errors, &rolling_path.field("maxSurge"), surge);
            if is_zero(unavailable) && is_zero(surge) {
                errors.push(Error::invalid(
                    &unavailable_path,
                    unavailable,
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
            at_most_all(errors, &unavailable_path, unavailable);
        }
        _ => errors.push(Error::not_supported(
            &path,
            internal::show("apps.DeploymentStrategy", Some(strategy)),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

pub(super) fn replica_set(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], spec_path());
    non_negative(errors, &path, spec, "replicas");
    non_negative(errors, &path, spec, "minReadySeconds");
    if let Some(selector) = selector(
        errors,
        spec,
        "empty selector is invalid for deployment",
        WRONG,
    ) {
        template(errors, spec, &selector, "ReplicaSet");
    }
}

pub(super) fn replication_controller(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], spec_path());
    non_negative(errors, &path, spec, "minReadySeconds");
    let selector_path = path.field("selector");
    let own = spec.get("selector").and_then(Value::as_object);
    if own.is_none_or(serde_json::Map::is_empty) {
        errors.push(Error::required(&selector_path, ""));
    }
    labels(errors, &selector_path, spec.get("selector"));
    non_negative(errors, &path, spec, "replicas");
    match some(spec, "template") {
        None => errors.push(Error::required(&path.field("template"), "")),
        Some(_) => {
            if let Ok(selector) = LabelSelector::from_map(own) {
                template(errors, spec, &selector, "ReplicationController");
            }
        }
    }
}

pub(super) fn daemon_set(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], spec_path());
    let (template_path, selector_path) = (path.field("template"), path.field("selector"));
    let found = some(spec, "selector");
    if let Some(selector) = found {
        label_selector(errors, &selector_path, selector);
    }
    // Upstream does not say that the selector is missing: then it selects nothing, which does not match.
    let labels = spec["template"]["metadata"].get("labels");
    if let Ok(selector) = LabelSelector::from_object(found)
        && !selector.matches(labels.and_then(Value::as_object))
    {
        let meta = template_path.field("metadata");
        let detail = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&meta.field("labels"), labels, detail));
    }
    if found.is_some_and(is_empty_selector) {
        let detail = "empty selector is invalid for daemonset";
        errors.push(Error::invalid(
            &selector_path,
            shown_selector(found),
            detail,
        ));
    }
    pod::template(errors, &template_path, &spec["template"]);
    always_restarts(errors, &spec["template"], "DaemonSet");
    non_negative(errors, &path, spec, "minReadySeconds");
    daemon_strategy(errors, &spec["updateStrategy"]);
    non_negative(errors, &path, spec, "revisionHistoryLimit");
}

fn daemon_strategy(errors: &mut Errors, strategy: &Value) {
    let spec = spec_path();
    let path = spec.field("updateStrategy");
    let rolling_path = path.field("rollingUpdate");
    match (text(strategy, "type"), some(strategy, "rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(Error::required(&rolling_path, "")),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let (unavailable_path, surge_path) = (
                rolling_path.field("maxUnavailable"),
                rolling_path.field("maxSurge"),
            );
            count_or_percent(errors, &unavailable_path, unavailable);
            count_or_percent(errors, &surge_path, surge);
            at_most_all(errors, &unavailable_path, unavailable);
            at_most_all(errors, &surge_path, surge);
            match (is_zero(unavailable), is_zero(surge)) {
                (false, false) => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.push(Error::invalid(&surge_path, surge, detail));
                }
                (true, true) => errors.push(Error::required(
                    &unavailable_path,
                    "cannot be 0 when maxSurge is 0",
                )),
                _ => {}
            }
        }
        _ => errors.push(Error::not_supported(
            &path,
            internal::show("apps.DaemonSetUpdateStrategy", Some(strategy)),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}
