//! The nf_tables table: its fixed frame, and the rules of its chains.
//!
//! ```text
//! nat-prerouting, nat-output -> services:
//!   daddr . protocol . dport                 vmap @service-ips        -> chain, or drop
//!   daddr is local: protocol . dport         vmap @service-nodeports  -> chain, or drop
//!   daddr in @cluster-ips                    -> refuse
//! chain for K endpoints:
//!   service port = daddr . protocol . dport  (map @external-ips or @nodeports, unless a cluster IP)
//!   service port . random mod K              map @endpoints           -> dnat
//! nat-postrouting:
//!   marked, or saddr . daddr in @hairpin     -> masquerade
//! ```
//!
//! `guarded-…` chains come first where a load balancer address takes only some clients (@source-ranges).
//!
//! There is no chain and no rule per Service: the number of rules depends on how many *different*
//! numbers of endpoints there are. Refusals and drops sit in `nat` chains, which see only the first
//! packet of a flow: an established flow outlives the removal of its endpoint.

mod frame;
mod pick;
mod registers;
mod rules;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use karve_sys::nft::{self, Batch, Data, Element, Value as Bits, Verdict, types};

pub(crate) use self::frame::{add as add_frame, fingerprint, fixed_rules, is_fixed_chain};
use crate::dataplane::{Chain, Family, Frontend, Key, List, Pick, Protocol, Value, Via};

/// The table's name, in each family.
pub(crate) const TABLE: &str = "karve-proxy";

/// The kernel's family of the table.
pub(crate) fn nft_family(family: Family) -> nft::Family {
    match family {
        Family::V4 => nft::Family::Ip,
        Family::V6 => nft::Family::Ip6,
    }
}

/// What the rules depend on besides the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The addresses that the table is about.
    pub family: Family,
    /// Addresses of pods: clients from elsewhere are masqueraded on their way to a cluster IP. Where none
    /// are known nobody is taken for a pod, and nobody masqueraded for not being one.
    pub cluster_cidrs: Vec<IpNet>,
    /// Addresses of Services: those that no Service has are dropped.
    pub service_cidrs: Vec<IpNet>,
    /// The node's addresses that node ports answer on; all but loopback when empty.
    pub node_port_addresses: Vec<IpNet>,
}

/// A map or set of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Map {
    ServiceIps,
    ServiceNodePorts,
    ExternalIps,
    NodePorts,
    Endpoints,
    AffinityPicks,
    AffinityEndpoints,
    AffinityLocalEndpoints,
    ClusterIps,
    Hairpin,
    SourceRanges,
}

impl Map {
    pub(crate) const ALL: [Map; 11] = [
        Map::ServiceIps,
        Map::ServiceNodePorts,
        Map::ExternalIps,
        Map::NodePorts,
        Map::Endpoints,
        Map::AffinityPicks,
        Map::AffinityEndpoints,
        Map::AffinityLocalEndpoints,
        Map::ClusterIps,
        Map::Hairpin,
        Map::SourceRanges,
    ];

    /// The map that holds `key`.
    pub(crate) fn of(key: &Key) -> Self {
        match key {
            Key::ServiceIp(_) => Map::ServiceIps,
            Key::NodePort(..) => Map::ServiceNodePorts,
            Key::ExternalIp(_) => Map::ExternalIps,
            Key::NodePortTarget(..) => Map::NodePorts,
            Key::Endpoint(..) => Map::Endpoints,
            Key::AffinityPick(..) => Map::AffinityPicks,
            Key::AffinityEndpoint(_, list, _) => Map::affinity_endpoints(*list),
            Key::ClusterIp(_) => Map::ClusterIps,
            Key::Hairpin(_) => Map::Hairpin,
            Key::SourceRange(..) => Map::SourceRanges,
        }
    }

    /// The set of endpoints of a list that clients may stay with.
    pub(crate) fn affinity_endpoints(list: List) -> Self {
        match list {
            List::Cluster => Map::AffinityEndpoints,
            List::Local => Map::AffinityLocalEndpoints,
        }
    }

    /// Its name in the kernel.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Map::ServiceIps => "service-ips",
            Map::ServiceNodePorts => "service-nodeports",
            Map::ExternalIps => "external-ips",
            Map::NodePorts => "nodeports",
            Map::Endpoints => "endpoints",
            Map::AffinityPicks => "affinity-picks",
            Map::AffinityEndpoints => "affinity-endpoints",
            Map::AffinityLocalEndpoints => "affinity-local-endpoints",
            Map::ClusterIps => "cluster-ips",
            Map::Hairpin => "hairpin",
            Map::SourceRanges => "source-ranges",
        }
    }

    /// The fields of its key and of what it maps to.
    fn fields(self, family: Family) -> (Vec<Field>, Vec<Field>) {
        let ip = ip_field(family);
        let frontend = [ip, PROTOCOL, PORT];
        let padded = || [&[PAD][..], &frontend].concat();
        match self {
            Map::ServiceIps => (frontend.to_vec(), vec![]),
            Map::ServiceNodePorts => (vec![PROTOCOL, PORT], vec![]),
            Map::ExternalIps => (frontend.to_vec(), padded()),
            Map::NodePorts => (vec![PROTOCOL, PORT], padded()),
            Map::Endpoints => ([&frontend[..], &[NUMBER]].concat(), vec![ip, PORT]),
            Map::AffinityPicks => ([&frontend[..], &[NUMBER]].concat(), vec![PAD, ip, PORT]),
            Map::AffinityEndpoints | Map::AffinityLocalEndpoints => {
                ([&[ip, PORT], &frontend[..]].concat(), vec![])
            }
            Map::ClusterIps => (vec![ip], vec![]),
            Map::Hairpin => (vec![ip, ip], vec![]),
            Map::SourceRanges => ([&frontend[..], &[ip]].concat(), vec![]),
        }
    }

    fn verdicts(self) -> bool {
        matches!(self, Map::ServiceIps | Map::ServiceNodePorts)
    }
}

/// Which endpoint a client stays with, filled by the packet path: service port and client to endpoint.
pub(crate) const AFFINITY: &str = "affinity";

type Field = (u32, usize);
const PROTOCOL: Field = types::INET_PROTO;
const PORT: Field = types::INET_SERVICE;
const NUMBER: Field = types::MARK;
/// A zero before the result of a map that goes on into a key. The kernel does not need it, but `nft`
/// does: it takes a map's result to be zero bytes long, and aborts (seen in 1.0.6, and still in its
/// source) when the first register of one is in a key. With a pad that register is not.
const PAD: Field = types::MARK;

fn ip_field(family: Family) -> Field {
    match family {
        Family::V4 => types::IPV4_ADDR,
        Family::V6 => types::IPV6_ADDR,
    }
}

/// The element in the kernel for an element of the desired state.
pub(crate) fn element(key: &Key, value: &Value) -> Element {
    let bits = key_bits(key);
    match value {
        Value::Drop => Element::verdict(bits, Verdict::Drop),
        Value::Goto(chain) => Element::verdict(bits, Verdict::Goto(Cow::Owned(chain.to_string()))),
        Value::Service(name) => Element::value(bits, frontend_bits(Bits::EMPTY.mark(0), name)),
        Value::Endpoint(address) => {
            let pads = match key {
                Key::AffinityPick(..) => Bits::EMPTY.mark(0),
                _ => Bits::EMPTY,
            };
            Element::value(bits, pads.ip(address.ip()).port(address.port()))
        }
        Value::Present => Element {
            key_end: last_bits(key),
            ..Element::key(bits)
        },
    }
}

/// The end of an interval.
fn last_bits(key: &Key) -> Option<Bits> {
    match key {
        Key::SourceRange(name, net) => Some(frontend_bits(Bits::EMPTY, name).ip(net.broadcast())),
        _ => None,
    }
}

/// A key as it lies in registers; the fields are those of [`Map::fields`].
fn key_bits(key: &Key) -> Bits {
    let bits = Bits::EMPTY;
    match key {
        Key::ServiceIp(frontend) | Key::ExternalIp(frontend) => frontend_bits(bits, frontend),
        Key::NodePort(protocol, port) | Key::NodePortTarget(protocol, port) => {
            bits.protocol(protocol.number()).port(*port)
        }
        Key::Endpoint(name, list, slot) | Key::AffinityPick(name, list, slot) => {
            frontend_bits(bits, name).mark(list.offset() + u32::from(*slot))
        }
        Key::AffinityEndpoint(name, _, address) => {
            frontend_bits(bits.ip(address.ip()).port(address.port()), name)
        }
        Key::ClusterIp(ip) => bits.ip(*ip),
        Key::Hairpin(ip) => bits.ip(*ip).ip(*ip),
        Key::SourceRange(name, net) => frontend_bits(bits, name).ip(net.network()),
    }
}

fn frontend_bits(bits: Bits, frontend: &Frontend) -> Bits {
    bits.ip(frontend.ip)
        .protocol(frontend.protocol.number())
        .port(frontend.port)
}

/// Reads an element of `endpoints` or `affinity-picks` back; `None` when it is not one of ours.
pub(crate) fn parse_endpoint(family: Family, element: &Element) -> Option<(Key, Value)> {
    let Some(Data::Value(data)) = &element.data else {
        return None;
    };
    let (name, rest) = read_frontend(family, &element.key)?;
    let number = u32::from_ne_bytes(*rest.first_chunk()?);
    let list = if number < List::Local.offset() {
        List::Cluster
    } else {
        List::Local
    };
    let slot = u16::try_from(number - list.offset()).ok()?;
    let (_, ip_len) = ip_field(family);
    /// Bytes of a port, and of a pad.
    const WORD: usize = 4;
    let (pads, endpoint) = data.split_at_checked(data.len().checked_sub(ip_len + WORD)?)?;
    let key = match pads {
        [] => Key::Endpoint(name, list, slot),
        _ => Key::AffinityPick(name, list, slot),
    };
    let (ip, rest) = read_ip(family, endpoint)?;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    Some((key, Value::Endpoint(SocketAddr::new(ip, port))))
}

fn read_ip(family: Family, bits: &[u8]) -> Option<(IpAddr, &[u8])> {
    match family {
        Family::V4 => bits
            .split_first_chunk::<4>()
            .map(|(ip, rest)| (IpAddr::from(*ip), rest)),
        Family::V6 => bits
            .split_first_chunk::<16>()
            .map(|(ip, rest)| (IpAddr::from(*ip), rest)),
    }
}

fn read_frontend(family: Family, bits: &[u8]) -> Option<(Frontend, &[u8])> {
    let (ip, rest) = read_ip(family, bits)?;
    let ([protocol, _, _, _, high, low, _, _], rest) = rest.split_first_chunk::<8>()?;
    let frontend = Frontend {
        ip,
        protocol: Protocol::from_number(*protocol)?,
        port: u16::from_be_bytes([*high, *low]),
    };
    Some((frontend, rest))
}

/// Appends the making of a chain without its rules.
pub(crate) fn add_chain(batch: &mut Batch, chain: Chain) {
    let name = chain.to_string();
    batch.add_chain(
        TABLE,
        &nft::Chain {
            name: &name,
            hook: None,
        },
    );
}

/// Appends the rules of a chain; all chains that they go to must have been made.
pub(crate) fn add_rules(batch: &mut Batch, layout: &Layout, chain: Chain) {
    rules::Rules::new(layout).add(batch, chain);
}

/// How many rules a chain has.
pub(crate) fn count_rules(layout: &Layout, chain: Chain) -> usize {
    let mut batch = Batch::new(nft_family(layout.family));
    add_rules(&mut batch, layout, chain);
    batch.messages()
}

#[cfg(test)]
mod tests;
