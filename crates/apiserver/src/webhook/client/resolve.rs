//! From a Service to an address that answers for it.

use std::net::{IpAddr, SocketAddr};

use karve_store::{Range, Store};
use rand::seq::IndexedRandom as _;
use serde_json::Value;

use crate::keys;

/// The label of an EndpointSlice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A ready endpoint of a Service's port, any of them.
///
/// DEVIATION: upstream asks the Service's cluster address unless `--enable-aggregator-routing` is set; this server may run
/// where no proxy serves cluster addresses.
pub fn endpoint(
    store: &Store,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<SocketAddr, String> {
    let service = store
        .get(&keys::core("services", namespace, name))
        .and_then(|entry| serde_json::from_slice::<Value>(entry.value()).ok())
        .ok_or_else(|| format!("service {} not found", karve_api::field::quote(name)))?;
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
    if !matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        return Err(format!(
            "unsupported service type {}",
            karve_api::field::quote(kind)
        ));
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let wanted = ports
        .filter(|p| p["port"] == port)
        .map(|p| p["name"].as_str().unwrap_or_default())
        .next();
    let Some(port_name) = wanted else {
        let name = karve_api::field::quote(name);
        return Err(format!("no service port {port} found for service {name}"));
    };
    ready(store, namespace, name, port_name)
}

/// A ready endpoint of the Service, any of them, with the number of the port of that name.
pub fn ready(
    store: &Store,
    namespace: &str,
    name: &str,
    port_name: &str,
) -> Result<SocketAddr, String> {
    let prefix = format!("/discovery.k8s.io/endpointslices/{namespace}/");
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let slices = store
        .range(&range)
        .map(|page| page.entries)
        .unwrap_or_default();
    let slices = slices
        .iter()
        .filter_map(|entry| serde_json::from_slice::<Value>(entry.value()).ok())
        .filter(|slice| slice["metadata"]["labels"][SERVICE_LABEL] == name);
    let ready: Vec<SocketAddr> = slices
        .flat_map(|slice| addresses(&slice, port_name))
        .collect();
    ready.choose(&mut rand::rng()).copied().ok_or_else(|| {
        let name = karve_api::field::quote(name);
        format!("no endpoints available for service {name}")
    })
}

/// The ready addresses of a slice, with the number of the port of that name.
fn addresses(slice: &Value, port_name: &str) -> Vec<SocketAddr> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let number = ports
        .filter(|port| port["name"].as_str().unwrap_or_default() == port_name)
        .find_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready
        .filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse::<IpAddr>().ok())
        .filter_map(|address| Some(SocketAddr::new(address, number?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_endpoints_of_the_named_port_are_found() {
        let slice = json!({
            "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
        });
        let found: Vec<String> = addresses(&slice, "b")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["10.0.0.1:2", "10.0.0.3:2"]);
        assert!(addresses(&slice, "c").is_empty());
    }
}
