//! Services: linked fields, values that a client may leave out, and fields that a change of type makes void.
//!
//! The server calls [`begin_create`] or [`begin_update`] before it allocates (and so before validation, as upstream:
//! api-surprises 32); [`super::prepare_update`] drops void fields afterwards.

use super::{copy_member, members};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

fn text<'a>(spec: &'a Value, name: &str) -> &'a str {
    spec.get(name).and_then(Value::as_str).unwrap_or("")
}

/// A list that is null or absent is empty.
fn list<'a>(spec: &'a Value, name: &str) -> &'a [Value] {
    spec.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn number(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether its type has cluster addresses (or `None` in their place).
pub fn needs_cluster_ip(spec: &Value) -> bool {
    matches!(
        text(spec, "type"),
        "ClusterIP" | "NodePort" | "LoadBalancer"
    )
}

/// Whether its type has node ports.
pub fn needs_node_port(spec: &Value) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

/// Whether it has a port for health checks.
pub fn needs_health_check_port(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

/// Whether it has no address by intention.
pub fn is_headless(spec: &Value) -> bool {
    match list(spec, "clusterIPs").first() {
        Some(first) => first == "None",
        None => text(spec, "clusterIP") == "None",
    }
}

/// An alias has no traffic of its own, so it has no policy for it, whatever the client says.
pub(super) fn drop_alias_policy(service: &mut Value) {
    if text(&service["spec"], "type") == "ExternalName" {
        drop_members(&mut service["spec"], &["internalTrafficPolicy"]);
    }
}

/// Before allocation on create: old clients set only `clusterIP`.
pub fn begin_create(service: &mut Value) {
    let spec = members(&mut service["spec"]);
    let plural_empty = spec
        .get("clusterIPs")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    let single = spec
        .get("clusterIP")
        .filter(|v| v.as_str().is_some_and(|s| !s.is_empty()));
    if let Some(single) = single.cloned()
        && plural_empty
    {
        spec.insert("clusterIPs".to_owned(), json!([single]));
    }
}

/// Before allocation on update: values that the client left out and the stored Service has.
pub fn begin_update(old: &Value, new: &mut Value) {
    let (old, new) = (&old["spec"], &mut new["spec"]);
    members(new);
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if text(new, "clusterIP").is_empty() {
            copy_member(old, new, "clusterIP");
        }
        if list(new, "clusterIPs").is_empty() && text(new, "clusterIP") == text(old, "clusterIP") {
            copy_member(old, new, "clusterIPs");
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        keep_node_ports(old, new);
    }
    if needs_health_check_port(old)
        && needs_health_check_port(new)
        && number(new, "healthCheckNodePort") == 0
    {
        copy_member(old, new, "healthCheckNodePort");
    }
    link_cluster_ips(old, new);
}

/// A port without a number gets the one that the port of its name has, unless another port took it.
fn keep_node_ports(old: &Value, new: &mut Value) {
    let wanted: HashSet<i64> = list(new, "ports")
        .iter()
        .map(|p| number(p, "nodePort"))
        .collect();
    let named: HashMap<&str, i64> = list(old, "ports")
        .iter()
        .map(|p| (text(p, "name"), number(p, "nodePort")))
        .collect();
    let ports = new.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports
        .into_iter()
        .flatten()
        .filter(|p| number(p, "nodePort") == 0)
    {
        let kept = named.get(text(port, "name")).copied().unwrap_or(0);
        if kept != 0 && !wanted.contains(&kept) {
            port["nodePort"] = kept.into();
        }
    }
}

/// `clusterIP` and `clusterIPs` are one value; a client that changes one means both.
fn link_cluster_ips(old: &Value, new: &mut Value) {
    let (before, after) = (text(old, "clusterIP"), text(new, "clusterIP"));
    let same_list = list(old, "clusterIPs") == list(new, "clusterIPs");
    if !list(old, "clusterIPs").is_empty() && list(new, "clusterIPs").is_empty() && before == after
    {
        return copy_member(old, new, "clusterIPs");
    }
    if before == after || !same_list {
        return;
    }
    match !before.is_empty() && after.is_empty() {
        true => {
            members(new).remove("clusterIPs");
        }
        false => new["clusterIPs"] = json!([after]),
    }
}

fn same(old: &Value, new: &Value, name: &str) -> bool {
    let present = |v: &Value| v.get(name).filter(|v| !v.is_null()).cloned();
    present(old) == present(new)
}

/// Drops fields that a change of type made void and that the client left as they were. One that it changed stays, and
/// validation tells.
pub(super) fn prepare_update(old: &Value, new: &mut Value) {
    let balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    let old_spec = &old["spec"];
    let spec = &mut new["spec"];
    members(spec);
    if needs_cluster_ip(old_spec) && !needs_cluster_ip(spec) {
        if same(old_spec, spec, "clusterIP") && same(old_spec, spec, "clusterIPs") {
            drop_members(spec, &["clusterIP", "clusterIPs"]);
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if same(old_spec, spec, name) {
                drop_members(spec, &[name]);
            }
        }
    }
    if needs_node_port(old_spec) && !needs_node_port(spec) {
        drop_node_ports(old_spec, spec);
    }
    if needs_health_check_port(old_spec)
        && !needs_health_check_port(spec)
        && same(old_spec, spec, "healthCheckNodePort")
    {
        drop_members(spec, &["healthCheckNodePort"]);
    }
    if balanced(old_spec) && !balanced(spec) {
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(old_spec, spec, name) {
                drop_members(spec, &[name]);
            }
        }
    }
    let accessible = |spec: &Value| needs_node_port(spec) || !list(spec, "externalIPs").is_empty();
    if accessible(old_spec) && !accessible(spec) && same(old_spec, spec, "externalTrafficPolicy") {
        drop_members(spec, &["externalTrafficPolicy"]);
    }
    let unbalanced = !balanced(spec);
    drop_alias_policy(new);
    if unbalanced {
        let status: &mut Map<String, Value> = members(&mut new["status"]);
        status.insert("loadBalancer".to_owned(), json!({}));
    }
}

fn drop_members(spec: &mut Value, names: &[&str]) {
    if let Some(spec) = spec.as_object_mut() {
        names.iter().for_each(|name| {
            spec.remove(*name);
        });
    }
}

/// Only when no port has a number that no port had before.
fn drop_node_ports(old: &Value, new: &mut Value) {
    let before: HashSet<i64> = list(old, "ports")
        .iter()
        .map(|p| number(p, "nodePort"))
        .collect();
    let mut numbers = list(new, "ports").iter().map(|p| number(p, "nodePort"));
    if !numbers.all(|n| n == 0 || before.contains(&n)) {
        return;
    }
    let ports = new.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        drop_members(port, &["nodePort"]);
    }
}
