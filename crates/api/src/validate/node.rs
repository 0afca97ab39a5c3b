//! Nodes, and what their kubelets say of them.
//!
//! Absent: the annotations of old that held taints and avoided Pods as JSON; nothing reads them.

use super::address;
use super::checks::{Errors, invalid_each, list, map, some, text};
use super::pod::{self, is_extended};
use crate::field::{Error, Path, quote};
use crate::internal;
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const FEATURE_MAX: usize = 253;
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

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
            let mut error = Error::duplicate(&at, internal::show("core.Taint", Some(taint)));
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}

/// What there is and what Pods may have of it.
fn amounts(errors: &mut Errors, status: &Value) {
    let root = Path::root("status");
    for member in ["capacity", "allocatable"] {
        let at = root.field(member);
        for (name, value) in map(status, member) {
            let whole = COUNTS.contains(&name.as_str()) || is_extended(name);
            pod::amount(errors, &at.field(name), value, whole);
        }
    }
}

fn swap(errors: &mut Errors, status: &Value) {
    let Some(capacity) = status
        .pointer("/nodeInfo/swap/capacity")
        .and_then(Value::as_i64)
    else {
        return;
    };
    if capacity <= 0 {
        let root = Path::root("metadata");
        let path = root.field("nodeSwapStatus");
        errors.push(Error::invalid(
            &path.field("capacity"),
            capacity,
            "must be greater than 0",
        ));
    }
}

/// Whether a name is `MyFeature` or `MyFeature/itsPart`.
fn is_feature(name: &str) -> bool {
    let mut segments = name.split('/');
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
    segments
        .next()
        .is_some_and(|s| word(s) && s.as_bytes()[0].is_ascii_uppercase())
        && segments.all(|s| word(s) && s.as_bytes()[0].is_ascii_alphabetic())
}

/// Features that a kubelet has (KEP-5328).
fn declared_features(errors: &mut Errors, status: &Value) {
    const FORM: &str = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
    let root = Path::root("status");
    let path = root.field("declaredFeatures");
    let all: Vec<&str> = list(status, "declaredFeatures")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (i, name) in all.iter().enumerate() {
        let why = match name.len() > FEATURE_MAX {
            true => names::max_length(FEATURE_MAX),
            false => FORM.to_owned(),
        };
        if name.len() > FEATURE_MAX || !is_feature(name) {
            let detail = format!("invalid feature name {}: {why}", quote(name));
            errors.push(Error::invalid(&path.index(i), *name, detail));
        }
        match all.get(i + 1) {
            Some(next) if next == name => errors.push(Error::duplicate(&path.index(i + 1), *next)),
            Some(next) if next < name => {
                let detail = "list must be sorted alphabetically";
                errors.push(Error::invalid(&path.index(i + 1), *next, detail));
            }
            _ => {}
        }
    }
}

fn pod_cidrs(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("podCIDRs");
    let all: Vec<&str> = list(spec, "podCIDRs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (i, cidr) in all.iter().enumerate() {
        address::cidr(errors, &path.index(i), cidr, false);
    }
    if all.len() < 2 {
        return;
    }
    let unread = all.iter().position(|cidr| address::prefix(cidr).is_none());
    if let Some(i) = unread {
        let mut error = Error::forbidden(
            &path,
            format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{i}]: <nil> (invalid CIDR address: {})",
                all[i]
            ),
        );
        error.kind = crate::field::Kind::Internal;
        errors.push(error);
    }
    let six = all.iter().filter(|cidr| cidr.contains(':')).count();
    let dual = unread.is_none() && six > 0 && six < all.len();
    if !dual || all.len() > 2 {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(Error::invalid(&path, some(spec, "podCIDRs"), detail));
    }
}

pub(super) fn node(errors: &mut Errors, node: &Value) {
    let (spec, status) = (&node["spec"], &node["status"]);
    taints(errors, spec);
    amounts(errors, status);
    swap(errors, status);
    declared_features(errors, status);
    pod_cidrs(errors, spec);
}

pub(super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    node(errors, new);
    changes(errors, old, new);
}

/// What an update of a Node or of its status can't change.
pub(super) fn changes(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec, parent) = (&old["spec"], &new["spec"], Path::root("spec"));
    amounts(errors, &new["status"]);
    declared_features(errors, &new["status"]);
    let status = Path::root("status");
    let addresses = status.field("addresses");
    let mut seen = HashSet::new();
    for (i, entry) in list(&new["status"], "addresses").iter().enumerate() {
        if !seen.insert((text(entry, "type"), text(entry, "address"))) {
            let shown = internal::show("core.NodeAddress", Some(entry));
            errors.push(Error::duplicate(&addresses.index(i), shown));
        }
    }
    let before = list(old_spec, "podCIDRs");
    if !before.is_empty() && before != list(spec, "podCIDRs") {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&parent.field("podCIDRs"), detail));
    }
    let (had, has) = (text(old_spec, "providerID"), text(spec, "providerID"));
    if !had.is_empty() && had != has {
        let detail = match has {
            "" => "field cannot be cleared once set",
            _ => "field cannot be modified once set",
        };
        errors.push(Error::invalid(
            &parent.field("providerID"),
            Value::Null,
            detail,
        ));
    }
    taints(errors, spec);
    if text(old_spec, "externalID") != text(spec, "externalID") {
        let detail = "may not be updated";
        errors.push(Error::forbidden(&parent.field("externalID"), detail));
    }
}
