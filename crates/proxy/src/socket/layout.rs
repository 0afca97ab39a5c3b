//! How keys and values lie in the balancer's maps: the structs of `bpf/balancer.c`, and back.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use karve_sys::bpf::{Kind, MapSpec};

use super::wanted::{Address, Target};
use crate::dataplane::{Family, Frontend, List, Protocol};

/// The maps. Their sizes bound what one node can hold; what doesn't fit is left to the rules.
pub(super) const MAPS: [MapSpec; 7] = [
    FRONTENDS,
    SERVICES,
    ENDPOINTS,
    MEMBERS,
    MapSpec {
        name: "clients",
        kind: Kind::LruHash,
        key: ADDRESS + 12,
        value: ENDPOINT + 12,
        max: 1 << 14,
    },
    NODE_IPS,
    MapSpec {
        name: "peers",
        kind: Kind::SocketStorage,
        key: 4,
        value: ADDRESS + ENDPOINT,
        max: 0,
    },
];
/// Addresses to targets.
pub(super) const FRONTENDS: MapSpec = hash("frontends", ADDRESS, ADDRESS + 8, 1 << 17);
/// Service ports to the sets that are their lists.
pub(super) const SERVICES: MapSpec = hash("services", ADDRESS, 16, 1 << 16);
/// Sets and numbers to endpoints.
pub(super) const ENDPOINTS: MapSpec = hash("endpoints", 8, ENDPOINT, 1 << 18);
/// Endpoints of sets that clients may stay with.
pub(super) const MEMBERS: MapSpec = hash("members", 4 + ENDPOINT, 4, 1 << 16);
/// The node's addresses.
pub(super) const NODE_IPS: MapSpec = hash("node_ips", 16, 4, 1 << 10);

const ADDRESS: usize = 20;
const ENDPOINT: usize = 20;

const fn hash(name: &'static str, key: usize, value: usize, max: u32) -> MapSpec {
    MapSpec {
        name,
        kind: Kind::Hash,
        key,
        value,
        max,
    }
}

/// `struct address`.
pub(super) fn address(family: Family, address: &Address) -> Vec<u8> {
    let (ip, port, protocol, node_port) = match address {
        Address::Ip(frontend) => (frontend.ip, frontend.port, frontend.protocol, 0),
        Address::NodePort(port) => (unspecified(family), *port, Protocol::Tcp, 1),
    };
    [
        &ip_bytes(ip)[..],
        &port.to_be_bytes(),
        &[protocol.number(), node_port],
    ]
    .concat()
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    }
}

/// `struct address` of a service port.
pub(super) fn service(family: Family, name: &Frontend) -> Vec<u8> {
    address(family, &Address::Ip(*name))
}

/// `struct target`.
pub(super) fn target(family: Family, target: &Target) -> Vec<u8> {
    let list: u32 = match target.list {
        List::Cluster => 0,
        List::Local => 1,
    };
    [
        service(family, &target.service),
        list.to_ne_bytes().to_vec(),
        target.affinity.to_ne_bytes().to_vec(),
    ]
    .concat()
}

/// `struct lists`: two sets, then two counts.
pub(super) fn lists(sets: [(u32, usize); 2]) -> Vec<u8> {
    let [(cluster, cluster_count), (local, local_count)] = sets;
    let count = |count| u32::try_from(count).expect("cut to 65535 by the plan");
    let words = [cluster, local, count(cluster_count), count(local_count)];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct slot`.
pub(super) fn slot(set: u32, number: u32) -> Vec<u8> {
    [set.to_ne_bytes(), number.to_ne_bytes()].concat()
}

/// `struct endpoint`.
pub(super) fn endpoint(endpoint: &SocketAddr) -> Vec<u8> {
    [
        &ip_bytes(endpoint.ip())[..],
        &endpoint.port().to_be_bytes(),
        &[0, 0],
    ]
    .concat()
}

/// `struct member`.
pub(super) fn member(set: u32, address: &SocketAddr) -> Vec<u8> {
    [set.to_ne_bytes().to_vec(), endpoint(address)].concat()
}

/// IPv4 addresses as `::ffff:a.b.c.d`.
pub(super) fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Reads an address back.
pub(super) fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    let ip = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
    Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
}

/// Reads a `struct address` back, with its family.
pub(super) fn parse_address(bytes: &[u8]) -> Option<(Family, Address)> {
    let ip = parse_ip(bytes)?;
    let port = u16::from_be_bytes(*bytes.get(16..)?.first_chunk()?);
    let protocol = Protocol::from_number(*bytes.get(18)?)?;
    let address = match bytes.get(19)? {
        0 => Address::Ip(Frontend { ip, protocol, port }),
        _ => Address::NodePort(port),
    };
    Some((Family::of(ip), address))
}

/// Reads a `struct target` back.
pub(super) fn parse_target(bytes: &[u8]) -> Option<Target> {
    let Some((_, Address::Ip(service))) = parse_address(bytes) else {
        return None;
    };
    let word = |at| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let list = match word(ADDRESS)? {
        0 => List::Cluster,
        _ => List::Local,
    };
    Some(Target {
        service,
        list,
        affinity: word(ADDRESS + 4)?,
    })
}

/// Reads a `struct lists` back.
pub(super) fn parse_lists(bytes: &[u8]) -> Option<[(u32, usize); 2]> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at * 4..)?.first_chunk()?));
    Some([(word(0)?, word(2)? as usize), (word(1)?, word(3)? as usize)])
}

/// Reads a `struct slot` back.
pub(super) fn parse_slot(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    Some((word(0)?, word(4)?))
}

/// Reads a `struct endpoint` back.
pub(super) fn parse_endpoint(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*bytes.get(16..)?.first_chunk()?);
    Some(SocketAddr::new(parse_ip(bytes)?, port))
}
