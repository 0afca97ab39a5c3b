//! The index of the cluster's names: a pure value, changed by objects and asked by names.
//!
//! A change of one Service or slice costs the size of that object, never that of the cluster. What is shown of
//! it, and under which domain, is a [`View`]'s affair; several servers look into one zone.

mod index;
mod names;
mod objects;
mod reverse;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use domain::base::Name;
use karve_watch::ObjectName;

pub use names::{Asked, Lowered};
pub use objects::{Endpoint, Kind, Port, Protocol, Service, Slice, address_label};
pub use view::View;

use self::objects::labelled_address;
use self::reverse::{Owner, Reverse};
use crate::corefile::Pods;

/// An owned domain name.
pub type OwnedName = Name<Vec<u8>>;

/// What a name holds of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// One address, A or AAAA by its family.
    Address(IpAddr),
    /// A port of a target (RFC 2782); priority is 0 and weights are equal.
    Srv {
        /// The port.
        port: u16,
        /// Equal share, of 100 in all.
        weight: u16,
        /// The name that has the addresses.
        target: OwnedName,
    },
    /// The name of an address.
    Ptr(OwnedName),
    /// One character string.
    Txt(&'static str),
    /// The zone's name server.
    Ns(OwnedName),
    /// The zone's start of authority, asked for by type.
    Soa,
}

/// The record types that the cluster's zone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Ports.
    Srv,
    /// Names of addresses.
    Ptr,
    /// Texts.
    Txt,
    /// Name servers.
    Ns,
    /// Start of authority.
    Soa,
    /// Any type that no name of the zone holds.
    Other,
}

impl Want {
    /// From a record type's number.
    pub fn of(qtype: u16) -> Want {
        match qtype {
            1 => Want::A,
            2 => Want::Ns,
            6 => Want::Soa,
            12 => Want::Ptr,
            16 => Want::Txt,
            28 => Want::Aaaa,
            33 => Want::Srv,
            _ => Want::Other,
        }
    }

    /// Whether it is asked for by this address.
    pub fn is_family(self, address: IpAddr) -> bool {
        match self {
            Want::A => address.is_ipv4(),
            Want::Aaaa => address.is_ipv6(),
            _ => false,
        }
    }
}

/// What the zone says to a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'z> {
    /// Outside the zone: somebody else must be asked.
    Elsewhere,
    /// In the zone, and it does not exist.
    NoSuchName,
    /// It exists, without a record of this type.
    NoData,
    /// The addresses of a Service, of both families; those of the type asked for are meant.
    Addresses(&'z [IpAddr]),
    /// Records.
    Records {
        /// The records of the name asked for.
        records: Vec<Data>,
        /// Addresses of the targets of `records`, for the additional section.
        additional: Vec<(OwnedName, IpAddr)>,
    },
    /// It is another name for the target, which may lie outside the zone (ExternalName).
    Alias(&'z OwnedName),
    /// The first lists are not in yet: nobody can say.
    NotSynced,
}

impl Verdict<'_> {
    fn records(records: Vec<Data>) -> Self {
        match records.is_empty() {
            true => Verdict::NoData,
            false => Verdict::Records {
                records,
                additional: Vec::new(),
            },
        }
    }
}

/// No message holds more records.
const RECORDS_MAX: usize = 4096;

/// Version of the DNS schema that is served (kubernetes/dns, docs/specification.md).
const SCHEMA_VERSION: &str = "1.1.0";

#[derive(Debug, Default)]
struct Namespace {
    /// The Namespace itself is known.
    exists: bool,
    services: HashMap<Box<str>, Service>,
    /// Service name → slice name and slice.
    slices: HashMap<Box<str>, Vec<(Box<str>, Slice)>>,
    /// Slice name → Service name, as the slice had it when it came.
    slice_owners: HashMap<Box<str>, Box<str>>,
}

/// All names of the cluster.
#[derive(Debug, Default)]
pub struct Zone {
    namespaces: HashMap<Box<str>, Namespace>,
    reverse: Reverse,
    pods: HashMap<ObjectName, Box<[IpAddr]>>,
    pod_addresses: HashMap<IpAddr, Vec<ObjectName>>,
    /// Services that the node's proxy has programmed, by namespace; `None`: nobody waits for it.
    gate: Option<HashMap<Box<str>, HashSet<Box<str>>>>,
    /// Endpoints may be called as their Pods, so that those names are kept.
    pub keep_pod_names: bool,
    services_synced: bool,
    slices_synced: bool,
}

impl Zone {
    /// Whether the first lists are in.
    pub fn synced(&self) -> bool {
        self.services_synced && self.slices_synced
    }

    /// Answers for one name and type.
    pub fn look_up<'z>(&'z self, view: &View, name: &Lowered, want: Want) -> Verdict<'z> {
        if let Some(address) = name.reverse_address() {
            return self.look_up_address(view, address, want);
        }
        let Some(asked) = name.asked(&view.suffix) else {
            return Verdict::Elsewhere;
        };
        if !self.synced() {
            return Verdict::NotSynced;
        }
        match asked {
            Asked::Apex | Asked::SchemaVersion | Asked::NameServer | Asked::Structural => {
                fixed(view, asked, want)
            }
            Asked::Namespace(namespace) => match self.space(view, namespace) {
                Some(_) => Verdict::NoData,
                None => Verdict::NoSuchName,
            },
            Asked::Service { namespace, service } => self.service(view, namespace, service, want),
            Asked::Protocol {
                namespace,
                service,
                protocol,
            } => self.protocol(view, namespace, service, protocol),
            Asked::Port {
                namespace,
                service,
                protocol,
                port,
            } => self.port(view, (namespace, service), (protocol, port), want),
            Asked::Endpoint {
                namespace,
                service,
                host,
            } => self.endpoint(view, namespace, service, host, want),
            Asked::Pod { namespace, address } => self.pod(view, namespace, address, want),
            Asked::Nothing => Verdict::NoSuchName,
        }
    }

    /// Whether a Service of this name is there, programmed or not.
    pub fn has_service(&self, namespace: &str, service: &str) -> bool {
        let space = self.namespaces.get(namespace);
        space.is_some_and(|space| space.services.contains_key(service))
    }

    fn space(&self, view: &View, namespace: &str) -> Option<&Namespace> {
        let space = self.namespaces.get(namespace)?;
        view.shows(namespace).then_some(space)
    }

    fn find(&self, view: &View, namespace: &str, service: &str) -> Option<(&Service, Ready<'_>)> {
        let space = self.space(view, namespace)?;
        let found = space.services.get(service)?;
        let ready = Ready {
            slices: space.slices.get(service).map_or(&[], Vec::as_slice),
            publish_not_ready: found.publish_not_ready,
        };
        if found.proxied && !self.is_programmed(namespace, service) {
            return None;
        }
        let addressed = matches!(found.kind, Kind::ClusterIp(_));
        if view.ignore_empty && addressed && ready.endpoints().next().is_none() {
            return None;
        }
        Some((found, ready))
    }

    fn is_programmed(&self, namespace: &str, service: &str) -> bool {
        match &self.gate {
            None => true,
            Some(gate) => gate
                .get(namespace)
                .is_some_and(|space| space.contains(service)),
        }
    }

    fn service<'z>(
        &'z self,
        view: &View,
        namespace: &str,
        service: &str,
        want: Want,
    ) -> Verdict<'z> {
        let Some((found, ready)) = self.find(view, namespace, service) else {
            return Verdict::NoSuchName;
        };
        match &found.kind {
            Kind::External(target) => Verdict::Alias(target),
            Kind::ClusterIp(addresses) => match want {
                Want::A | Want::Aaaa => match addresses.iter().any(|ip| want.is_family(*ip)) {
                    true => Verdict::Addresses(addresses),
                    false => Verdict::NoData,
                },
                Want::Srv => {
                    let at = view.name(&[service, namespace, "svc"]);
                    cluster_ip_srv(addresses, &at, found.ports.iter())
                }
                _ => Verdict::NoData,
            },
            Kind::Headless => {
                // The specification: a headless Service with no ready endpoint does not exist.
                if ready.endpoints().next().is_none() {
                    return Verdict::NoSuchName;
                }
                match want {
                    Want::A | Want::Aaaa => {
                        Verdict::records(of_family(ready.endpoints().map(|e| e.address), want))
                    }
                    Want::Srv => headless_srv(view, namespace, service, ready, |_| true),
                    _ => Verdict::NoData,
                }
            }
        }
    }

    /// `_tcp.svc.ns.svc`: exists as soon as some named port has the protocol.
    fn protocol(
        &self,
        view: &View,
        namespace: &str,
        service: &str,
        protocol: Protocol,
    ) -> Verdict<'_> {
        let named = |port: &Port| port.protocol == protocol && !port.name.is_empty();
        match self.find(view, namespace, service) {
            Some((found, ready)) if found.any_port(&ready, named) => Verdict::NoData,
            _ => Verdict::NoSuchName,
        }
    }

    fn port(
        &self,
        view: &View,
        (namespace, service): (&str, &str),
        (protocol, name): (Protocol, &str),
        want: Want,
    ) -> Verdict<'_> {
        let matches = |port: &Port| port.protocol == protocol && &*port.name == name;
        let Some((found, ready)) = self.find(view, namespace, service) else {
            return Verdict::NoSuchName;
        };
        if !found.any_port(&ready, matches) {
            return Verdict::NoSuchName;
        }
        if want != Want::Srv {
            return Verdict::NoData;
        }
        match &found.kind {
            Kind::ClusterIp(addresses) => {
                let at = view.name(&[service, namespace, "svc"]);
                let ports = found.ports.iter().filter(|port| matches(port));
                cluster_ip_srv(addresses, &at, ports)
            }
            Kind::Headless => headless_srv(view, namespace, service, ready, matches),
            Kind::External(_) => Verdict::NoSuchName,
        }
    }

    /// Endpoints have names below any Service that has endpoints, as with CoreDNS; the specification asks for
    /// those of headless ones.
    fn endpoint(
        &self,
        view: &View,
        namespace: &str,
        service: &str,
        host: &str,
        want: Want,
    ) -> Verdict<'_> {
        let Some((found, ready)) = self.find(view, namespace, service) else {
            return Verdict::NoSuchName;
        };
        if matches!(found.kind, Kind::External(_)) {
            return Verdict::NoSuchName;
        }
        let by_address = labelled_address(host);
        let called =
            |endpoint: &&Endpoint| endpoint.is_called(host, by_address, view.endpoint_pod_names);
        let mut addresses = ready
            .endpoints()
            .filter(called)
            .map(|endpoint| endpoint.address)
            .peekable();
        match (addresses.peek().is_none(), want) {
            (true, _) => Verdict::NoSuchName,
            (false, Want::A | Want::Aaaa) => Verdict::records(of_family(addresses, want)),
            (false, Want::Srv) => headless_srv_of(view, namespace, service, ready, host),
            (false, _) => Verdict::NoData,
        }
    }

    fn pod(&self, view: &View, namespace: &str, address: IpAddr, want: Want) -> Verdict<'_> {
        let exists = match view.pods {
            Pods::Disabled => false,
            Pods::Insecure => self.space(view, namespace).is_some(),
            Pods::Verified => {
                let named = self.pod_addresses.get(&address).into_iter().flatten();
                view.shows(namespace) && named.into_iter().any(|pod| *pod.namespace == *namespace)
            }
        };
        match exists {
            false => Verdict::NoSuchName,
            true if want.is_family(address) => Verdict::records(vec![Data::Address(address)]),
            true => Verdict::NoData,
        }
    }

    fn look_up_address(&self, view: &View, address: IpAddr, want: Want) -> Verdict<'_> {
        let mut names = Vec::new();
        for owner in self.reverse.owners(address) {
            let Some((found, ready)) = self.find(view, &owner.namespace, &owner.service) else {
                continue;
            };
            let Owner {
                namespace, service, ..
            } = owner;
            let Some(slice) = &owner.slice else {
                names.push(view.name(&[service, namespace, "svc"]));
                continue;
            };
            if matches!(found.kind, Kind::External(_)) {
                continue;
            }
            let of_slice = ready.of_slice(slice).filter(|e| e.address == address);
            for endpoint in of_slice {
                let host = endpoint.label(view.endpoint_pod_names);
                names.push(view.name(&[&host, service, namespace, "svc"]));
            }
        }
        match (names.is_empty(), want) {
            // Addresses that the cluster does not name may be named by the network around it.
            (true, _) => Verdict::Elsewhere,
            (false, Want::Ptr) => Verdict::records(names.into_iter().map(Data::Ptr).collect()),
            (false, _) => Verdict::NoData,
        }
    }
}

/// Names that are there whatever the cluster holds.
fn fixed(view: &View, asked: Asked<'_>, want: Want) -> Verdict<'static> {
    let records = match (asked, want) {
        (Asked::Apex, Want::Soa) => vec![Data::Soa],
        (Asked::Apex, Want::Ns) => vec![Data::Ns(view.name_server())],
        (Asked::SchemaVersion, Want::Txt) => vec![Data::Txt(SCHEMA_VERSION)],
        (Asked::NameServer, _) => of_family(view.server.iter().copied(), want),
        _ => Vec::new(),
    };
    Verdict::records(records)
}

/// The endpoints of one Service that may be answered with.
#[derive(Clone, Copy)]
struct Ready<'a> {
    slices: &'a [(Box<str>, Slice)],
    publish_not_ready: bool,
}

impl<'a> Ready<'a> {
    fn with_slices(self) -> impl Iterator<Item = (&'a Slice, &'a Endpoint)> {
        self.slices
            .iter()
            .flat_map(|(_, slice)| {
                slice
                    .endpoints
                    .iter()
                    .map(move |endpoint| (slice, endpoint))
            })
            .filter(move |(_, endpoint)| endpoint.ready || self.publish_not_ready)
    }

    fn endpoints(self) -> impl Iterator<Item = &'a Endpoint> {
        self.with_slices().map(|(_, endpoint)| endpoint)
    }

    fn of_slice(self, name: &str) -> impl Iterator<Item = &'a Endpoint> {
        let one = self
            .slices
            .iter()
            .filter(move |(slice, _)| **slice == *name);
        one.flat_map(|(_, slice)| slice.endpoints.iter())
            .filter(move |endpoint| endpoint.ready || self.publish_not_ready)
    }
}

impl Service {
    fn any_port(&self, ready: &Ready<'_>, matches: impl Fn(&Port) -> bool) -> bool {
        match self.kind {
            Kind::ClusterIp(_) => self.ports.iter().any(matches),
            Kind::Headless => ready
                .with_slices()
                .any(|(slice, _)| slice.ports.iter().any(&matches)),
            Kind::External(_) => false,
        }
    }
}

fn cluster_ip_srv<'p>(
    addresses: &[IpAddr],
    at: &OwnedName,
    ports: impl Iterator<Item = &'p Port>,
) -> Verdict<'static> {
    let mut records: Vec<Data> = ports
        .map(|port| Data::Srv {
            port: port.number,
            weight: 0,
            target: at.clone(),
        })
        .collect();
    share_weights(&mut records);
    let additional = addresses.iter().map(|ip| (at.clone(), *ip)).collect();
    with_additional(records, additional)
}

fn headless_srv(
    view: &View,
    namespace: &str,
    service: &str,
    ready: Ready<'_>,
    matches: impl Fn(&Port) -> bool,
) -> Verdict<'static> {
    srv(view, namespace, service, ready, matches, |_| true)
}

/// SRV asked for an endpoint's own name: its ports, as with CoreDNS.
fn headless_srv_of(
    view: &View,
    namespace: &str,
    service: &str,
    ready: Ready<'_>,
    host: &str,
) -> Verdict<'static> {
    let of_host = |endpoint: &Endpoint| endpoint.label(view.endpoint_pod_names) == host;
    srv(view, namespace, service, ready, |_| true, of_host)
}

fn srv(
    view: &View,
    namespace: &str,
    service: &str,
    ready: Ready<'_>,
    port_matches: impl Fn(&Port) -> bool,
    endpoint_matches: impl Fn(&Endpoint) -> bool,
) -> Verdict<'static> {
    let mut records = Vec::new();
    let mut additional = Vec::new();
    let mut seen = HashSet::new();
    let endpoints = ready.with_slices().take(RECORDS_MAX);
    for (slice, endpoint) in endpoints.filter(|(_, endpoint)| endpoint_matches(endpoint)) {
        let host = endpoint.label(view.endpoint_pod_names);
        let target = view.name(&[&host, service, namespace, "svc"]);
        let mut any = false;
        for port in slice.ports.iter().filter(|port| port_matches(port)) {
            // An endpoint of two families stands in two slices.
            if seen.insert((target.clone(), port.number)) {
                records.push(Data::Srv {
                    port: port.number,
                    weight: 0,
                    target: target.clone(),
                });
            }
            any = true;
        }
        if any {
            additional.push((target, endpoint.address));
        }
    }
    share_weights(&mut records);
    with_additional(records, additional)
}

/// Of 100 in all, at least 1 each.
fn share_weights(records: &mut [Data]) {
    let share = (100 / records.len().max(1)).max(1) as u16;
    for record in records {
        if let Data::Srv { weight, .. } = record {
            *weight = share;
        }
    }
}

fn with_additional(records: Vec<Data>, additional: Vec<(OwnedName, IpAddr)>) -> Verdict<'static> {
    match records.is_empty() {
        true => Verdict::NoData,
        false => Verdict::Records {
            records,
            additional,
        },
    }
}

/// Addresses of one family, each once. Slices rarely repeat one, so a set pays only for many.
fn of_family(addresses: impl Iterator<Item = IpAddr>, want: Want) -> Vec<Data> {
    let mut seen = HashSet::new();
    addresses
        .filter(|address| want.is_family(*address) && seen.insert(*address))
        .map(Data::Address)
        .take(RECORDS_MAX)
        .collect()
}
