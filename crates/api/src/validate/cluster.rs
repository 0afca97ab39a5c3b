//! Nodes, Namespaces, Leases and Events.

use super::address;
use super::checks::{Errors, int, invalid_each, list, some, text};
use super::pod;
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

fn taints(errors: &mut Errors, spec: &Value) {
    // Upstream says metadata, though taints are in the spec.
    let meta = Path::root("metadata");
    let path = meta.field("taints");
    let mut seen = HashSet::new();
    for (i, taint) in list(spec, "taints").iter().enumerate() {
        let at = path.index(i);
        let (key, value, effect) = (
            text(taint, "key"),
            text(taint, "value"),
            text(taint, "effect"),
        );
        invalid_each(errors, &at.field("key"), key, names::qualified_name(key));
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.push(Error::invalid(&at.field("value"), value, wrong.join(";")));
        }
        match effect {
            "" => errors.push(Error::required(&at.field("effect"), "")),
            _ => pod::taint_effect(errors, &at.field("effect"), effect),
        }
        if !seen.insert((key, effect)) {
            let detail = "taints must be unique by key and effect pair";
            let mut error = Error::duplicate(&at, taint);
            error.detail = detail.to_owned();
            errors.push(error);
        }
    }
}

pub(super) fn node(errors: &mut Errors, node: &Value) {
    let spec = &node["spec"];
    taints(errors, spec);
    pod_cidrs(errors, spec);
}

fn pod_cidrs(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("podCIDRs");
    let all = list(spec, "podCIDRs");
    for (i, cidr) in all.iter().enumerate() {
        address::cidr(errors, &path.index(i), cidr.as_str().unwrap_or(""), false);
    }
    let six = |c: &Value| c.as_str().is_some_and(|t| t.contains(':'));
    if all.len() > 2 || (all.len() == 2 && six(&all[0]) == six(&all[1])) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(Error::invalid(&path, some(spec, "podCIDRs"), detail));
    }
}

pub(super) fn node_update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec, parent) = (&old["spec"], &new["spec"], Path::root("spec"));
    taints(errors, spec);
    pod_cidrs(errors, spec);
    let before = list(old_spec, "podCIDRs");
    if !before.is_empty() && before != list(spec, "podCIDRs") {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&parent.field("podCIDRs"), detail));
    }
    if !text(old_spec, "providerID").is_empty()
        && text(old_spec, "providerID") != text(spec, "providerID")
    {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(Error::forbidden(&parent.field("providerID"), detail));
    }
}

pub(super) fn namespace(errors: &mut Errors, namespace: &Value) {
    let spec = Path::root("spec");
    let path = spec.field("finalizers");
    for finalizer in list(&namespace["spec"], "finalizers")
        .iter()
        .filter_map(Value::as_str)
    {
        let wrong = names::qualified_name(finalizer);
        if wrong.is_empty() && !finalizer.contains('/') && finalizer != "kubernetes" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, finalizer, detail));
        }
        invalid_each(errors, &path, finalizer, wrong);
    }
}

pub(super) fn lease(errors: &mut Errors, lease: &Value) {
    let (spec, path) = (&lease["spec"], Path::root("spec"));
    if some(spec, "leaseDurationSeconds").is_some() && int(spec, "leaseDurationSeconds") <= 0 {
        let seconds = int(spec, "leaseDurationSeconds");
        errors.push(Error::invalid(
            &path.field("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    if int(spec, "leaseTransitions") < 0 {
        let count = int(spec, "leaseTransitions");
        errors.push(Error::invalid(
            &path.field("leaseTransitions"),
            count,
            super::checks::NOT_NEGATIVE,
        ));
    }
    lease_strategy(errors, spec);
}

/// How a leader is chosen (KEP-4355). Upstream names the field twice.
fn lease_strategy(errors: &mut Errors, spec: &Value) {
    const STRATEGY: &str = "OldestEmulationVersion";
    let root = Path::root("spec");
    let path = root.field("strategy");
    let strategy = some(spec, "strategy").and_then(Value::as_str);
    if let Some(word) = strategy {
        if !word.contains('/') && word != STRATEGY {
            errors.push(Error::not_supported(
                &path.field("strategy"),
                word,
                &[STRATEGY],
            ));
        } else if word.contains('/') {
            invalid_each(
                errors,
                &path.field("strategy"),
                word,
                names::qualified_name(word),
            );
        }
    }
    if !text(spec, "preferredHolder").is_empty() && strategy.is_none_or(str::is_empty) {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(Error::forbidden(&root.field("preferredHolder"), detail));
    }
}

/// An Event in its stored form, which is that of `v1`; `new_version` says that it came as `events.k8s.io/v1`.
pub(super) fn event(errors: &mut Errors, event: &Value, old: Option<&Value>, new_version: bool) {
    let path = Path::root("involvedObject");
    let (namespace, about) = (
        text(&event["metadata"], "namespace"),
        &event["involvedObject"],
    );
    let other = text(about, "namespace");
    let timed = some(event, "eventTime").is_some();
    let fits = match (timed, other) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, other) => other == namespace,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !fits {
        let detail = "does not match event.namespace";
        errors.push(Error::invalid(&path.field("namespace"), other, detail));
    }
    if timed {
        reported(errors, event, new_version);
    }
    match old {
        _ if !new_version => {}
        Some(old) => event_update(errors, old, event),
        None => new_event(errors, event),
    }
}

/// What an Event with a time of its own says of who reports it.
fn reported(errors: &mut Errors, event: &Value, new_version: bool) {
    const NOTE_MAX: usize = 1024;
    const WORD_MAX: usize = 128;
    let name = if new_version {
        "reportingController"
    } else {
        "reportingComponent"
    };
    let (path, controller) = (Path::root(name), text(event, "reportingComponent"));
    if controller.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    invalid_each(errors, &path, controller, names::qualified_name(controller));
    for (member, max, needed) in [
        ("reportingInstance", WORD_MAX, true),
        ("action", WORD_MAX, true),
        ("reason", WORD_MAX, true),
        ("message", NOTE_MAX, false),
    ] {
        let word = text(event, member);
        if word.is_empty() && needed {
            errors.push(Error::required(&Path::root(member), ""));
        }
        if word.len() > max {
            let detail = format!("can have at most {max} characters");
            errors.push(Error::invalid(&Path::root(member), "", detail));
        }
    }
}

fn series(errors: &mut Errors, event: &Value) {
    if let Some(series) = some(event, "series") {
        if int(series, "count") < 2 {
            errors.push(Error::invalid(
                &Path::root("series.count"),
                "",
                "should be at least 2",
            ));
        }
        if some(series, "lastObservedTime").is_none() {
            errors.push(Error::required(&Path::root("series.lastObservedTime"), ""));
        }
    }
}

fn new_event(errors: &mut Errors, event: &Value) {
    series(errors, event);
    if some(event, "eventTime").is_none() {
        errors.push(Error::required(&Path::root("eventTime"), ""));
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        let detail = format!("has invalid value: {kind}");
        errors.push(Error::invalid(&Path::root("type"), "", detail));
    }
    for member in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let set = match &event[member] {
            Value::Number(n) => n.as_i64() != Some(0),
            Value::Object(source) => source.values().any(|v| *v != ""),
            other => !other.is_null(),
        };
        if set {
            errors.push(Error::invalid(&Path::root(member), "", "needs to be unset"));
        }
    }
}

/// Only its series goes on.
fn event_update(errors: &mut Errors, old: &Value, new: &Value) {
    if !super::checks::same(&old["series"], &new["series"]) {
        series(errors, new);
    }
    for (member, shown) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        if !super::checks::same(&old[member], &new[member]) {
            let value = match member {
                "involvedObject" => {
                    crate::internal::show("core.ObjectReference", some(new, member))
                }
                "related" => crate::internal::show("*core.ObjectReference", some(new, member)),
                "source" => crate::internal::show("core.EventSource", some(new, member)),
                _ => some(new, member).into(),
            };
            errors.push(Error::invalid(
                &Path::root(shown),
                value,
                "field is immutable",
            ));
        }
    }
}
