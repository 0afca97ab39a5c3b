//! `/api`, `/apis` and what is below them: which groups, versions and resources there are.

use karve_api::resource::{Resource, Table};
use serde_json::{Value, json};

/// The aggregated document of `/api` (core) or `/apis`.
pub fn aggregated(table: &Table, core: bool) -> Value {
    let items: Vec<Value> = table
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        version.resources.iter().map(|r| aggregated_resource(r)).collect();
                    json!({"version": version.name, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = match core {
                true => json!({"creationTimestamp": null}),
                false => json!({"name": group.name, "creationTimestamp": null}),
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": scope,
        "singularResource": resource.singular,
        "verbs": resource.verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>(),
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource
            .subresources
            .iter()
            .map(|s| {
                json!({
                    "subresource": s.name,
                    "responseKind": {"group": s.kind.group, "version": s.kind.version, "kind": s.kind.kind},
                    "verbs": s.verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>(),
                })
            })
            .collect();
        value["subresources"] = subresources.into();
    }
    value
}
