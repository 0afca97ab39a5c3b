//! The index of the cluster's names: a pure value, changed by objects and asked by names.
//!
//! A change of one Service or slice costs the size of that object, never that of the cluster.

mod names;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use domain::base::Name;

pub use names::{Asked, Lowered};
pub use objects::{Endpoint, Kind, Port, Protocol, Service, Slice};

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

/// What the zone says to a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Outside the zone: somebody else must be asked.
    Elsewhere,
    /// In the zone, and it does not exist.
    NoSuchName,
    /// It exists. No record means NODATA.
    Records {
        /// The records of the name asked for.
        records: Vec<Data>,
        /// Addresses of the targets of `records`, for the additional section.
        additional: Vec<(OwnedName, IpAddr)>,
    },
    /// It is another name for `target`, which may lie outside the zone (ExternalName).
    Alias(OwnedName),
    /// The first lists are not in yet: nobody can say.
    NotSynced,
}

impl Verdict {
    fn nodata() -> Self {
        Verdict::Records {
            records: Vec::new(),
            additional: Vec::new(),
        }
    }

    fn records(records: Vec<Data>) -> Self {
        Verdict::Records {
            records,
            additional: Vec::new(),
        }
    }
}

/// Version of the DNS schema that is served (kubernetes/dns, docs/specification.md).
const SCHEMA_VERSION: &str = "1.1.0";

#[derive(Debug, Default)]
struct Namespace {
    services: HashMap<Box<str>, Service>,
    /// Service name → slice name → slice.
    slices: HashMap<Box<str>, BTreeMap<Box<str>, Slice>>,
}

/// An address's way back to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reverse {
    namespace: Box<str>,
    service: Box<str>,
    /// The endpoint's own label, for a headless Service.
    host: Option<Box<str>>,
}

/// All names of the cluster.
#[derive(Debug)]
pub struct Zone {
    origin: OwnedName,
    /// The origin in lower case without its root label, as it ends a lowered name.
    suffix: String,
    namespaces: HashMap<Box<str>, Namespace>,
    reverse: HashMap<IpAddr, Vec<Reverse>>,
    services_synced: bool,
    slices_synced: bool,
}

impl Zone {
    /// An empty zone for `domain`, or `None` when that is not a domain name.
    pub fn new(domain: &str) -> Option<Zone> {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let origin = Name::vec_from_str(&format!("{domain}.")).ok()?;
        Some(Zone {
            origin,
            suffix: domain,
            namespaces: HashMap::new(),
            reverse: HashMap::new(),
            services_synced: false,
            slices_synced: false,
        })
    }

    /// A zone that holds no name at all, for a server that only forwards.
    pub fn nothing() -> Zone {
        Zone {
            origin: Name::root_vec(),
            // No lowered name ends in a blank label.
            suffix: "..".to_owned(),
            namespaces: HashMap::new(),
            reverse: HashMap::new(),
            services_synced: false,
            slices_synced: false,
        }
    }

    /// The zone's apex.
    pub fn origin(&self) -> &OwnedName {
        &self.origin
    }

    /// The name server that the zone names for itself.
    pub fn name_server(&self) -> OwnedName {
        self.name(&["ns", "dns"])
    }

    fn synced(&self) -> bool {
        self.services_synced && self.slices_synced
    }

    /// `labels.origin`; labels come from API objects, whose validation bounds them, so that the
    /// name always fits; if one did not, the apex stands in.
    fn name(&self, labels: &[&str]) -> OwnedName {
        let text = format!("{}.{}.", labels.join("."), self.suffix);
        Name::vec_from_str(&text).unwrap_or_else(|_| self.origin.clone())
    }

    /// Answers for one name and type.
    pub fn look_up(&self, name: &Lowered, want: Want) -> Verdict {
        if let Some(address) = name.reverse_address() {
            return self.look_up_address(address, want);
        }
        let Some(asked) = name.asked(&self.suffix) else {
            return Verdict::Elsewhere;
        };
        if !self.synced() {
            return Verdict::NotSynced;
        }
        match asked {
            Asked::Apex => match want {
                Want::Soa => Verdict::records(vec![Data::Soa]),
                Want::Ns => Verdict::records(vec![Data::Ns(self.name_server())]),
                _ => Verdict::nodata(),
            },
            Asked::SchemaVersion => match want {
                Want::Txt => Verdict::records(vec![Data::Txt(SCHEMA_VERSION)]),
                _ => Verdict::nodata(),
            },
            Asked::Structural => Verdict::nodata(),
            Asked::Namespace(namespace) => match self.namespaces.contains_key(namespace) {
                true => Verdict::nodata(),
                false => Verdict::NoSuchName,
            },
            Asked::Service { namespace, service } => self.service(namespace, service, want),
            Asked::Protocol {
                namespace,
                service,
                protocol,
            } => self.protocol(namespace, service, protocol),
            Asked::Port {
                namespace,
                service,
                protocol,
                port,
            } => self.port(namespace, service, protocol, port, want),
            Asked::Endpoint {
                namespace,
                service,
                host,
            } => self.endpoint(namespace, service, host, want),
            Asked::Pod { namespace, address } => {
                match (self.namespaces.contains_key(namespace), want, address) {
                    (false, ..) => Verdict::NoSuchName,
                    (true, Want::A, IpAddr::V4(_)) | (true, Want::Aaaa, IpAddr::V6(_)) => {
                        Verdict::records(vec![Data::Address(address)])
                    }
                    _ => Verdict::nodata(),
                }
            }
            Asked::Nothing => Verdict::NoSuchName,
        }
    }

    fn find(&self, namespace: &str, service: &str) -> Option<(&Service, Ready<'_>)> {
        let space = self.namespaces.get(namespace)?;
        let found = space.services.get(service)?;
        Some((
            found,
            Ready {
                slices: space.slices.get(service),
                publish_not_ready: found.publish_not_ready,
            },
        ))
    }

    fn service(&self, namespace: &str, service: &str, want: Want) -> Verdict {
        let Some((found, ready)) = self.find(namespace, service) else {
            return Verdict::NoSuchName;
        };
        match &found.kind {
            Kind::External(target) => Verdict::Alias(target.clone()),
            Kind::ClusterIp(addresses) => {
                let at = self.name(&[service, namespace, "svc"]);
                match want {
                    Want::A | Want::Aaaa => {
                        Verdict::records(of_family(addresses.iter().copied(), want))
                    }
                    Want::Srv => self.cluster_ip_srv(addresses, &at, found.ports.iter()),
                    _ => Verdict::nodata(),
                }
            }
            Kind::Headless => {
                // The specification: a headless Service with no ready endpoint does not exist.
                if ready.endpoints().next().is_none() {
                    return Verdict::NoSuchName;
                }
                match want {
                    Want::A | Want::Aaaa => {
                        Verdict::records(of_family(ready.endpoints().map(|e| e.address), want))
                    }
                    Want::Srv => self.headless_srv(namespace, service, ready, |_| true),
                    _ => Verdict::nodata(),
                }
            }
        }
    }

    fn cluster_ip_srv<'a>(
        &self,
        addresses: &[IpAddr],
        at: &OwnedName,
        ports: impl Iterator<Item = &'a Port>,
    ) -> Verdict {
        let records: Vec<Data> = ports
            .map(|port| Data::Srv {
                port: port.number,
                weight: 100,
                target: at.clone(),
            })
            .collect();
        let additional = match records.is_empty() {
            true => Vec::new(),
            false => addresses.iter().map(|ip| (at.clone(), *ip)).collect(),
        };
        Verdict::Records {
            records,
            additional,
        }
    }

    /// `_tcp.svc.ns.svc`: exists as soon as some named port has the protocol.
    fn protocol(&self, namespace: &str, service: &str, protocol: Protocol) -> Verdict {
        let named = |port: &Port| port.protocol == protocol && !port.name.is_empty();
        match self.find(namespace, service) {
            Some((found, ready)) if found.any_port(&ready, named) => Verdict::nodata(),
            _ => Verdict::NoSuchName,
        }
    }

    fn port(
        &self,
        namespace: &str,
        service: &str,
        protocol: Protocol,
        name: &str,
        want: Want,
    ) -> Verdict {
        let matches = |port: &Port| port.protocol == protocol && &*port.name == name;
        let Some((found, ready)) = self.find(namespace, service) else {
            return Verdict::NoSuchName;
        };
        if !found.any_port(&ready, matches) {
            return Verdict::NoSuchName;
        }
        if want != Want::Srv {
            return Verdict::nodata();
        }
        match &found.kind {
            Kind::ClusterIp(addresses) => {
                let at = self.name(&[service, namespace, "svc"]);
                let ports = found.ports.iter().filter(|port| matches(port));
                self.cluster_ip_srv(addresses, &at, ports)
            }
            Kind::Headless => self.headless_srv(namespace, service, ready, matches),
            Kind::External(_) => Verdict::NoSuchName,
        }
    }

    fn headless_srv(
        &self,
        namespace: &str,
        service: &str,
        ready: Ready<'_>,
        matches: impl Fn(&Port) -> bool,
    ) -> Verdict {
        let mut records = Vec::new();
        let mut additional = Vec::new();
        for (slice, endpoint) in ready.with_slices() {
            let target = self.name(&[&endpoint.host, service, namespace, "svc"]);
            for port in slice.ports.iter().filter(|port| matches(port)) {
                records.push(Data::Srv {
                    port: port.number,
                    weight: 0,
                    target: target.clone(),
                });
            }
            additional.push((target, endpoint.address));
        }
        let share = (100 / records.len().max(1)).max(1) as u16;
        for record in &mut records {
            if let Data::Srv { weight, .. } = record {
                *weight = share;
            }
        }
        if records.is_empty() {
            additional.clear();
        }
        Verdict::Records {
            records,
            additional,
        }
    }

    fn endpoint(&self, namespace: &str, service: &str, host: &str, want: Want) -> Verdict {
        let Some((found, ready)) = self.find(namespace, service) else {
            return Verdict::NoSuchName;
        };
        if found.kind != Kind::Headless {
            return Verdict::NoSuchName;
        }
        let addresses: Vec<IpAddr> = ready
            .endpoints()
            .filter(|endpoint| &*endpoint.host == host)
            .map(|endpoint| endpoint.address)
            .collect();
        match (addresses.is_empty(), want) {
            (true, _) => Verdict::NoSuchName,
            (false, Want::A | Want::Aaaa) => {
                Verdict::records(of_family(addresses.into_iter(), want))
            }
            (false, _) => Verdict::nodata(),
        }
    }

    fn look_up_address(&self, address: IpAddr, want: Want) -> Verdict {
        let mut names = Vec::new();
        for reverse in self.reverse.get(&address).into_iter().flatten() {
            let Some((found, ready)) = self.find(&reverse.namespace, &reverse.service) else {
                continue;
            };
            match &reverse.host {
                None => names.push(self.name(&[&reverse.service, &reverse.namespace, "svc"])),
                Some(host)
                    if found.kind == Kind::Headless
                        && ready.endpoints().any(|e| e.address == address) =>
                {
                    names.push(self.name(&[host, &reverse.service, &reverse.namespace, "svc"]));
                }
                Some(_) => {}
            }
        }
        match (names.is_empty(), want) {
            // Addresses that the cluster does not name may be named by the network around it.
            (true, _) => Verdict::Elsewhere,
            (false, Want::Ptr) => Verdict::records(names.into_iter().map(Data::Ptr).collect()),
            (false, _) => Verdict::nodata(),
        }
    }
}

/// The endpoints of one Service that may be answered with.
#[derive(Clone, Copy)]
struct Ready<'a> {
    slices: Option<&'a BTreeMap<Box<str>, Slice>>,
    publish_not_ready: bool,
}

impl<'a> Ready<'a> {
    fn with_slices(self) -> impl Iterator<Item = (&'a Slice, &'a Endpoint)> {
        self.slices
            .into_iter()
            .flat_map(BTreeMap::values)
            .flat_map(|slice| {
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

fn of_family(addresses: impl Iterator<Item = IpAddr>, want: Want) -> Vec<Data> {
    let mut seen = Vec::new();
    for address in addresses {
        let fits = match want {
            Want::A => address.is_ipv4(),
            Want::Aaaa => address.is_ipv6(),
            _ => false,
        };
        let data = Data::Address(address);
        if fits && !seen.contains(&data) {
            seen.push(data);
        }
    }
    seen
}
