//! What the server itself decides about an object that is written, per kind and subresource.
//!
//! On create: identity, generation, and a status that the client does not choose. On update: which parts of the new
//! object count, and whether the generation moves. [`service`] and [`scale`] have the parts of their own resources.
//! Everything is a function of the objects and of what the caller passes in; absent: addresses and ports (allocated by
//! the server), managed fields (see [`crate::apply`]), and finding names from `generateName` (see
//! [`crate::names::generate`]).

mod claim;
mod create;
mod gates;
mod generation;
mod kinds;
pub(crate) mod pod_level;
pub mod qos;
pub mod scale;
pub mod service;
mod update;
pub mod warnings;

pub use create::{Caller, Creation, prepare_create};
pub use kinds::{
    creates_on_update, deletes_with_object, status_keeps_metadata, unconditional_update,
};
pub use update::prepare_update;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The members of an object, made if it has none.
fn members(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

/// Gives `to` the member that `from` has, or none.
fn copy_member(from: &Value, to: &mut Value, name: &str) {
    match from.get(name) {
        Some(value) => to[name] = value.clone(),
        None => {
            if let Some(members) = to.as_object_mut() {
                members.remove(name);
            }
        }
    }
}

/// Taints of devices tell since when they are there.
fn date_taints(slice: &mut Value, now: Timestamp) {
    let devices = slice
        .pointer_mut("/spec/devices")
        .and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten() {
            if taint["timeAdded"].is_null() {
                taint["timeAdded"] = crate::time::format(now).into();
            }
        }
    }
}

/// Of the Secrets that a ServiceAccount names, only the names count.
fn secret_names(account: &mut Value) {
    let secrets = account.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        secret.retain(|member, _| member == "name");
    }
}

#[cfg(test)]
mod tests;
