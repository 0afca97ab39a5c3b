//! From API objects to the facts that the choice of a node needs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use karve_watch::ObjectName;
use kube::ResourceExt;

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service with addresses to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// Its UID.
    pub uid: String,
    /// The addresses.
    pub ips: BTreeSet<Ipv4Addr>,
    /// externalTrafficPolicy is Local: only a node with an endpoint is of use.
    pub local: bool,
}

impl Service {
    /// Reads a Service; `None` when there is nothing to announce.
    pub(super) fn parse(service: &core::Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
        if !is_load_balancer || spec.load_balancer_class.is_some() {
            return None;
        }
        let ingress = service
            .status
            .as_ref()?
            .load_balancer
            .as_ref()?
            .ingress
            .as_ref()?;
        let ips: BTreeSet<_> = ingress
            .iter()
            .filter_map(|i| i.ip.as_deref()?.parse().ok())
            .collect();
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let uid = service.uid().unwrap_or_default();
        (!ips.is_empty()).then_some(Self { uid, ips, local })
    }
}

/// A Node as a possible announcer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// It is Ready, and not excluded from load balancing.
    pub live: bool,
    /// Its own addresses.
    pub ips: BTreeSet<Ipv4Addr>,
}

impl Node {
    /// Reads a Node.
    pub(super) fn parse(node: &core::Node) -> Option<Self> {
        let status = node.status.as_ref();
        let conditions = status
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let is = |kind: &str| {
            conditions
                .iter()
                .any(|c| c.type_ == kind && c.status == "True")
        };
        let excluded = node.labels().contains_key(EXCLUDE);
        let addresses = status
            .and_then(|s| s.addresses.as_deref())
            .unwrap_or_default();
        Some(Self {
            live: is("Ready") && !is("NetworkUnavailable") && !excluded,
            ips: addresses
                .iter()
                .filter_map(|a| a.address.parse().ok())
                .collect(),
        })
    }
}

/// The nodes on which an EndpointSlice has ready endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SliceNodes {
    /// The Service of the slice.
    pub service: ObjectName,
    /// The nodes.
    pub nodes: BTreeSet<String>,
}

impl SliceNodes {
    /// Reads an EndpointSlice.
    pub(super) fn parse(slice: &EndpointSlice) -> Option<Self> {
        let service = slice.labels().get(SERVICE_NAME)?;
        let namespace = slice.namespace().unwrap_or_default();
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
            endpoint
                .conditions
                .as_ref()
                .and_then(|c| c.ready)
                .unwrap_or(true)
        });
        let nodes = ready
            .filter_map(|endpoint| endpoint.node_name.clone())
            .collect();
        Some(Self {
            service: ObjectName::new(&namespace, service),
            nodes,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_ready_nodes_are_live() {
        let node = |labels: Value, conditions: Value| {
            let object = json!({
                "metadata": {"name": "node1", "labels": labels},
                "status": {
                    "conditions": conditions,
                    "addresses": [
                        {"type": "InternalIP", "address": "192.168.64.2"},
                        {"type": "Hostname", "address": "node1"},
                    ],
                },
            });
            Node::parse(&serde_json::from_value(object).expect("a node")).expect("facts")
        };
        let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
        let cut_off = json!([
            {"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "True"},
        ]);
        let rows = [
            (json!({}), ready("True"), true),
            (json!({}), ready("False"), false),
            (json!({}), ready("Unknown"), false),
            (json!({}), json!([]), false),
            (json!({}), cut_off, false),
            (json!({EXCLUDE: ""}), ready("True"), false),
        ];
        for (labels, conditions, live) in rows {
            let facts = node(labels.clone(), conditions.clone());
            assert_eq!(facts.live, live, "{labels} {conditions}");
            assert_eq!(facts.ips, BTreeSet::from([Ipv4Addr::new(192, 168, 64, 2)]));
        }
    }

    #[test]
    fn slices_tell_the_nodes_of_ready_endpoints() {
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.244.1.1"], "conditions": {"ready": true}, "nodeName": "node1"},
                {"addresses": ["10.244.2.1"], "conditions": {"ready": false}, "nodeName": "node2"},
                {"addresses": ["10.244.3.1"], "nodeName": "node3"},
                {"addresses": ["192.0.2.1"]},
            ],
        }));
        let facts = SliceNodes::parse(&slice.expect("a slice")).expect("facts");
        assert_eq!(facts.service, ObjectName::new("default", "web"));
        assert_eq!(
            facts.nodes.into_iter().collect::<Vec<_>>(),
            ["node1", "node3"]
        );
    }
}
