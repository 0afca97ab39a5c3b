//! Objects between the version that is stored and the version of the endpoint.
//!
//! Events are kept as `v1` and also served as `events.k8s.io/v1`, with other names for the same fields.
//!
//! DEVIATION: `autoscaling/v1` shows what `autoscaling/v2` stores without conversion.

use std::borrow::Cow;

use bytes::Bytes;
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

fn is_new_event(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

/// Stored bytes as the endpoint shows them.
pub fn read(resource: &Resource, stored: &Bytes) -> Bytes {
    match is_new_event(resource) {
        false => stored.clone(),
        true => {
            let mut event: Value =
                serde_json::from_slice(stored).expect("the store holds what encode wrote");
            rename(&mut event, |(stored, shown)| (stored, shown));
            object::encode_unstored(&event, resource)
        }
    }
}

/// What selectors see of a stored object, with the names of the endpoint's version.
pub fn read_fields<'a>(resource: &Resource, skeleton: &'a Value) -> Cow<'a, Value> {
    match is_new_event(resource) {
        false => Cow::Borrowed(skeleton),
        true => Cow::Owned(read_value(resource, skeleton.clone())),
    }
}

/// An object that the endpoint took, as it is stored.
pub fn written(resource: &Resource, mut object: Value) -> Value {
    if is_new_event(resource) {
        rename(&mut object, |(stored, shown)| (shown, stored));
    }
    object
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
    if is_new_event(resource) {
        rename(&mut object, |(stored, shown)| (stored, shown));
    }
    object
}
