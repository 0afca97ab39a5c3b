//! Which part of an object each endpoint may change.

use serde_json::Value;

use crate::call::Call;
use crate::object;

/// What the object will be when a client writes `wanted` to the endpoint: the endpoint's own part of it.
pub fn merge(call: &Call, old: &Value, wanted: Value) -> Value {
    match call.path.subresource.as_str() {
        "status" => status(old, wanted),
        "finalize" => finalize(old, wanted),
        _ => main(call, old, wanted),
    }
}

/// The status, and metadata except what only the main endpoint writes.
fn status(old: &Value, mut wanted: Value) -> Value {
    let mut next = old.clone();
    put(&mut next, "status", wanted["status"].take());
    let metadata = wanted["metadata"].take();
    put(&mut next, "metadata", metadata);
    // Upstream resets what a status update must not change.
    for member in ["finalizers", "ownerReferences"] {
        match &old["metadata"][member] {
            Value::Null => {}
            value => {
                let metadata = object::member_mut(&mut next, "metadata");
                metadata.entry(member).or_insert_with(|| value.clone());
            }
        }
    }
    next
}

fn finalize(old: &Value, wanted: Value) -> Value {
    let mut next = old.clone();
    let finalizers = wanted["spec"]["finalizers"].clone();
    let spec = object::member_mut(&mut next, "spec");
    match finalizers {
        Value::Null => spec.remove("finalizers"),
        list => spec.insert("finalizers".into(), list),
    };
    next
}

/// Everything but the status, where the status has an endpoint of its own.
fn main(call: &Call, old: &Value, mut wanted: Value) -> Value {
    if call.resource.subresource("status").is_some() {
        put(&mut wanted, "status", old["status"].clone());
    }
    wanted
}

fn put(object: &mut Value, member: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    match value {
        Value::Null => members.remove(member),
        value => members.insert(member.to_owned(), value),
    };
}
