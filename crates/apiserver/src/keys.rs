//! Where objects are in the store: `/GROUP/PLURAL/NAMESPACE/NAME`, the core group being `core`.

use karve_api::resource::Resource;

/// The prefix of a resource's objects, in one namespace or in all.
pub fn prefix(resource: &Resource, namespace: &str) -> String {
    let group = resource
        .storage
        .as_ref()
        .map_or(&*resource.group, |s| &*s.group);
    let group = if group.is_empty() { "core" } else { group };
    match namespace.is_empty() || !resource.namespaced {
        true => format!("/{group}/{}/", resource.plural),
        false => format!("/{group}/{}/{namespace}/", resource.plural),
    }
}

/// The prefix of a resource's objects, by its names alone.
pub fn collection(group: &str, plural: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("/{group}/{plural}/")
}

/// The key of one object.
pub fn key(resource: &Resource, namespace: &str, name: &str) -> String {
    let mut key = prefix(resource, namespace);
    key.push_str(name);
    key
}

/// Key of an object of a built-in resource of the core group.
pub fn core(plural: &str, namespace: &str, name: &str) -> String {
    match namespace.is_empty() {
        true => format!("/core/{plural}/{name}"),
        false => format!("/core/{plural}/{namespace}/{name}"),
    }
}
