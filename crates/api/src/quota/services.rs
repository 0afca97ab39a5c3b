//! How Services count.

use serde_json::Value;

use crate::amounts::Amounts;
use crate::quantity::Quantity;

pub(super) fn counts_in(name: &str) -> bool {
    matches!(
        name,
        "count/services" | "services" | "services.nodeports" | "services.loadbalancers"
    )
}

pub(super) fn usage(service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    // Ports are not allocated yet when it is asked: the intent counts.
    let explicit = ports
        .iter()
        .filter(|port| port["nodePort"].as_i64().is_some_and(|n| n != 0))
        .count();
    let (balancers, node_ports) = match spec["type"].as_str() {
        Some("NodePort") => (0, ports.len()),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => (1, explicit),
        Some("LoadBalancer") => (1, ports.len()),
        _ => (0, 0),
    };
    [
        ("count/services", 1),
        ("services", 1),
        ("services.loadbalancers", balancers),
        ("services.nodeports", node_ports as i64),
    ]
    .into_iter()
    .map(|(name, n)| (name.to_owned(), Quantity::from_int(n)))
    .collect()
}
