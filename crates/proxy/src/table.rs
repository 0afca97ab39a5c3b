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
//! There is no chain and no rule per Service: the number of rules depends on how many *different*
//! numbers of endpoints there are. Refusals and drops sit in `nat` chains, which see only the first
//! packet of a flow: an established flow outlives the removal of its endpoint.

mod pick;
mod rules;

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use karve_sys::nft::{
    Batch, Data, Element, Family, Hook, Set, SetFlags, Table, Value as Bits, Verdict, types,
};

use crate::dataplane::{Chain, Frontend, Key, List, Pick, Protocol, Value, Via};

/// The table's name.
pub(crate) const TABLE: &str = "karve-proxy";
/// The table's family.
pub(crate) const FAMILY: Family = Family::Ip;

/// What the rules depend on besides the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Addresses of pods: clients from elsewhere are masqueraded on their way to a cluster IP.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of Services: those that no Service has are dropped.
    pub service_cidrs: Vec<Ipv4Net>,
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
}

impl Map {
    pub(crate) const ALL: [Map; 10] = [
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
        }
    }

    /// The fields of its key and of what it maps to.
    fn fields(self) -> (&'static [Field], &'static [Field]) {
        match self {
            Map::ServiceIps => (&[IP, PROTOCOL, PORT], &[]),
            Map::ServiceNodePorts => (&[PROTOCOL, PORT], &[]),
            Map::ExternalIps => (&[IP, PROTOCOL, PORT], &[PAD, IP, PROTOCOL, PORT]),
            Map::NodePorts => (&[PROTOCOL, PORT], &[PAD, IP, PROTOCOL, PORT]),
            Map::Endpoints => (&[IP, PROTOCOL, PORT, NUMBER], &[IP, PORT]),
            Map::AffinityPicks => (&[IP, PROTOCOL, PORT, NUMBER], &[PAD, PAD, IP, PORT]),
            Map::AffinityEndpoints | Map::AffinityLocalEndpoints => {
                (&[IP, PORT, IP, PROTOCOL, PORT], &[])
            }
            Map::ClusterIps => (&[IP], &[]),
            Map::Hairpin => (&[IP, IP], &[]),
        }
    }

    fn verdicts(self) -> bool {
        matches!(self, Map::ServiceIps | Map::ServiceNodePorts)
    }
}

/// Which endpoint a client stays with, filled by the packet path: service port and client to endpoint.
pub(crate) const AFFINITY: &str = "affinity";

type Field = (u32, usize);
const IP: Field = types::IPV4_ADDR;
const PROTOCOL: Field = types::INET_PROTO;
const PORT: Field = types::INET_SERVICE;
const NUMBER: Field = types::MARK;
/// A zero before the result of a map that goes on into a key. The kernel does not need it, but `nft`
/// does: it takes a map's result to be zero bytes long, and aborts (seen in 1.0.6, and still in its
/// source) when the first register of one is in a key. With a pad that register is not.
const PAD: Field = types::MARK;

/// The element in the kernel for an element of the desired state.
pub(crate) fn element(key: &Key, value: &Value) -> Element {
    let bits = key_bits(key);
    match value {
        Value::Drop => Element::verdict(bits, Verdict::Drop),
        Value::Goto(chain) => Element::verdict(bits, Verdict::Goto(Cow::Owned(chain.to_string()))),
        Value::Service(name) => Element::value(bits, frontend_bits(Bits::EMPTY.mark(0), name)),
        Value::Endpoint(address) => {
            let pads = match key {
                Key::AffinityPick(..) => Bits::EMPTY.mark(0).mark(0),
                _ => Bits::EMPTY,
            };
            Element::value(bits, pads.ip(*address.ip()).port(address.port()))
        }
        Value::Present => Element::key(bits),
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
            frontend_bits(bits.ip(*address.ip()).port(address.port()), name)
        }
        Key::ClusterIp(ip) => bits.ip(*ip),
        Key::Hairpin(ip) => bits.ip(*ip).ip(*ip),
    }
}

fn frontend_bits(bits: Bits, frontend: &Frontend) -> Bits {
    bits.ip(frontend.ip)
        .protocol(frontend.protocol.number())
        .port(frontend.port)
}

/// Reads an element of `endpoints` or `affinity-picks` back; `None` when it is not one of ours.
pub(crate) fn parse_endpoint(element: &Element) -> Option<(Key, Value)> {
    let ip = |bits: &[u8]| Some(Ipv4Addr::from(*bits.first_chunk::<4>()?));
    let port = |bits: &[u8]| Some(u16::from_be_bytes(*bits.first_chunk()?));
    let Some(Data::Value(data)) = &element.data else {
        return None;
    };
    /// Bytes of an endpoint without pads.
    const ENDPOINT_BYTES: usize = 8;
    let (pads, endpoint) = data.split_at_checked(data.len().checked_sub(ENDPOINT_BYTES)?)?;
    let protocol = Protocol::from_number(*element.key.get(4)?)?;
    let name = Frontend {
        ip: ip(&element.key)?,
        protocol,
        port: port(element.key.get(8..)?)?,
    };
    let number = u32::from_ne_bytes(*element.key.get(12..)?.first_chunk()?);
    let list = if number < List::Local.offset() {
        List::Cluster
    } else {
        List::Local
    };
    let slot = u16::try_from(number - list.offset()).ok()?;
    let key = match pads {
        [] => Key::Endpoint(name, list, slot),
        _ => Key::AffinityPick(name, list, slot),
    };
    Some((
        key,
        Value::Endpoint(SocketAddrV4::new(ip(endpoint)?, port(endpoint.get(4..)?)?)),
    ))
}

/// Appends the making of the table with its fixed frame: sets, base chains and `services`.
pub(crate) fn add_frame(batch: &mut Batch, layout: &Layout) {
    batch.add_table(&Table {
        name: TABLE,
        userdata: fingerprint(layout).as_bytes(),
    });
    add_frame_in(batch, layout);
}

fn add_frame_in(batch: &mut Batch, layout: &Layout) {
    for map in Map::ALL {
        let (key, data) = map.fields();
        let (flags, timeout) = (SetFlags::default(), None);
        let verdicts = map.verdicts();
        batch.add_set(
            TABLE,
            &Set {
                name: map.name(),
                flags,
                key,
                data,
                verdicts,
                timeout,
            },
        );
    }
    batch.add_set(
        TABLE,
        &Set {
            name: AFFINITY,
            flags: SetFlags {
                timeout: true,
                dynamic: true,
                interval: false,
            },
            key: &[IP, PROTOCOL, PORT, IP],
            data: &[PAD, IP, PORT],
            verdicts: false,
            timeout: None,
        },
    );
    add_chain(batch, Chain::Refuse);
    rules::add_services(batch, layout);
    /// `NF_INET_PRE_ROUTING`, `_LOCAL_OUT` and `_POST_ROUTING` with `NF_IP_PRI_NAT_DST` and `_SRC`.
    const HOOKS: [(&str, u32, i32); 3] = [
        ("nat-prerouting", 0, -100),
        ("nat-output", 3, -100),
        ("nat-postrouting", 4, 100),
    ];
    for (name, number, priority) in HOOKS {
        let hook = Some(Hook {
            kind: "nat",
            number,
            priority,
        });
        batch.add_chain(TABLE, &karve_sys::nft::Chain { name, hook });
    }
    rules::add_base(batch);
}

/// Appends the making of a chain without its rules.
pub(crate) fn add_chain(batch: &mut Batch, chain: Chain) {
    let name = chain.to_string();
    batch.add_chain(
        TABLE,
        &karve_sys::nft::Chain {
            name: &name,
            hook: None,
        },
    );
}

/// Appends the rules of a chain; all chains that they go to must have been made.
pub(crate) fn add_rules(batch: &mut Batch, layout: &Layout, chain: Chain) {
    rules::add(batch, layout, chain);
}

/// Whether a chain is part of the frame.
pub(crate) fn is_fixed_chain(name: &str) -> bool {
    [
        "services",
        "nat-prerouting",
        "nat-output",
        "nat-postrouting",
        "refuse",
    ]
    .contains(&name)
}

/// Tells tables that other versions or settings made from ours: a hash over the frame and over one
/// chain of each kind, kept as the table's user data.
pub(crate) fn fingerprint(layout: &Layout) -> String {
    let mut batch = Batch::new(FAMILY);
    add_frame_in(&mut batch, layout);
    for via in [Via::ClusterIp, Via::ExternalIp, Via::NodePort] {
        for affinity in [None, Some(1)] {
            let pick = Pick {
                via,
                list: List::Cluster,
                count: 2,
                affinity,
            };
            for chain in [
                Chain::Internal(pick),
                Chain::ExternalLocal { pick, local: 1 },
            ] {
                std::iter::once(chain)
                    .chain(chain.targets())
                    .for_each(|chain| {
                        add_rules(&mut batch, layout, chain);
                    });
            }
        }
    }
    format!("karve-proxy {:016x}", fnv1a(batch.bytes()))
}

/// FNV-1a: short, stable and good enough where nobody attacks.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
