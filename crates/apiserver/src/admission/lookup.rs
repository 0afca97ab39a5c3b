//! Reading other objects.

use std::sync::Arc;

use karve_api::resource::{Resource, Table};
use karve_store::{Entry, Range};
use serde_json::Value;

use crate::server::Server;
use crate::{convert, keys, object};

/// A built-in object of version `v1`.
pub fn get(
    server: &Server,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Option<Value> {
    let resource = Table::builtin().lookup(group, "v1", plural)?;
    let entry = server.store.get(&keys::key(resource, namespace, name))?;
    Some(object::decode(entry.value(), resource))
}

/// An object of any served resource, in the resource's version.
pub fn get_any(server: &Server, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
    let entry = server.store.get(&keys::key(resource, namespace, name))?;
    let stored = object::decode(entry.value(), resource);
    Some(convert::read_value(resource, stored))
}

/// All objects of any served resource (in a namespace, when it is not empty), in the resource's version.
pub fn list_any(server: &Server, resource: &Resource, namespace: &str) -> Vec<Value> {
    let prefix = keys::prefix(resource, namespace);
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let entries = server.store.range(&range).map(|page| page.entries);
    let decode =
        |entry: Arc<Entry>| convert::read_value(resource, object::decode(entry.value(), resource));
    entries.into_iter().flatten().map(decode).collect()
}

/// All objects of a built-in resource of version `v1` (in a namespace, when it is not empty), by name.
pub fn list(
    server: &Server,
    group: &str,
    plural: &str,
    namespace: &str,
) -> Vec<(Arc<Entry>, Value)> {
    let Some(resource) = Table::builtin().lookup(group, "v1", plural) else {
        return Vec::new();
    };
    let prefix = keys::prefix(resource, namespace);
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let entries = server.store.range(&range).map(|page| page.entries);
    let decode = |entry: Arc<Entry>| {
        let value = object::decode(entry.value(), resource);
        (entry, value)
    };
    entries.into_iter().flatten().map(decode).collect()
}
