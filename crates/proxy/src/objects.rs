//! From API objects to the facts that planning needs. Parsed once, at the edge.
//!
//! What is not proxied becomes `None` here: ExternalName, headless Services, those of another proxy
//! (label `service.kubernetes.io/service-proxy-name`), and what is not of the address family asked for.
//! Values that cannot be read are left out, never guessed.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use karve_watch::ObjectName;

use crate::dataplane::{Family, Protocol};

const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const ZONE: &str = "topology.kubernetes.io/zone";
/// When the change that a slice tells of began.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// The cluster autoscaler is about to remove the node (KEP-3836).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
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

/// What matters of a Service in one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its cluster IP.
    pub cluster_ip: IpAddr,
    /// `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// The load balancer addresses of ipMode VIP.
    pub balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer addresses, without overlaps; everybody when empty.
    pub source_ranges: Vec<IpNet>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// internalTrafficPolicy is Local.
    pub internal_local: bool,
    /// externalTrafficPolicy is Local.
    pub external_local: bool,
    /// Session affinity ClientIP, in seconds.
    pub affinity: Option<u32>,
    /// Where load balancers ask whether this node has endpoints.
    pub health_port: Option<u16>,
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

/// The nodes or zones that should use an endpoint; `None` without a hint.
pub type Hint = Option<Arc<[String]>>;

/// An endpoint of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Takes new connections.
    pub ready: bool,
    /// Is able to answer, even if it is terminating.
    pub serving: bool,
    /// Is about to go.
    pub terminating: bool,
    /// Where it is.
    pub place: Place,
    /// The zones that should use it.
    pub zones: Hint,
    /// The nodes that should use it.
    pub nodes: Hint,
}

/// What matters of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its addresses' family.
    pub family: Family,
    /// Its ports.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// When the change that it tells of began.
    pub triggered: Option<Timestamp>,
}

/// What matters of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The node's name.
    pub node: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// It is being deleted: load balancers should send nothing more to it.
    pub leaving: bool,
}

impl Service {
    /// Reads a Service; `None` when it is not proxied in `family`.
    pub fn parse(service: &core::Service, family: Family) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        if not_ours(&service.metadata) || kind == "ExternalName" {
            return None;
        }
        let cluster_ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let cluster_ip = of_family(cluster_ips.map(String::as_str), family)
            .into_iter()
            .next()?;
        let has_node_ports = matches!(kind, "NodePort" | "LoadBalancer");
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            let node_port = port.node_port.filter(|_| has_node_ports);
            Some(ServicePort {
                name: port.name.clone().unwrap_or_default(),
                protocol: protocol(port.protocol.as_deref())?,
                port: port_number(port.port)?,
                node_port: node_port.and_then(port_number),
            })
        });
        let external_ips = sorted(of_family(strings(&spec.external_ips), family));
        let accessible = has_node_ports
            || spec
                .external_ips
                .as_ref()
                .is_some_and(|ips| !ips.is_empty());
        let external_local = accessible && spec.external_traffic_policy.as_deref() == Some("Local");
        let checked = kind == "LoadBalancer" && external_local;
        Some(Self {
            cluster_ip,
            external_ips,
            balancer_ips: sorted(of_family(balancer_ips(service, kind), family)),
            source_ranges: source_ranges(spec, family),
            ports: ports.collect(),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local,
            affinity: affinity(spec),
            health_port: spec
                .health_check_node_port
                .filter(|_| checked)
                .and_then(port_number),
        })
    }
}

impl Slice {
    /// The Service that an EndpointSlice belongs to, and what matters of it; `None` when it is not
    /// proxied. `node_name` is this node's name.
    pub fn parse(slice: &discovery::EndpointSlice, node_name: &str) -> Option<(ObjectName, Self)> {
        let family = Family::BOTH
            .into_iter()
            .find(|f| f.name() == slice.address_type)?;
        if not_ours(&slice.metadata) {
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
        let mut hints = Hints::default();
        let endpoints = slice.endpoints.iter().flatten();
        let endpoints = endpoints
            .filter_map(|e| endpoint(e, node_name, &mut hints))
            .filter(|e| Family::of(e.ip) == family);
        let triggered = slice
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(TRIGGERED));
        let parsed = Self {
            family,
            ports: ports.collect(),
            endpoints: endpoints.collect(),
            triggered: triggered.and_then(|time| time.parse().ok()),
        };
        Some((ObjectName::new(namespace, service), parsed))
    }
}

impl Site {
    /// Reads this node's object.
    pub fn parse(node: &core::Node) -> Self {
        let meta = &node.metadata;
        let addresses = node
            .status
            .iter()
            .flat_map(|status| status.addresses.iter().flatten());
        let addresses = addresses.filter(|a| a.type_ == "InternalIP" || a.type_ == "ExternalIP");
        let mut taints = node
            .spec
            .iter()
            .flat_map(|spec| spec.taints.iter().flatten());
        Self {
            node: meta.name.clone().unwrap_or_default(),
            zone: meta
                .labels
                .as_ref()
                .and_then(|labels| labels.get(ZONE))
                .cloned(),
            addresses: addresses.filter_map(|a| a.address.parse().ok()).collect(),
            leaving: meta.deletion_timestamp.is_some() || taints.any(|t| t.key == TO_BE_DELETED),
        }
    }
}

/// Endpoints of one slice most often have the same hints: those are kept once.
#[derive(Default)]
struct Hints {
    last: [Hint; 2],
}

impl Hints {
    fn of<'a>(&mut self, which: usize, names: impl Iterator<Item = &'a String> + Clone) -> Hint {
        names.clone().next()?;
        let last = &mut self.last[which];
        if !last
            .as_ref()
            .is_some_and(|last| last.iter().eq(names.clone()))
        {
            *last = Some(names.cloned().collect());
        }
        last.clone()
    }
}

/// An absent condition `ready` or `serving` is true, an absent `terminating` false.
fn endpoint(
    endpoint: &discovery::Endpoint,
    node_name: &str,
    hints: &mut Hints,
) -> Option<Endpoint> {
    let conditions = endpoint.conditions.as_ref();
    let hint = endpoint.hints.as_ref();
    let zones = hint
        .iter()
        .flat_map(|h| h.for_zones.iter().flatten())
        .map(|zone| &zone.name);
    let nodes = hint
        .iter()
        .flat_map(|h| h.for_nodes.iter().flatten())
        .map(|node| &node.name);
    Some(Endpoint {
        // Further addresses mean the same endpoint; consumers take the first.
        ip: endpoint.addresses.first()?.parse().ok()?,
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        place: match endpoint.node_name.as_deref() {
            Some(name) if name == node_name => Place::Here,
            Some(_) => Place::Elsewhere,
            None => Place::Unknown,
        },
        zones: hints.of(0, zones),
        nodes: hints.of(1, nodes),
    })
}

/// Whether another proxy is in charge, or the Service is headless.
fn not_ours(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_some_and(|l| l.contains_key(SERVICE_PROXY_NAME) || l.contains_key(HEADLESS))
}

/// Load balancer addresses. One with ipMode Proxy sends to the nodes itself, so its address must not be
/// short-circuited (KEP-1860).
fn balancer_ips<'a>(service: &'a core::Service, kind: &str) -> impl Iterator<Item = &'a str> {
    let status = service.status.as_ref().filter(|_| kind == "LoadBalancer");
    let ingress = status.into_iter().flat_map(|status| &status.load_balancer);
    ingress
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter(|ingress| ingress.ip_mode.as_deref().unwrap_or("VIP") == "VIP")
        .filter_map(|ingress| ingress.ip.as_deref())
}

/// A range that is the whole family lifts the restriction; spaces around a range are no error upstream.
fn source_ranges(spec: &core::ServiceSpec, family: Family) -> Vec<IpNet> {
    let ranges = strings(&spec.load_balancer_source_ranges);
    let ranges: Vec<IpNet> = ranges
        .filter_map(|range| range.trim().parse().ok())
        .filter(|range| Family::of_net(range) == family)
        .collect();
    if ranges.iter().any(|range| range.prefix_len() == 0) {
        return Vec::new();
    }
    IpNet::aggregate(&ranges)
}

fn affinity(spec: &core::ServiceSpec) -> Option<u32> {
    (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref();
        let client_ip = config.and_then(|config| config.client_ip.as_ref());
        let seconds = client_ip.and_then(|client_ip| client_ip.timeout_seconds);
        let seconds = seconds.and_then(|s| u32::try_from(s).ok());
        seconds
            .filter(|seconds| *seconds > 0)
            .unwrap_or(AFFINITY_SECONDS)
    })
}

fn strings(list: &Option<Vec<String>>) -> impl Iterator<Item = &str> {
    list.iter().flatten().map(String::as_str)
}

fn of_family<'a>(ips: impl Iterator<Item = &'a str>, family: Family) -> Vec<IpAddr> {
    ips.filter_map(|ip| ip.parse().ok())
        .filter(|ip| Family::of(*ip) == family)
        .collect()
}

fn sorted(mut ips: Vec<IpAddr>) -> Vec<IpAddr> {
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

#[cfg(test)]
mod tests;
