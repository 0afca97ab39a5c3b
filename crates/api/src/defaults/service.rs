//! Defaults of Services.

use super::unset;
use serde_json::{Value, json};

const AFFINITY_SECONDS: u32 = 10_800;

/// Whether traffic from outside can reach it: what has an external traffic policy.
pub(crate) fn externally_accessible(spec: &Value) -> bool {
    match spec["type"].as_str() {
        Some("LoadBalancer" | "NodePort") => true,
        Some("ClusterIP") => !unset(spec.get("externalIPs")),
        _ => false,
    }
}

fn affinity(spec: &mut Value) {
    if unset(spec.get("sessionAffinity")) {
        spec["sessionAffinity"] = "None".into();
    }
    match spec["sessionAffinity"].as_str() {
        Some("None") => {
            spec.as_object_mut()
                .and_then(|s| s.remove("sessionAffinityConfig"));
        }
        Some("ClientIP")
            if unset(spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds")) =>
        {
            spec["sessionAffinityConfig"] =
                json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
        }
        _ => {}
    }
}

pub(super) fn service(service: &mut Value) {
    let spec = &mut service["spec"];
    if !spec.is_object() {
        return;
    }
    affinity(spec);
    if unset(spec.get("type")) {
        spec["type"] = "ClusterIP".into();
    }
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports.iter_mut().filter(|p| p.is_object()) {
            if unset(port.get("protocol")) {
                port["protocol"] = "TCP".into();
            }
            if unset(port.get("targetPort")) || port["targetPort"] == 0 {
                port["targetPort"] = port.get("port").cloned().unwrap_or_else(|| json!(0));
            }
        }
    }
    if externally_accessible(spec) && unset(spec.get("externalTrafficPolicy")) {
        spec["externalTrafficPolicy"] = "Cluster".into();
    }
    let kind = spec["type"].as_str().unwrap_or("");
    let balanced = kind == "LoadBalancer";
    if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer")
        && spec.get("internalTrafficPolicy").is_none_or(Value::is_null)
    {
        spec["internalTrafficPolicy"] = "Cluster".into();
    }
    if balanced {
        if unset(spec.get("allocateLoadBalancerNodePorts")) {
            spec["allocateLoadBalancerNodePorts"] = true.into();
        }
        let ingress = service
            .pointer_mut("/status/loadBalancer/ingress")
            .and_then(Value::as_array_mut);
        for entry in ingress.into_iter().flatten() {
            if !unset(entry.get("ip")) && unset(entry.get("ipMode")) {
                entry["ipMode"] = "VIP".into();
            }
        }
    }
}
