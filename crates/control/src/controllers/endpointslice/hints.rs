//! Topology hints: where traffic to an endpoint should come from (KEP-3015). Those by the capacity of zones, which an
//! annotation asks for, are [`topology`](super::topology)'s.

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone},
};

use super::topology;

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

pub(super) fn zone_of(node: &Node) -> Option<&str> {
    node.metadata
        .labels
        .as_ref()?
        .get(ZONE_LABEL)
        .map(String::as_str)
}

/// Hints for one endpoint, as the Service's trafficDistribution asks.
pub(super) fn hints(service: &Service, endpoint: &Endpoint) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    if topology::is_asked_for(service) {
        return None;
    }
    let by_node = wish == "PreferSameNode";
    let by_zone = by_node || wish == "PreferClose" || wish == "PreferSameZone";
    let ready = endpoint
        .conditions
        .as_ref()
        .and_then(|conditions| conditions.ready);
    if !by_zone || ready == Some(false) {
        return None;
    }
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let zones = named(&endpoint.zone).map(|name| vec![ForZone { name }]);
    let nodes = named(&endpoint.node_name).map(|name| vec![ForNode { name }]);
    let hints = EndpointHints {
        for_zones: zones,
        for_nodes: nodes.filter(|_| by_node),
    };
    let any = hints.for_zones.is_some() || hints.for_nodes.is_some();
    any.then_some(hints)
}
