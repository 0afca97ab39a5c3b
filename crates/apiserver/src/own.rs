//! Objects that the server itself makes and changes, as upstream's does through its own API.

use karve_api::apply::{self, FieldSet, Writer};
use karve_api::resource::{Resource, Table};
use karve_store::{Op, Store};
use serde_json::Value;

use crate::object::{self, Meta};
use crate::{keys, write};

/// The manager that upstream's server is.
const MANAGER: &str = "kube-apiserver";

/// The operation that makes an object, unless there is one of its name.
pub fn create(store: &Store, mut object: Value) -> Option<Op> {
    let (group, version) = karve_api::resource::split_api_version(object["apiVersion"].as_str()?)?;
    let resource = Table::builtin().by_kind(group, version, object["kind"].as_str()?)?;
    let key = keys::key(resource, object.meta("namespace"), object.meta("name"));
    if store.get(&key).is_some() {
        return None;
    }
    karve_api::defaults::apply(resource, &mut object);
    record(resource, "", None, &mut object);
    object.set_meta("uid", uuid::Uuid::new_v4().to_string());
    object.set_meta("creationTimestamp", write::now());
    if let Some(ty) = resource.stored_type() {
        karve_api::schema::tidy::tidy(&mut object, ty);
    }
    Some(Op::create(key, object::encode(&object, resource)))
}

/// Notes that the server changed an object or (`subresource`) its status.
pub fn record(resource: &Resource, subresource: &str, old: Option<&Value>, new: &mut Value) {
    let Some(ty) = resource.shown_type() else {
        return;
    };
    let reset = match subresource {
        "status" => FieldSet::of_names(&[&["spec"]]),
        _ => FieldSet::default(),
    };
    let writer = Writer {
        manager: MANAGER,
        api_version: &resource.api_version(),
        subresource,
        time: &write::now(),
        reset: &reset,
    };
    apply::update_managers(old, new, ty, &writer);
}

/// The object with a configuration applied to its status, whoever else has a say in it.
pub fn apply_status(
    resource: &Resource,
    manager: &str,
    old: &Value,
    configuration: &Value,
) -> Option<Value> {
    let reset = FieldSet::of_names(&[&["spec"]]);
    let writer = Writer {
        manager,
        api_version: &resource.api_version(),
        subresource: "status",
        time: &write::now(),
        reset: &reset,
    };
    let ty = resource.shown_type()?;
    apply::apply(Some(old), configuration, ty, &resource.gvk(), &writer, true).ok()
}
