//! What the zone keeps of a Service and of an EndpointSlice, and how they come and go.

use std::net::IpAddr;

use domain::base::Name;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::{OwnedName, Reverse, Zone};

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

/// How a Service is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By its own addresses.
    ClusterIp(Vec<IpAddr>),
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
}

impl Service {
    /// Namespace, name and content; `None` for one that has no name in DNS (not yet allocated).
    pub fn from_api(service: &core::Service) -> Option<(Box<str>, Box<str>, Service)> {
        let namespace = service.metadata.namespace.as_deref()?;
        let name = service.metadata.name.as_deref()?;
        let spec = service.spec.as_ref()?;
        let kind = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
            (Some("ExternalName"), _) => {
                let target = spec.external_name.as_deref()?.trim_end_matches('.');
                Kind::External(Name::vec_from_str(&format!("{target}.")).ok()?)
            }
            (_, Some("None")) => Kind::Headless,
            (_, first) => {
                let all = spec.cluster_ips.iter().flatten().map(String::as_str);
                let mut addresses: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
                if addresses.is_empty() {
                    addresses.push(first?.parse().ok()?);
                }
                Kind::ClusterIp(addresses)
            }
        };
        let ports = spec.ports.iter().flatten().map(|port| Port {
            name: port
                .name
                .as_deref()
                .unwrap_or_default()
                .to_ascii_lowercase()
                .into(),
            protocol: Protocol::from_api(port.protocol.as_deref()),
            number: port.port as u16,
        });
        let service = Service {
            kind,
            ports: ports.collect(),
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        };
        Some((namespace.into(), name.into(), service))
    }
}

/// One endpoint address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its label below the Service's name: its hostname, else its address with dashes.
    pub host: Box<str>,
    /// Its address.
    pub address: IpAddr,
    /// It may be answered with.
    pub ready: bool,
}

/// What the zone keeps of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Ports that all its endpoints have.
    pub ports: Box<[Port]>,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
}

/// The label that ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where a slice belongs.
pub struct SliceKey {
    /// Its namespace.
    pub namespace: Box<str>,
    /// The Service's name, from the label.
    pub service: Box<str>,
    /// The slice's own name.
    pub slice: Box<str>,
}

impl Slice {
    /// Key and content; `None` for a slice of no Service or of host names.
    pub fn from_api(slice: &discovery::EndpointSlice) -> Option<(SliceKey, Slice)> {
        let labels = slice.metadata.labels.as_ref()?;
        let key = SliceKey {
            namespace: slice.metadata.namespace.as_deref()?.into(),
            service: labels.get(SERVICE_NAME)?.as_str().into(),
            slice: slice.metadata.name.as_deref()?.into(),
        };
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            Some(Port {
                name: port
                    .name
                    .as_deref()
                    .unwrap_or_default()
                    .to_ascii_lowercase()
                    .into(),
                protocol: Protocol::from_api(port.protocol.as_deref()),
                number: port.port? as u16,
            })
        });
        let endpoints = slice.endpoints.iter().flatten().flat_map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let hostname = endpoint.hostname.as_deref();
            let addresses = endpoint.addresses.iter();
            addresses.filter_map(move |address| {
                let address: IpAddr = address.parse().ok()?;
                Some(Endpoint {
                    host: host_label(hostname, address),
                    address,
                    ready,
                })
            })
        });
        let content = Slice {
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        };
        Some((key, content))
    }
}

fn host_label(hostname: Option<&str>, address: IpAddr) -> Box<str> {
    match hostname {
        Some(name) if !name.is_empty() => name.to_ascii_lowercase().into(),
        _ => address.to_string().replace(['.', ':'], "-").into(),
    }
}

impl Zone {
    /// Takes a Service as it now is.
    pub fn apply_service(&mut self, service: &core::Service) {
        match Service::from_api(service) {
            Some((namespace, name, content)) => self.set_service(namespace, name, content),
            None => self.remove_service(service),
        }
    }

    fn set_service(&mut self, namespace: Box<str>, name: Box<str>, content: Service) {
        self.forget_service(&namespace, &name);
        if let Kind::ClusterIp(addresses) = &content.kind {
            for address in addresses {
                self.reverse.entry(*address).or_default().push(Reverse {
                    namespace: namespace.clone(),
                    service: name.clone(),
                    host: None,
                });
            }
        }
        let space = self.namespaces.entry(namespace).or_default();
        space.services.insert(name, content);
    }

    /// Forgets a Service that is gone.
    pub fn remove_service(&mut self, service: &core::Service) {
        let metadata = &service.metadata;
        if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
            self.forget_service(namespace, name);
            self.drop_if_empty(namespace);
        }
    }

    fn forget_service(&mut self, namespace: &str, name: &str) {
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let Some(old) = space.services.remove(name) else {
            return;
        };
        if let Kind::ClusterIp(addresses) = old.kind {
            for address in addresses {
                self.drop_reverse(address, namespace, name, false);
            }
        }
    }

    /// Takes a slice as it now is.
    pub fn apply_slice(&mut self, slice: &discovery::EndpointSlice) {
        self.remove_slice(slice);
        let Some((key, content)) = Slice::from_api(slice) else {
            return;
        };
        for endpoint in &content.endpoints {
            self.reverse
                .entry(endpoint.address)
                .or_default()
                .push(Reverse {
                    namespace: key.namespace.clone(),
                    service: key.service.clone(),
                    host: Some(endpoint.host.clone()),
                });
        }
        let space = self.namespaces.entry(key.namespace).or_default();
        let slices = space.slices.entry(key.service).or_default();
        slices.insert(key.slice, content);
    }

    /// Forgets a slice that is gone. Its Service label may have changed since, so it is looked for by name.
    pub fn remove_slice(&mut self, slice: &discovery::EndpointSlice) {
        let metadata = &slice.metadata;
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return;
        };
        let Some(space) = self.namespaces.get_mut(namespace.as_str()) else {
            return;
        };
        let labelled = metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME));
        let owner = match labelled {
            Some(service) if has_slice(space, service, name) => Some(Box::from(service.as_str())),
            _ => {
                let mut owners = space.slices.iter();
                owners
                    .find(|(_, s)| s.contains_key(name.as_str()))
                    .map(|(owner, _)| owner.clone())
            }
        };
        let Some(owner) = owner else { return };
        let Some(slices) = space.slices.get_mut(&owner) else {
            return;
        };
        let old = slices.remove(name.as_str());
        if slices.is_empty() {
            space.slices.remove(&owner);
        }
        for endpoint in old.iter().flat_map(|old| old.endpoints.iter()) {
            self.drop_reverse(endpoint.address, namespace, &owner, true);
        }
        self.drop_if_empty(namespace);
    }

    /// Takes a whole list of Services in place of all that was known.
    pub fn replace_services(&mut self, services: &[core::Service]) {
        for space in self.namespaces.values_mut() {
            space.services.clear();
        }
        self.keep_reverse(|reverse| reverse.host.is_some());
        for service in services {
            self.apply_service(service);
        }
        self.services_synced = true;
        self.namespaces.retain(|_, space| !space.is_empty());
    }

    /// Takes a whole list of slices in place of all that was known.
    pub fn replace_slices(&mut self, slices: &[discovery::EndpointSlice]) {
        for space in self.namespaces.values_mut() {
            space.slices.clear();
        }
        self.keep_reverse(|reverse| reverse.host.is_none());
        for slice in slices {
            self.apply_slice(slice);
        }
        self.slices_synced = true;
        self.namespaces.retain(|_, space| !space.is_empty());
    }

    fn keep_reverse(&mut self, keep: impl Fn(&Reverse) -> bool) {
        self.reverse.retain(|_, list| {
            list.retain(&keep);
            !list.is_empty()
        });
    }

    fn drop_reverse(&mut self, address: IpAddr, namespace: &str, service: &str, endpoint: bool) {
        let Some(list) = self.reverse.get_mut(&address) else {
            return;
        };
        let at = list.iter().position(|reverse| {
            &*reverse.namespace == namespace
                && &*reverse.service == service
                && reverse.host.is_some() == endpoint
        });
        if let Some(at) = at {
            list.remove(at);
        }
        if list.is_empty() {
            self.reverse.remove(&address);
        }
    }

    fn drop_if_empty(&mut self, namespace: &str) {
        if self
            .namespaces
            .get(namespace)
            .is_some_and(|space| space.is_empty())
        {
            self.namespaces.remove(namespace);
        }
    }
}

fn has_slice(space: &super::Namespace, service: &str, slice: &str) -> bool {
    space
        .slices
        .get(service)
        .is_some_and(|slices| slices.contains_key(slice))
}

impl super::Namespace {
    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.slices.is_empty()
    }
}
