//! The defaults that the server gives to fields that were not set.
//!
//! [`apply`] is what upstream's scheme does on decoding; it is idempotent and runs on create, update and patch. Constants
//! are lines of `table.tsv`; what depends on other fields are functions in `hooks` and `service`. [`admission`] has what
//! upstream's mutating admission plugins add to Pods, Nodes and volumes. Absent: allocated values (addresses, ports),
//! and what creation itself decides (see [`crate::strategy`]).

pub mod admission;
mod hooks;
mod service;
mod table;

use crate::resource::Resource;
use serde_json::Value;

/// Gives defaults to an object of a built-in kind. The object has the form in which it is decoded
/// (see [`crate::schema::tidy`]): what Go would leave out as empty is absent.
pub fn apply(resource: &Resource, object: &mut Value) {
    if !resource.is_custom() && object.is_object() {
        table::apply(&resource.group, &resource.kind, object);
    }
}

/// Whether a Go program would see the field as not set.
fn unset(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests;
