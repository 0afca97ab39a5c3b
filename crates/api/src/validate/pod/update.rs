//! What of a Pod can change.

use super::super::checks::{Errors, list, some, text};
use super::own;
use crate::field::{Error, Path};
use crate::strategy::qos;
use serde_json::Value;
use std::collections::HashSet;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A changed Pod, its metadata already checked. Upstream adds a diff of the Go structs to the last text; it is left out
/// here (docs/deviations.md).
pub(in super::super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    own(errors, new);
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    for member in ["containers", "initContainers"] {
        if list(old_spec, member).len() != list(spec, member).len() {
            errors.push(Error::forbidden(
                &path.field(member),
                "pod updates may not add or remove containers",
            ));
            return;
        }
    }
    deadline(errors, old_spec, spec);
    let gates = |spec| -> HashSet<&str> {
        let all: &[Value] = list(spec, "schedulingGates");
        all.iter().map(|g| text(g, "name")).collect()
    };
    let before = gates(old_spec);
    let mut after = list(spec, "schedulingGates")
        .iter()
        .map(|g| text(g, "name"));
    if let Some(added) = after.find(|g| !before.contains(g)) {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{added}'");
        errors.push(Error::forbidden(&path.field("schedulingGates"), detail));
    }
    tolerations(errors, old_spec, spec);
    if !same_but_for_allowed(old_spec, spec, !before.is_empty()) {
        errors.push(Error::forbidden(&path, ALLOWED));
    }
}

/// A deadline can come, and then only get nearer.
fn deadline(errors: &mut Errors, old: &Value, new: &Value) {
    const MEMBER: &str = "activeDeadlineSeconds";
    let spec = Path::root("spec");
    let path = spec.field(MEMBER);
    let seconds = |spec: &Value| some(spec, MEMBER).and_then(Value::as_i64);
    match (seconds(old), seconds(new)) {
        (Some(old), Some(new)) if new > old => {
            errors.push(Error::invalid(
                &path,
                new,
                "must be less than or equal to previous value",
            ));
        }
        (Some(_), None) => errors.push(Error::invalid(
            &path,
            Value::Null,
            "must not update from a positive integer to nil value",
        )),
        _ => {}
    }
}

/// Tolerations can be added; an existing one may change its seconds only.
fn tolerations(errors: &mut Errors, old: &Value, new: &Value) {
    let spec = Path::root("spec");
    let keys = |spec| -> HashSet<[&str; 4]> {
        let all: &[Value] = list(spec, "tolerations");
        let key = |t| ["key", "operator", "value", "effect"].map(|member| text(t, member));
        all.iter().map(key).collect()
    };
    if !keys(old).is_subset(&keys(new)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(&spec.field("tolerations"), detail));
    }
}

/// The new spec with everything that may change put back.
fn same_but_for_allowed(old: &Value, new: &Value, gated: bool) -> bool {
    let mut munged = new.clone();
    for member in ["containers", "initContainers"] {
        let theirs = list(old, member);
        let ours = munged.get_mut(member).and_then(Value::as_array_mut);
        for (ours, theirs) in ours.into_iter().flatten().zip(theirs) {
            ours["image"] = theirs["image"].clone();
        }
    }
    let mut members = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if text(&munged, "terminationGracePeriodSeconds").is_empty() {
        let grace = |s: &Value| s["terminationGracePeriodSeconds"].as_i64();
        if grace(old).is_some_and(|g| g < 0) && grace(new) == Some(1) {
            members.push("terminationGracePeriodSeconds");
        }
    }
    // A Pod that waits for its gates may be narrowed to fewer nodes (KEP-3838).
    if gated {
        members.extend(["nodeSelector", "affinity"]);
    }
    for member in members {
        match some(old, member) {
            Some(value) => munged[member] = value.clone(),
            None => {
                if let Some(spec) = munged.as_object_mut() {
                    spec.remove(member);
                }
            }
        }
    }
    &munged == old
}

/// A Pod with more ephemeral containers: those that it has stay (KEP-277). Its metadata is already checked.
pub(in super::super) fn ephemeral(errors: &mut Errors, new: &Value) {
    own(errors, new);
}

/// A Pod with other requests and limits (KEP-1287): of cpu and memory only, and of the same class.
pub(in super::super) fn resize(errors: &mut Errors, old: &Value, new: &Value) {
    own(errors, new);
    let path = Path::root("spec");
    if qos::class(old) != qos::class(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&path, qos::class(new).as_str(), detail));
    }
    let mut munged = new["spec"].clone();
    for member in ["containers", "initContainers"] {
        let ours = munged.get_mut(member).and_then(Value::as_array_mut);
        let theirs = list(&old["spec"], member);
        for (ours, theirs) in ours.into_iter().flatten().zip(theirs) {
            put_back(&mut ours["resources"], &theirs["resources"]);
            if let Some(policy) = some(theirs, "resizePolicy") {
                ours["resizePolicy"] = policy.clone();
            }
        }
    }
    if let Some(before) = some(&old["spec"], "resources") {
        put_back(&mut munged["resources"], before);
    }
    if munged != old["spec"] {
        errors.push(Error::forbidden(
            &path,
            "only cpu and memory resources are mutable",
        ));
    }
}

/// Requests and limits of cpu and memory as they were.
fn put_back(resources: &mut Value, before: &Value) {
    for member in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            match before[member].get(name) {
                Some(amount) => resources[member][name] = amount.clone(),
                None => {
                    if let Some(amounts) = resources[member].as_object_mut() {
                        amounts.remove(name);
                    }
                }
            }
        }
        let empty = resources[member]
            .as_object()
            .is_none_or(serde_json::Map::is_empty);
        if empty && let Some(members) = resources.as_object_mut() {
            members.remove(member);
        }
    }
}
