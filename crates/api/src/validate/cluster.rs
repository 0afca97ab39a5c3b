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
}

/// An Event lives in the namespace of what it is about; about cluster objects in `default` or any other.
pub(super) fn event(errors: &mut Errors, event: &Value) {
    let path = Path::root("involvedObject");
    let namespace = text(&event["metadata"], "namespace");
    let about = match some(event, "involvedObject") {
        Some(object) => object,
        None => return,
    };
    let other = text(about, "namespace");
    let fits = match other {
        "" => {
            namespace == "default" || namespace == "kube-system" || text(about, "kind").is_empty()
        }
        other => other == namespace,
    };
    // Without a namespace the kind tells whether it should have one; the server does not know all kinds.
    if !fits && !other.is_empty() {
        errors.push(Error::invalid(
            &path.field("namespace"),
            other,
            "does not match event.namespace",
        ));
    }
}
