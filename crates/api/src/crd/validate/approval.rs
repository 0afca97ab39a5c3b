//! Groups of the Kubernetes community need an annotation that says where their API was approved.

use serde_json::Value;

use super::text;
use crate::field::{Error, Path};

const ANNOTATION: &str = "api-approved.kubernetes.io";

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Invalid,
    Approved,
    Bypassed,
    Missing,
}

fn is_protected(group: &str) -> bool {
    let below = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    below("k8s.io") || below("kubernetes.io")
}

fn annotation(definition: &Value) -> &str {
    text(&definition["metadata"]["annotations"], ANNOTATION)
}

fn state(definition: &Value) -> (State, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let value = annotation(definition);
    let needed = format!("protected groups must have approval annotation \"{ANNOTATION}\"");
    let quoted = crate::field::quote(value);
    if value.is_empty() {
        (State::Missing, format!("{needed}, {SEE}"))
    } else if value.starts_with("unapproved") {
        (State::Bypassed, format!("not approved: {quoted}"))
    } else if is_url(value) {
        (State::Approved, format!("approved in {value}"))
    } else {
        let either = "with either a URL or a reason starting with \"unapproved\"";
        (State::Invalid, format!("{needed} {either}, {SEE}"))
    }
}

fn is_url(value: &str) -> bool {
    let parts = value.split_once("://");
    let parts = parts.filter(|_| super::super::formats::Format::Uri.accepts(value));
    parts.is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.starts_with('/') && !rest.is_empty()
    })
}

/// What is wrong with the annotation of a new or changed definition. What it was may stay.
pub(super) fn error(definition: &Value, old: Option<&Value>) -> Option<Error> {
    if !is_protected(text(&definition["spec"], "group")) {
        return None;
    }
    let (now, reason) = state(definition);
    if old.is_some_and(|old| state(old).0 == now) {
        return None;
    }
    let root = Path::root("metadata");
    let annotations = root.field("annotations");
    let path = annotations.key(ANNOTATION);
    match now {
        State::Missing => Some(Error::required(&path, reason)),
        State::Invalid => Some(Error::invalid(&path, annotation(definition), reason)),
        State::Approved | State::Bypassed => None,
    }
}

/// The condition `KubernetesAPIApprovalPolicyConformant` of a definition of a protected group: status, reason, message.
pub fn condition(definition: &Value) -> Option<(&'static str, &'static str, String)> {
    if !is_protected(text(&definition["spec"], "group")) {
        return None;
    }
    let (state, message) = state(definition);
    let (status, reason) = match state {
        State::Invalid => ("False", "InvalidAnnotation"),
        State::Missing => ("False", "MissingAnnotation"),
        State::Approved => ("True", "ApprovedAnnotation"),
        State::Bypassed => ("False", "UnapprovedAnnotation"),
    };
    Some((status, reason, message))
}
