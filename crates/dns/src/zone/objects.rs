//! What the zone keeps of a Service, an EndpointSlice and a Pod.

use std::net::IpAddr;

use domain::base::Name;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::OwnedName;
use super::reverse::OwnerId;

/// A transport protocol that a Service port can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// From a lowered name's label, without the underscore.
    pub fn from_label(label: &str) -> Option<Protocol> {
        match label {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    fn from_api(protocol: Option<&str>) -> Protocol {
        match protocol {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        }
    }
}

/// A port of a Service or a slice. The name is empty when it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

impl Port {
    fn new(name: Option<&str>, protocol: Option<&str>, number: i32) -> Port {
        Port {
            name: name.unwrap_or_default().to_ascii_lowercase().into(),
            protocol: Protocol::from_api(protocol),
            number: u16::try_from(number).unwrap_or(0),
        }
    }
}

/// How a Service is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By its own addresses.
    ClusterIp(Box<[IpAddr]>),
    /// By its endpoints' addresses.
    Headless,
    /// By another name.
    External(OwnedName),
}

/// What the zone keeps of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How it is found.
    pub kind: Kind,
    /// Its ports.
    pub ports: Box<[Port]>,
    /// Endpoints are answered whether ready or not.
    pub publish_not_ready: bool,
    /// The node's own proxy programs it, so that its name waits for that.
    pub proxied: bool,
    /// Its place in the index of addresses.
    pub(super) owner: Option<OwnerId>,
}

/// The label that hands a Service to another proxy than the node's.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

impl Service {
    /// What there is to keep; `None` for one that has no name in DNS (not yet allocated, or an
    /// ExternalName that is an address, which upstream does not answer either).
    pub fn from_api(service: &core::Service) -> Option<Service> {
        let spec = service.spec.as_ref()?;
        let kind = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
            (Some("ExternalName"), _) => {
                let target = spec.external_name.as_deref()?.trim_end_matches('.');
                if target.is_empty() || target.parse::<IpAddr>().is_ok() {
                    return None;
                }
                Kind::External(Name::vec_from_str(&format!("{target}.")).ok()?)
            }
            (_, Some("None")) => Kind::Headless,
            (_, first) => {
                let all = spec.cluster_ips.iter().flatten().map(String::as_str);
                let mut addresses: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
                if addresses.is_empty() {
                    addresses.push(first?.parse().ok()?);
                }
                Kind::ClusterIp(addresses.into())
            }
        };
        let ports = spec.ports.iter().flatten();
        let ports: Box<[Port]> = ports
            .map(|port| Port::new(port.name.as_deref(), port.protocol.as_deref(), port.port))
            .collect();
        let labels = service.metadata.labels.as_ref();
        let foreign = labels.is_some_and(|labels| labels.contains_key(PROXY_NAME));
        Some(Service {
            proxied: matches!(kind, Kind::ClusterIp(_)) && !foreign && !ports.is_empty(),
            kind,
            ports,
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
            owner: None,
        })
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        match &self.kind {
            Kind::ClusterIp(addresses) => addresses,
            Kind::Headless | Kind::External(_) => &[],
        }
    }
}

/// One endpoint address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its hostname, lowered.
    pub hostname: Option<Box<str>>,
    /// The Pod behind it.
    pub pod: Option<Box<str>>,
    /// It may be answered with.
    pub ready: bool,
}

impl Endpoint {
    /// Its label below the Service's name.
    pub fn label(&self, pod_names: bool) -> std::borrow::Cow<'_, str> {
        match (&self.hostname, &self.pod) {
            (Some(hostname), _) => (&**hostname).into(),
            (None, Some(pod)) if pod_names => (&**pod).into(),
            _ => address_label(self.address).into(),
        }
    }

    /// Whether it is called `label`.
    pub fn is_called(&self, label: &str, by_address: Option<IpAddr>, pod_names: bool) -> bool {
        match (&self.hostname, &self.pod) {
            (Some(hostname), _) => &**hostname == label,
            (None, Some(pod)) if pod_names => &**pod == label,
            _ => by_address == Some(self.address),
        }
    }
}

/// An address with dashes, as CoreDNS writes it: a label does not end in one.
pub fn address_label(address: IpAddr) -> String {
    let label = address.to_string().replace(['.', ':'], "-");
    match label.ends_with('-') {
        true => label + "0",
        false => label,
    }
}

/// The address that a label spells, exactly as [`address_label`] does.
pub fn labelled_address(label: &str) -> Option<IpAddr> {
    let dotted = label.replace('-', ".");
    let address: IpAddr = match dotted.parse::<std::net::Ipv4Addr>() {
        Ok(v4) => v4.into(),
        Err(_) => {
            let colons = label.replace('-', ":");
            let v6 = colons.parse::<std::net::Ipv6Addr>();
            v6.ok()?.into()
        }
    };
    (address_label(address) == label).then_some(address)
}

/// What the zone keeps of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Ports that all its endpoints have.
    pub ports: Box<[Port]>,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
    /// Its place in the index of addresses.
    pub(super) owner: Option<OwnerId>,
}

/// The label that ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Slice {
    /// The Service's name and the content; `None` for a slice of no Service.
    pub fn from_api(slice: &discovery::EndpointSlice) -> Option<(Box<str>, Slice)> {
        let labels = slice.metadata.labels.as_ref()?;
        let service: Box<str> = labels.get(SERVICE_NAME)?.as_str().into();
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = port.port?;
            Some(Port::new(
                port.name.as_deref(),
                port.protocol.as_deref(),
                number,
            ))
        });
        let endpoints = slice.endpoints.iter().flatten().flat_map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
            let target = endpoint.target_ref.as_ref();
            let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
            let pod = pod.and_then(|target| target.name.as_deref());
            let addresses = endpoint.addresses.iter();
            addresses.filter_map(move |address| {
                Some(Endpoint {
                    address: address.parse().ok()?,
                    hostname: hostname.map(|name| name.to_ascii_lowercase().into()),
                    pod: pod.map(Box::from),
                    ready,
                })
            })
        });
        let content = Slice {
            ports: ports.collect(),
            endpoints: endpoints.collect(),
            owner: None,
        };
        Some((service, content))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.address)
    }
}
