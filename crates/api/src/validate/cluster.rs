//! Namespaces, Leases and Events.

use super::checks::{Errors, int, invalid_each, list, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

pub(super) fn namespace(errors: &mut Errors, namespace: &Value) {
    let spec = Path::root("spec");
    let path = spec.field("finalizers");
    for finalizer in list(&namespace["spec"], "finalizers")
        .iter()
        .filter_map(Value::as_str)
    {
        namespace_finalizer(errors, &path, finalizer);
    }
}

/// The finalizers of a Namespace through the subresource that changes them.
pub(super) fn namespace_finalize(errors: &mut Errors, namespace: &Value) {
    let spec = Path::root("spec");
    let path = spec.field("finalizers");
    let all = list(&namespace["spec"], "finalizers").iter().enumerate();
    for (i, finalizer) in all.filter_map(|(i, f)| Some((i, f.as_str()?))) {
        namespace_finalizer(errors, &path.index(i), finalizer);
    }
}

fn namespace_finalizer(errors: &mut Errors, path: &Path<'_>, finalizer: &str) {
    let wrong = names::qualified_name(finalizer);
    if wrong.is_empty() && !finalizer.contains('/') && finalizer != "kubernetes" {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(Error::invalid(path, finalizer, detail));
    }
    invalid_each(errors, path, finalizer, wrong);
}

/// A Namespace is on its way out exactly when it is being deleted. Upstream spells the field so.
pub(super) fn namespace_status(errors: &mut Errors, namespace: &Value) {
    let (root, phase) = (Path::root("status"), text(&namespace["status"], "phase"));
    let path = root.field("Phase");
    let deleting = some(&namespace["metadata"], "deletionTimestamp").is_some();
    let (wanted, detail) = match deleting {
        false => (
            "Active",
            "may only be 'Active' if `deletionTimestamp` is empty",
        ),
        true => (
            "Terminating",
            "may only be 'Terminating' if `deletionTimestamp` is not empty",
        ),
    };
    if phase != wanted {
        errors.push(Error::invalid(&path, phase, detail));
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
