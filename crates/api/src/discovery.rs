//! Discovery documents, made from a [`Table`].
//!
//! Old clients read `/api`, `/apis` and one document for each group and version; newer ones read everything in one
//! [`aggregated`] document (KEP-3352). Absent: negotiation, which is the server's.

use serde_json::{Value, json};

use crate::resource::{Group, Resource, Subresource, Table, Verbs, Version};

/// The media type of an aggregated document.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The version of Kubernetes that is served.
pub const GIT_VERSION: &str = "v1.37.2";

/// `/version`. The commit and the build date are the builder's.
pub fn version(git_commit: &str, build_date: &str, platform: &str) -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": git_commit,
        "gitTreeState": "clean",
        "buildDate": build_date,
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform,
    })
}

/// `/api`: the versions of the core group, and where clients reach the server (`HOST:PORT`).
pub fn core_versions(table: &Table, server_address: &str) -> Value {
    let versions = table
        .group("")
        .map(|g| g.versions.iter().map(|v| &*v.name).collect::<Vec<_>>())
        .unwrap_or_default();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`: all groups but the core group.
pub fn groups(table: &Table) -> Value {
    let groups: Vec<_> = named_groups(table).map(group_facts).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub fn group(group: &Group) -> Value {
    let mut facts = group_facts(group);
    facts["kind"] = "APIGroup".into();
    facts["apiVersion"] = "v1".into();
    facts
}

/// `/api/VERSION` and `/apis/GROUP/VERSION`.
pub fn resources(group: &str, version: &Version) -> Value {
    let mut list = Vec::new();
    for resource in &version.resources {
        list.push(resource_facts(resource));
        list.extend(
            resource
                .subresources
                .iter()
                .map(|sub| subresource_facts(resource, sub)),
        );
    }
    let mut document = json!({
        "kind": "APIResourceList",
        "groupVersion": group_version(group, &version.name),
        "resources": list,
    });
    // The oldest endpoint never learned to say its version.
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    document
}

/// `/api` (`core`) or `/apis` as one document with everything in it.
pub fn aggregated(table: &Table, core: bool) -> Value {
    let groups: Vec<_> = table
        .groups()
        .filter(|g| g.name.is_empty() == core)
        .map(aggregated_group)
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups})
}

fn named_groups(table: &Table) -> impl Iterator<Item = &Group> {
    table.groups().filter(|g| !g.name.is_empty())
}

fn group_version(group: &str, version: &str) -> String {
    match group.is_empty() {
        true => version.to_owned(),
        false => format!("{group}/{version}"),
    }
}

fn group_facts(group: &Group) -> Value {
    let versions: Vec<_> = group
        .versions
        .iter()
        .map(|v| json!({"groupVersion": group_version(&group.name, &v.name), "version": v.name}))
        .collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

fn verbs(verbs: Verbs) -> Vec<&'static str> {
    verbs.iter().map(|v| v.as_str()).collect()
}

/// Custom resources have another order, and take nothing new while their definition is being deleted.
fn resource_verbs(resource: &Resource) -> Vec<&'static str> {
    const CUSTOM: [&str; 8] = [
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ];
    let Some(custom) = &resource.custom else {
        return verbs(resource.verbs);
    };
    let changes = |verb: &&str| matches!(*verb, "patch" | "create" | "update");
    let kept = |verb: &&'static str| !custom.family.terminating || !changes(verb);
    CUSTOM.into_iter().filter(kept).collect()
}

/// Adds the members that are left out when empty.
fn with_names(mut facts: Value, resource: &Resource) -> Value {
    if !resource.short_names.is_empty() {
        facts["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        facts["categories"] = json!(resource.categories);
    }
    facts
}

fn resource_facts(resource: &Resource) -> Value {
    let facts = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource_verbs(resource),
    });
    let mut facts = with_names(facts, resource);
    if let Some(hash) = &resource.storage_version_hash {
        facts["storageVersionHash"] = json!(hash);
    }
    facts
}

fn subresource_facts(resource: &Resource, sub: &Subresource) -> Value {
    let mut facts = json!({
        "name": format!("{}/{}", resource.plural, sub.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind.kind,
        "verbs": verbs(sub.verbs),
    });
    if sub.foreign {
        facts["group"] = json!(sub.kind.group);
        facts["version"] = json!(sub.kind.version);
    }
    facts
}

fn aggregated_group(group: &Group) -> Value {
    let versions = group.versions.iter().map(|version| {
        let resources: Vec<_> = version
            .resources
            .iter()
            .map(|r| aggregated_resource(r))
            .collect();
        json!({"version": version.name, "resources": resources, "freshness": "Current"})
    });
    let metadata = if group.name.is_empty() {
        json!({})
    } else {
        json!({"name": group.name})
    };
    json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let facts = json!({
        "resource": resource.plural,
        // Upstream leaves the group and version of built-in kinds empty: they are those of the document.
        "responseKind": response_kind(resource.is_custom(), &resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource_verbs(resource),
    });
    let mut facts = with_names(facts, resource);
    if !resource.subresources.is_empty() {
        let subs = resource.subresources.iter().map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": response_kind(sub.foreign || resource.is_custom(), &sub.kind.group, &sub.kind.version, &sub.kind.kind),
                "verbs": verbs(sub.verbs),
            })
        });
        facts["subresources"] = Value::Array(subs.collect());
    }
    facts
}

fn response_kind(full: bool, group: &str, version: &str, kind: &str) -> Value {
    match full {
        true => json!({"group": group, "version": version, "kind": kind}),
        false => json!({"group": "", "version": "", "kind": kind}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(name: &str) -> Value {
        let text = match name {
            "api_v1" => include_str!("testdata/discovery/api_v1.json"),
            "apis" => include_str!("testdata/discovery/apis.json"),
            "apps_v1" => include_str!("testdata/discovery/apps_v1.json"),
            "api-aggregated" => include_str!("testdata/discovery/api-aggregated-v2.json"),
            "apis-aggregated" => include_str!("testdata/discovery/apis-aggregated-v2.json"),
            other => panic!("no recorded document {other}"),
        };
        serde_json::from_str(text).expect("recorded JSON")
    }

    #[test]
    fn documents_are_those_of_kube_apiserver() {
        let table = Table::builtin();
        assert_eq!(
            resources("", table.version("", "v1").expect("core")),
            recorded("api_v1")
        );
        assert_eq!(
            resources("apps", table.version("apps", "v1").expect("apps")),
            recorded("apps_v1")
        );
        assert_eq!(groups(table), recorded("apis"));
        assert_eq!(aggregated(table, true), recorded("api-aggregated"));
        assert_eq!(aggregated(table, false), recorded("apis-aggregated"));
        assert_eq!(
            group(table.group("apps").expect("apps"))["kind"],
            "APIGroup"
        );
        assert_eq!(
            core_versions(table, "10.0.0.1:6443")["versions"],
            json!(["v1"])
        );
    }
}
