//! Controllers that keep Pods running.

use super::checks::{
    Errors, at_most_all, count_or_percent, immutable, int, label_selector, labels, non_negative,
    some, text,
};
use super::pod;
use crate::field::{Bad, Error, Path};
use crate::intstr::IntOrString;
use crate::selector::LabelSelector;
use serde_json::Value;

fn spec_path() -> Path<'static> {
    Path::root("spec")
}

/// Checks the selector; gives it in its parsed form when it has one.
fn selector(errors: &mut Errors, spec: &Value, empty: &str) -> Option<LabelSelector> {
    let parent = spec_path();
    let path = parent.field("selector");
    let found = some(spec, "selector");
    match found {
        None => errors.push(Error::required(&path, "")),
        Some(selector) => {
            label_selector(errors, &path, selector);
            let none = |member: &str| {
                selector
                    .get(member)
                    .is_none_or(|v| v.is_null() || *v == Value::Array(Vec::new()))
            };
            if none("matchLabels") && none("matchExpressions") {
                errors.push(Error::invalid(&path, selector, empty));
            }
        }
    }
    LabelSelector::from_object(found)
        .inspect_err(|_| errors.push(Error::invalid(&path, found, "invalid label selector")))
        .ok()
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
    if let Some(selector) = selector(errors, spec, "empty selector is invalid for deployment") {
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

/// Go's marshalling of a strategy, which has no JSON names.
fn go_strategy(strategy: &Value) -> Bad {
    let rolling = match some(strategy, "rollingUpdate") {
        None => "null".to_owned(),
        Some(rolling) => format!(
            r#"{{"MaxUnavailable":{},"MaxSurge":{}}}"#,
            rolling["maxUnavailable"], rolling["maxSurge"]
        ),
    };
    Bad::Text(format!(
        r#"{{"Type":{},"RollingUpdate":{rolling}}}"#,
        strategy["type"]
    ))
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
            go_strategy(strategy),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

pub(super) fn replica_set(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], spec_path());
    non_negative(errors, &path, spec, "replicas");
    non_negative(errors, &path, spec, "minReadySeconds");
    if let Some(selector) = selector(errors, spec, "empty selector is invalid for deployment") {
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
    let template_path = path.field("template");
    // Upstream does not say that the selector is missing; that it does not match is enough.
    let found = match some(spec, "selector") {
        Some(_) => selector(errors, spec, "empty selector is invalid for daemonset"),
        None => Some(LabelSelector::nothing()),
    };
    match found {
        Some(selector) => {
            pod::selected_template(errors, &template_path, &spec["template"], &selector)
        }
        None => pod::template(errors, &template_path, &spec["template"]),
    }
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
            at_most_all(errors, &unavailable_path, unavailable);
            count_or_percent(errors, &surge_path, surge);
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
            go_strategy(strategy),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}

pub(super) fn stateful_set(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], spec_path());
    let policy = text(spec, "podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        errors.push(Error::invalid(
            &path.field("podManagementPolicy"),
            policy,
            detail,
        ));
    }
    let strategy = &spec["updateStrategy"];
    let strategy_path = path.field("updateStrategy");
    let rolling = some(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "RollingUpdate" => {
            if let Some(rolling) = rolling {
                non_negative(
                    errors,
                    &strategy_path.field("rollingUpdate"),
                    rolling,
                    "partition",
                );
            }
        }
        "OnDelete" if rolling.is_some() => {
            let detail = format!("only allowed for updateStrategy '{}'", "RollingUpdate");
            errors.push(Error::invalid(
                &strategy_path.field("rollingUpdate"),
                rolling,
                detail,
            ));
        }
        "OnDelete" => {}
        _ => errors.push(Error::invalid(
            &strategy_path,
            go_strategy(strategy),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    let retention_path = path.field("persistentVolumeClaimRetentionPolicy");
    for member in ["whenDeleted", "whenScaled"] {
        let word = text(retention, member);
        if !matches!(word, "Retain" | "Delete") {
            let supported = ["Delete", "Retain"];
            errors.push(Error::not_supported(
                &retention_path.field(member),
                word,
                &supported,
            ));
        }
    }
    non_negative(errors, &path, spec, "replicas");
    non_negative(errors, &path, spec, "minReadySeconds");
    if let Some(ordinals) = some(spec, "ordinals") {
        non_negative(errors, &path.field("ordinals"), ordinals, "start");
    }
    let service = text(spec, "serviceName");
    if !service.is_empty() {
        let texts = crate::names::dns1123_label(service);
        super::checks::invalid_each(errors, &path.field("serviceName"), service, texts);
    }
    if let Some(selector) = selector(errors, spec, "empty selector is invalid for statefulset") {
        template(errors, spec, &selector, "StatefulSet");
    }
}

/// Most of a StatefulSet can't change.
pub(super) fn stateful_set_update(errors: &mut Errors, old: &Value, new: &Value) {
    const CHANGEABLE: [&str; 8] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "podManagementPolicy",
    ];
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], spec_path());
    for member in ["podManagementPolicy", "selector", "serviceName"] {
        immutable(errors, &path, old_spec, spec, member);
    }
    let rest = |spec: &Value| {
        let mut rest = spec.clone();
        if let Some(members) = rest.as_object_mut() {
            members.retain(|name, _| {
                !CHANGEABLE.contains(&&**name) && !matches!(&**name, "selector" | "serviceName")
            });
        }
        rest
    };
    if rest(old_spec) != rest(spec) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(Error::forbidden(&path, detail));
    }
    if errors.is_empty() {
        stateful_set(errors, new);
    }
}

/// Counts of replicas in a status.
pub(super) fn replica_status(errors: &mut Errors, plural: &str, status: &Value) {
    let path = Path::root("status");
    let counts: &[&str] = match plural {
        "deployments" => &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "statefulsets" => &[
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
        ],
        _ => &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    };
    non_negative(errors, &path, status, "replicas");
    for member in counts.iter().chain(&[
        "unavailableReplicas",
        "observedGeneration",
        "collisionCount",
    ]) {
        non_negative(errors, &path, status, member);
    }
    let all = int(status, "replicas");
    for member in counts {
        let count = int(status, member);
        if count > all {
            errors.push(Error::invalid(
                &path.field(member),
                count,
                "cannot be greater than status.replicas",
            ));
        }
    }
    let (ready, available) = (
        int(status, "readyReplicas"),
        int(status, "availableReplicas"),
    );
    if available > ready {
        let detail = "cannot be greater than readyReplicas";
        errors.push(Error::invalid(
            &path.field("availableReplicas"),
            available,
            detail,
        ));
    }
}
