//! Objects between the version that is stored and the version of the endpoint.
//!
//! Events are kept as `v1` and also served as `events.k8s.io/v1`, with other names for the same fields; autoscalers are
//! kept as `autoscaling/v2` and also served as v1. Custom objects are read as those of any version of their definition,
//! unless a webhook has to convert them (see [`crate::crd::conversion`]).

use std::borrow::Cow;

use bytes::Bytes;
use karve_api::convert::autoscaler;
use karve_api::resource::Resource;
use serde_json::Value;

use crate::object;

/// Stored name and the name in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 8] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingInstance", "reportingInstance"),
];

/// How the endpoint's version differs from the stored one.
#[derive(PartialEq, Eq)]
enum View {
    Same,
    NewEvent,
    OldAutoscaler,
}

fn view(resource: &Resource) -> View {
    match (&*resource.group, &*resource.version) {
        _ if resource.custom.is_some() => View::Same,
        ("events.k8s.io", _) => View::NewEvent,
        ("autoscaling", "v1") => View::OldAutoscaler,
        _ => View::Same,
    }
}

/// Whether the endpoint shows stored bytes as they are.
pub fn is_shown_as_stored(resource: &Resource) -> bool {
    resource.custom.is_none() && view(resource) == View::Same
}

/// Stored bytes as the endpoint shows them. Custom objects that are older than their definition are brought in line
/// with it.
pub fn read(resource: &Resource, stored: &Bytes) -> Bytes {
    if let Some(custom) = &resource.custom {
        let same = object::has_version(stored, &resource.api_version());
        let fresh = object::revision(stored).is_none_or(|r| r > custom.family.since);
        return match same && fresh {
            true => stored.clone(),
            false => object::encode_unstored(&object::decode(stored, resource), resource),
        };
    }
    if view(resource) == View::Same {
        return stored.clone();
    }
    let object: Value = serde_json::from_slice(stored).expect("the store holds what encode wrote");
    object::encode_shown(&read_value(resource, object), resource)
}

/// What selectors see of a stored object, with the names of the endpoint's version.
pub fn read_fields<'a>(resource: &Resource, skeleton: &'a Value) -> Cow<'a, Value> {
    match view(resource) {
        View::Same => Cow::Borrowed(skeleton),
        _ => Cow::Owned(read_value(resource, skeleton.clone())),
    }
}

/// An object that the endpoint took, as it is stored.
pub fn written(resource: &Resource, mut object: Value) -> Value {
    match view(resource) {
        View::Same => {}
        View::NewEvent => rename(&mut object, |(stored, shown)| (shown, stored)),
        View::OldAutoscaler => autoscaler::to_v2(&mut object),
    }
    object
}

/// What the cells of a Table are made of: autoscalers of v1 show the metrics of v2.
pub fn printed<'a>(resource: &Resource, object: &'a Value) -> Cow<'a, Value> {
    match view(resource) {
        View::OldAutoscaler => Cow::Owned(written(resource, object.clone())),
        _ => Cow::Borrowed(object),
    }
}

/// Whether conversion to the endpoint's version adds annotations.
pub fn annotates(resource: &Resource) -> bool {
    matches!(
        (&*resource.group, &*resource.plural),
        ("apps", "daemonsets") | ("autoscaling", _)
    )
}

/// Metadata as the server holds it in memory, which is what Tables and partial objects show: without the annotations
/// that conversion to a version adds.
pub fn internal_metadata(resource: &Resource, object: &Value) -> Value {
    const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
    let mut metadata = object["metadata"].clone();
    let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    else {
        return metadata;
    };
    match (&*resource.group, &*resource.plural) {
        ("apps", "daemonsets") => drop(annotations.remove(TEMPLATE_GENERATION)),
        ("autoscaling", _) => annotations.retain(|name, _| !autoscaler::is_own_annotation(name)),
        _ => return metadata,
    }
    if annotations.is_empty()
        && let Some(members) = metadata.as_object_mut()
    {
        members.remove("annotations");
    }
    metadata
}

fn rename(
    event: &mut Value,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(members) = event.as_object_mut() else {
        return;
    };
    for (from, to) in EVENT_FIELDS.map(direction) {
        if let Some(value) = members.remove(from) {
            members.insert(to.to_owned(), value);
        }
    }
}

/// A stored object as the endpoint shows it.
pub fn read_value(resource: &Resource, mut object: Value) -> Value {
    match view(resource) {
        View::Same => {}
        View::NewEvent => rename(&mut object, |(stored, shown)| (stored, shown)),
        View::OldAutoscaler => autoscaler::to_v1(&mut object),
    }
    object
}
