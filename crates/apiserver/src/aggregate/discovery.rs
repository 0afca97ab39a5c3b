//! Groups and versions of other servers in this server's discovery.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use karve_api::resource::Table;
use serde_json::{Value, json};

use super::service::ApiService;
use crate::server::Server;

/// The groups that other servers answer for, most important first, each with its versions, preferred first.
fn remote_groups(server: &Server) -> Vec<(String, Vec<Arc<ApiService>>)> {
    let services = server.aggregation.services.snapshot();
    let mut groups: BTreeMap<String, Vec<Arc<ApiService>>> = BTreeMap::new();
    for service in services.iter() {
        // What is served here is not handed over.
        if super::remote(server, &service.group, &service.version).is_some() {
            groups
                .entry(service.group.clone())
                .or_default()
                .push(service.clone());
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, versions) in &mut groups {
        versions.sort_by_key(|service| Reverse(service.version_priority));
    }
    groups.sort_by_key(|(_, versions)| Reverse(priority(versions)));
    groups
}

fn priority(versions: &[Arc<ApiService>]) -> i64 {
    versions
        .iter()
        .map(|service| service.group_priority)
        .max()
        .unwrap_or_default()
}

/// Of groups of custom resources.
const CUSTOM_PRIORITY: i64 = 1000;

fn facts(group: &str, versions: &[Arc<ApiService>]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|service| {
            json!({"groupVersion": format!("{group}/{}", service.version), "version": service.version})
        })
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// `/apis/GROUP` of a group that is only elsewhere.
pub fn one_group(server: &Server, group: &str) -> Option<Value> {
    let groups = remote_groups(server);
    let (_, versions) = groups.iter().find(|(name, _)| name == group)?;
    let mut facts = facts(group, versions);
    facts["kind"] = "APIGroup".into();
    facts["apiVersion"] = "v1".into();
    Some(facts)
}

/// Whether another server answers for anything.
pub fn hands_over(server: &Server) -> bool {
    !remote_groups(server).is_empty()
}

/// Adds the groups of other servers to `/apis`.
pub fn merge_groups(server: &Server, document: &mut Value) {
    for (ahead, (group, versions)) in remote_groups(server).into_iter().enumerate() {
        let facts = facts(&group, &versions);
        merge(
            document,
            "groups",
            &facts,
            &group,
            priority(&versions),
            ahead,
        );
    }
}

fn merge(
    document: &mut Value,
    list: &str,
    added: &Value,
    group: &str,
    priority: i64,
    ahead: usize,
) {
    let Some(items) = document.get_mut(list).and_then(Value::as_array_mut) else {
        return;
    };
    let name = |item: &Value| {
        let name = item.get("name").or_else(|| item["metadata"].get("name"));
        name.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match items.iter_mut().find(|item| name(item) == group) {
        Some(same) => {
            let more = added["versions"].as_array().cloned().unwrap_or_default();
            if let Some(versions) = same.get_mut("versions").and_then(Value::as_array_mut) {
                versions.extend(more);
            }
        }
        None if priority >= CUSTOM_PRIORITY => {
            let builtin = Table::builtin();
            let served = |item: &Value| builtin.group(&name(item)).is_some();
            let place = items.iter().rposition(served).map_or(0, |last| last + 1);
            // Behind those of other servers, which are more important.
            let place = place + ahead.min(items.len() - place);
            items.insert(place, added.clone());
        }
        None => items.push(added.clone()),
    }
}

/// Adds what other servers serve to the aggregated document of `/apis`.
pub fn merge_aggregated(server: &Server, document: &mut Value) {
    for (ahead, (group, versions)) in remote_groups(server).into_iter().enumerate() {
        let priority = priority(&versions);
        let versions: Vec<Value> = versions
            .iter()
            .map(|service| {
                let discovered = server
                    .aggregation
                    .discovered
                    .lock()
                    .get(&service.name)
                    .cloned();
                version(service, discovered.as_deref())
            })
            .collect();
        let added = json!({
            "metadata": {"name": group, "creationTimestamp": null}, "versions": versions,
        });
        merge(document, "items", &added, &group, priority, ahead);
    }
}

/// A version as its server described it in the old form.
fn version(service: &ApiService, discovered: Option<&Value>) -> Value {
    let list = discovered.and_then(|document| document["resources"].as_array());
    let list = list.map_or(&[][..], Vec::as_slice);
    let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
    let kind = |resource: &Value| {
        let own = |member: &str, otherwise: &str| {
            let text = resource[member].as_str().filter(|text| !text.is_empty());
            text.unwrap_or(otherwise).to_owned()
        };
        json!({
            "group": own("group", &service.group),
            "version": own("version", &service.version),
            "kind": resource["kind"],
        })
    };
    let resources: Vec<Value> = list
        .iter()
        .filter(|resource| !name(resource).contains('/'))
        .map(|resource| {
            let plural = name(resource);
            let scope = match resource["namespaced"] == true {
                true => "Namespaced",
                false => "Cluster",
            };
            let mut entry = json!({
                "resource": plural, "responseKind": kind(resource), "scope": scope,
                "singularResource": resource["singularName"], "verbs": resource["verbs"],
            });
            for member in ["shortNames", "categories"] {
                if !resource[member].is_null() {
                    entry[member] = resource[member].clone();
                }
            }
            let below = format!("{plural}/");
            let subresources: Vec<Value> = list
                .iter()
                .filter_map(|sub| Some((sub, name(sub).strip_prefix(&below)?.to_owned())))
                .map(|(sub, name)| {
                    json!({"subresource": name, "responseKind": kind(sub), "verbs": sub["verbs"]})
                })
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = subresources.into();
            }
            entry
        })
        .collect();
    let freshness = match discovered.is_some() && service.available {
        true => "Current",
        false => "Stale",
    };
    json!({"version": service.version, "resources": resources, "freshness": freshness})
}

/// Adds the schemas of other servers to the index of `/openapi/v3`.
pub fn merge_index(server: &Server, document: &mut Value) {
    let groups = remote_groups(server);
    let services = groups.iter().flat_map(|(_, versions)| versions);
    let available = services.filter(|service| service.available);
    for service in available {
        let path = format!("apis/{}/{}", service.group, service.version);
        let url = format!("/openapi/v3/{path}");
        document["paths"][path] = json!({"serverRelativeURL": url});
    }
}
