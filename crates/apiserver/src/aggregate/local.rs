//! APIServices of what this server answers for itself: built-in groups, and custom resources as they come and go.

use std::collections::BTreeMap;

use karve_api::resource::Table;
use karve_store::{Op, Range, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::service::PREFIX;
use crate::object::Meta;
use crate::own;

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
const DEFINITIONS: &str = "/apiextensions.k8s.io/customresourcedefinitions/";

/// Upstream's order of the built-in groups, by the least priority of the group; and of versions other than `v1`.
const GROUPS: [(&str, i64); 22] = [
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("admissionregistration.k8s.io", 16700),
    ("apiextensions.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("storagemigration.k8s.io", 15800),
    ("internal.apiserver.k8s.io", 16000),
];

fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", "v1") => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        (_, "v1") => 15,
        _ => 9,
    }
}

fn object(group: &str, version: &str, priorities: (i64, i64), managed: &str) -> Value {
    let mut spec = json!({
        "version": version, "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {LABEL: managed}},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": crate::write::now(),
            "reason": "Local", "message": "Local APIServices are always available",
        }]},
    })
}

fn builtin() -> impl Iterator<Item = Value> {
    // What this API is registered in does not register itself.
    let served = Table::builtin()
        .group_versions()
        .filter(|(group, _)| *group != "apiregistration.k8s.io");
    served.filter_map(|(group, version)| {
        let (_, priority) = GROUPS.iter().find(|(name, _)| *name == group)?;
        let priorities = (*priority, version_priority(group, &version.name));
        Some(object(group, &version.name, priorities, "onstart"))
    })
}

/// The operations that make the APIServices of built-in groups that are missing.
pub fn missing(store: &Store) -> Vec<Op> {
    builtin()
        .filter_map(|service| own::create(store, service))
        .collect()
}

/// The APIServices that the stored definitions of custom resources need, by name.
fn wanted(definitions: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    for definition in definitions {
        let group = definition["spec"]["group"].as_str().unwrap_or_default();
        let versions = definition["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten();
        for version in versions.filter(|version| version["served"] == true) {
            let version = version["name"].as_str().unwrap_or_default();
            let service = object(group, version, (1000, 100), "true");
            wanted.insert(service.meta("name").to_owned(), service);
        }
    }
    wanted
}

/// Keeps the APIServices of custom resources as their definitions are, until `shutdown`.
pub async fn keep(store: Store, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let range = Range {
            prefix: DEFINITIONS,
            ..Range::default()
        };
        let (page, mut watch) = store
            .range_and_watch(&range)
            .expect("the present is always readable");
        let definitions = page
            .entries
            .iter()
            .filter_map(|entry| serde_json::from_slice(entry.value()).ok());
        let ops = changes(&store, wanted(definitions));
        if !ops.is_empty()
            && let Err(err) = store.commit(ops).await
        {
            tracing::debug!(
                err = &err as &dyn std::error::Error,
                "API services changed meanwhile"
            );
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            change = watch.next() => if matches!(change, Ok(None)) { return },
        }
    }
}

fn changes(store: &Store, mut wanted: BTreeMap<String, Value>) -> Vec<Op> {
    let range = Range {
        prefix: PREFIX,
        ..Range::default()
    };
    let entries = store
        .range(&range)
        .map(|page| page.entries)
        .unwrap_or_default();
    let mut ops = Vec::new();
    for entry in entries {
        let Ok(service) = serde_json::from_slice::<Value>(entry.value()) else {
            continue;
        };
        let kept = wanted.remove(service.meta("name")).is_some();
        if !kept && service["metadata"]["labels"][LABEL] == "true" {
            ops.push(Op::delete(entry.key().clone(), entry.revision()));
        }
    }
    ops.extend(
        wanted
            .into_values()
            .filter_map(|service| own::create(store, service)),
    );
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_group_has_its_place() {
        let names: Vec<String> = builtin().map(|s| s.meta("name").to_owned()).collect();
        assert_eq!(names.len(), Table::builtin().group_versions().count() - 1);
        assert!(names.contains(&"v1.".to_owned()) && names.contains(&"v2.autoscaling".to_owned()));
    }

    #[test]
    fn served_versions_of_definitions_are_wanted() {
        let definition = json!({"spec": {"group": "g.example.com", "versions": [
            {"name": "v1", "served": true}, {"name": "v2", "served": false}]}});
        let wanted = wanted([definition].into_iter());
        assert_eq!(wanted.keys().collect::<Vec<_>>(), ["v1.g.example.com"]);
        assert_eq!(
            wanted["v1.g.example.com"]["spec"]["groupPriorityMinimum"],
            1000
        );
    }
}
