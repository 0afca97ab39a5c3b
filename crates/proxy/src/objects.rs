//! From API objects to the facts that planning needs. Parsed once, at the edge.
//!
//! What is not proxied becomes `None` here: ExternalName, headless Services, those of another proxy
//! (label `service.kubernetes.io/service-proxy-name`), and the other address family.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use karve_watch::ObjectName;

use crate::dataplane::Protocol;

const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty when it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port on the Service's addresses.
    pub port: u16,
    /// The port on the nodes' addresses.
    pub node_port: Option<u16>,
}

/// What matters of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its cluster IP.
    pub cluster_ip: Ipv4Addr,
    /// `externalIPs`, and the load balancer addresses of ipMode VIP.
    pub external_ips: Vec<Ipv4Addr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// internalTrafficPolicy is Local.
    pub internal_local: bool,
    /// externalTrafficPolicy is Local.
    pub external_local: bool,
    /// Session affinity ClientIP, in seconds.
    pub affinity: Option<u32>,
}

/// A port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the endpoints.
    pub port: u16,
}

/// Where an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this node.
    Here,
    /// On another node.
    Elsewhere,
    /// The slice does not say.
    Unknown,
}

/// An endpoint of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Takes new connections.
    pub ready: bool,
    /// Is able to answer, even if it is terminating.
    pub serving: bool,
    /// Is about to go.
    pub terminating: bool,
    /// Where it is.
    pub place: Place,
}

/// What matters of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its ports.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl Service {
    /// Reads a Service; `None` when it is not proxied.
    pub fn parse(service: &core::Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        if not_ours(&service.metadata) || spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let cluster_ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let cluster_ip = cluster_ips.filter_map(|ip| ip.parse().ok()).next()?;
        let has_node_ports = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            Some(ServicePort {
                name: port.name.clone().unwrap_or_default(),
                protocol: protocol(port.protocol.as_deref())?,
                port: port_number(port.port)?,
                node_port: port
                    .node_port
                    .filter(|_| has_node_ports)
                    .and_then(port_number),
            })
        });
        let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let config = spec
                .session_affinity_config
                .as_ref()
                .and_then(|c| c.client_ip.as_ref());
            let seconds = config.and_then(|client_ip| client_ip.timeout_seconds);
            seconds
                .and_then(|s| u32::try_from(s).ok())
                .unwrap_or(AFFINITY_SECONDS)
        });
        Some(Self {
            cluster_ip,
            external_ips: external_ips(service, spec),
            ports: ports.collect(),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            affinity,
        })
    }
}

impl Slice {
    /// The Service that an EndpointSlice belongs to, and what matters of it; `None` when it is not
    /// proxied. `node_name` is this node's name.
    pub fn parse(slice: &discovery::EndpointSlice, node_name: &str) -> Option<(ObjectName, Self)> {
        if not_ours(&slice.metadata) || slice.address_type != "IPv4" {
            return None;
        }
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            Some(SlicePort {
                name: port.name.clone().unwrap_or_default(),
                protocol: protocol(port.protocol.as_deref())?,
                port: port_number(port.port?)?,
            })
        });
        let endpoints = slice
            .endpoints
            .iter()
            .flatten()
            .filter_map(|e| endpoint(e, node_name));
        let parsed = Self {
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        };
        Some((ObjectName::new(namespace, service), parsed))
    }
}

/// An absent condition `ready` means ready, an absent `serving` means as `ready`.
fn endpoint(endpoint: &discovery::Endpoint, node_name: &str) -> Option<Endpoint> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    Some(Endpoint {
        // Further addresses mean the same endpoint; consumers take the first.
        ip: endpoint.addresses.first()?.parse().ok()?,
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        place: match endpoint.node_name.as_deref() {
            Some(name) if name == node_name => Place::Here,
            Some(_) => Place::Elsewhere,
            None => Place::Unknown,
        },
    })
}

/// Whether another proxy is in charge, or the Service is headless.
fn not_ours(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_some_and(|l| l.contains_key(SERVICE_PROXY_NAME) || l.contains_key(HEADLESS))
}

/// `externalIPs` and load balancer addresses; a load balancer with ipMode Proxy sends to the nodes
/// itself, so its address must not be short-circuited (KEP-1860).
fn external_ips(service: &core::Service, spec: &core::ServiceSpec) -> Vec<Ipv4Addr> {
    let ingress = service
        .status
        .iter()
        .flat_map(|status| &status.load_balancer);
    let vips = ingress
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter(|ingress| ingress.ip_mode.as_deref().unwrap_or("VIP") == "VIP")
        .filter_map(|ingress| ingress.ip.as_deref())
        .filter(|_| spec.type_.as_deref() == Some("LoadBalancer"));
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    let mut ips: Vec<_> = vips
        .chain(external)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    ips.sort();
    ips.dedup();
    ips
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}
