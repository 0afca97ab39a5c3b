//! The rules, as nf_tables expressions.
//!
//! Registers: 2-3 the endpoint, 4-6 the service port (cluster IP, protocol, port), 7 the number of
//! the endpoint or the client. A map's result starts one register earlier when it goes on into a key
//! (see [`super::PAD`]). Each rule loads all that it uses: kernels since 6.11 forget registers between
//! rules.

use std::time::Duration;

use ipnet::Ipv4Net;
use karve_sys::nft::{
    Batch, Cmp, DynsetOp, Expr, Family, FibFlags, FibResult, MetaKey, Nat, PayloadBase, Register,
    Reject, Verdict,
};

use super::{AFFINITY, Chain, Layout, Map, Pick, TABLE, Via};

/// The packet mark that asks for masquerading: bit 14, as upstream's default.
const MASQUERADE_MARK: u32 = 0x4000;
const SERVICES: &str = "services";

const ENDPOINT: Register = Register::new(2);
const ENDPOINT_PORT: Register = Register::new(3);
const SERVICE: Register = Register::new(4);
const SERVICE_PROTOCOL: Register = Register::new(5);
const SERVICE_PORT: Register = Register::new(6);
const NUMBER: Register = Register::new(7);
/// Behind the service port too, so that both make up the key of [`AFFINITY`].
const CLIENT: Register = NUMBER;
/// The pads before the service port and before the endpoint, and a second one before that.
const PADDED_SERVICE: Register = Register::new(3);
const PADDED_ENDPOINT: Register = Register::new(1);
const TWICE_PADDED_ENDPOINT: Register = Register::new(0);
const FOUND: [Register; 3] = [PADDED_ENDPOINT, ENDPOINT, ENDPOINT_PORT];
const BLANK: [Register; 3] = [Register::new(8), Register::new(9), Register::new(10)];
/// For comparisons that keep nothing.
const SCRATCH: Register = Register::new(8);
const SCRATCH_NEXT: Register = Register::new(9);

/// `RTN_LOCAL` of `linux/rtnetlink.h`.
const RTN_LOCAL: u32 = 2;
const SADDR_OFFSET: u32 = 12;
const DADDR_OFFSET: u32 = 16;

/// Appends the rules of a chain.
pub(super) fn add(batch: &mut Batch, layout: &Layout, chain: Chain) {
    let name = chain.to_string();
    match chain {
        Chain::Refuse => {
            let refuse = Expr::Reject(Reject::PortUnreachable(Family::Ip));
            batch.add_rule(TABLE, &name, "", &[refuse]);
        }
        Chain::Direct(pick) => add_pick(batch, &name, pick),
        Chain::Internal(pick) => {
            let from_outside =
                [in_net(SADDR_OFFSET, layout.cluster_cidr, Cmp::Neq), mark()].concat();
            batch.add_rule(
                TABLE,
                &name,
                "clients outside of the cluster",
                &from_outside,
            );
            add_pick(batch, &name, pick);
        }
        Chain::External(pick) => {
            batch.add_rule(TABLE, &name, "", &mark());
            add_pick(batch, &name, pick);
        }
        Chain::ExternalLocal { pick, local } => {
            let goto = |chain: Chain| vec![Expr::Verdict(Verdict::Goto(chain.to_string().into()))];
            let pods = [
                in_net(SADDR_OFFSET, layout.cluster_cidr, Cmp::Eq),
                goto(Chain::Direct(pick)),
            ];
            batch.add_rule(TABLE, &name, "pods: the whole cluster", &pods.concat());
            let node = [is_local(FibFlags::Saddr), goto(Chain::External(pick))];
            batch.add_rule(TABLE, &name, "the node: the whole cluster", &node.concat());
            if local == 0 {
                batch.add_rule(
                    TABLE,
                    &name,
                    "no local endpoint",
                    &[Expr::Verdict(Verdict::Drop)],
                );
            } else {
                add_pick(batch, &name, Chain::local_pick(pick, local));
            }
        }
    }
}

/// Appends the chain `services`, which every new flow passes, and the rules of `refuse`.
pub(super) fn add_services(batch: &mut Batch, layout: &Layout) {
    add(batch, layout, Chain::Refuse);
    batch.add_chain(
        TABLE,
        &karve_sys::nft::Chain {
            name: SERVICES,
            hook: None,
        },
    );
    let by_ip = [destination(), vec![verdict_of(Map::ServiceIps, SERVICE)]].concat();
    batch.add_rule(TABLE, SERVICES, "", &by_ip);
    let loopback = Ipv4Net::new([127, 0, 0, 0].into(), 8).expect("a valid prefix");
    let by_node_port = [
        is_local(FibFlags::Daddr),
        in_net(DADDR_OFFSET, loopback, Cmp::Neq),
        destination(),
        vec![verdict_of(Map::ServiceNodePorts, SERVICE_PROTOCOL)],
    ];
    batch.add_rule(TABLE, SERVICES, "", &by_node_port.concat());
    let own = [
        is_local(FibFlags::Daddr),
        vec![Expr::Verdict(Verdict::Return)],
    ]
    .concat();
    batch.add_rule(TABLE, SERVICES, "the node's own addresses", &own);
    let other_ports = [
        load_ip(DADDR_OFFSET, SCRATCH),
        Expr::Lookup {
            set: Map::ClusterIps.name().into(),
            sreg: SCRATCH,
            invert: false,
        },
        Expr::Verdict(Verdict::Goto(Chain::Refuse.to_string().into())),
    ];
    batch.add_rule(
        TABLE,
        SERVICES,
        "ports that the service does not have",
        &other_ports,
    );
    for cidr in &layout.service_cidrs {
        let unallocated = [
            in_net(DADDR_OFFSET, *cidr, Cmp::Eq),
            vec![Expr::Verdict(Verdict::Drop)],
        ];
        batch.add_rule(
            TABLE,
            SERVICES,
            "unallocated cluster IPs",
            &unallocated.concat(),
        );
    }
}

/// Appends the rules of the base chains.
pub(super) fn add_base(batch: &mut Batch) {
    for chain in ["nat-prerouting", "nat-output"] {
        batch.add_rule(
            TABLE,
            chain,
            "",
            &[Expr::Verdict(Verdict::Jump(SERVICES.into()))],
        );
    }
    let mask = MASQUERADE_MARK.to_ne_bytes().to_vec();
    let zero = vec![0; 4];
    let masquerade = Expr::Masquerade { fully_random: true };
    let marked = [
        Expr::Meta {
            key: MetaKey::Mark,
            dreg: SCRATCH,
        },
        Expr::Bitwise {
            sreg: SCRATCH,
            dreg: SCRATCH,
            mask: mask.clone(),
            xor: zero.clone(),
        },
        Expr::Cmp {
            sreg: SCRATCH,
            op: Cmp::Neq,
            value: zero,
        },
        Expr::Meta {
            key: MetaKey::Mark,
            dreg: SCRATCH,
        },
        Expr::Bitwise {
            sreg: SCRATCH,
            dreg: SCRATCH,
            mask: vec![0xff; 4],
            xor: mask,
        },
        Expr::MetaSet {
            key: MetaKey::Mark,
            sreg: SCRATCH,
        },
        masquerade.clone(),
    ];
    batch.add_rule(TABLE, "nat-postrouting", "", &marked);
    let own_client = [
        load_ip(SADDR_OFFSET, SCRATCH),
        load_ip(DADDR_OFFSET, SCRATCH_NEXT),
        Expr::Lookup {
            set: Map::Hairpin.name().into(),
            sreg: SCRATCH,
            invert: false,
        },
        masquerade,
    ];
    batch.add_rule(
        TABLE,
        "nat-postrouting",
        "an endpoint that is its own client",
        &own_client,
    );
}

/// Appends the choice of an endpoint.
fn add_pick(batch: &mut Batch, chain: &str, pick: Pick) {
    let Some(seconds) = pick.affinity else {
        let choose = [
            service_port(pick.via),
            choose(pick, Map::Endpoints, ENDPOINT),
            vec![dnat()],
        ];
        batch.add_rule(TABLE, chain, comment(pick.via), &choose.concat());
        return;
    };
    let timeout = Some(Duration::from_secs(u64::from(seconds)));
    let affinity = |op, data, timeout| Expr::Dynset {
        set: AFFINITY.into(),
        op,
        key: SERVICE,
        data: Some(data),
        timeout,
    };
    let endpoints = Map::affinity_endpoints(pick.list).name();
    let mut stay = blank_endpoint(BLANK);
    stay.extend([
        load_ip(SADDR_OFFSET, CLIENT),
        Expr::MapLookup {
            set: AFFINITY.into(),
            sreg: SERVICE,
            dreg: PADDED_ENDPOINT,
        },
        Expr::Lookup {
            set: endpoints.into(),
            sreg: ENDPOINT,
            invert: false,
        },
        // An element that is there keeps its data. One that went this instant is made with zeroes,
        // which are no endpoint, so that the client is then a new one.
        affinity(DynsetOp::Update, BLANK[0], timeout),
        dnat(),
    ]);
    let known = [service_port(pick.via), blank_endpoint(FOUND), stay];
    batch.add_rule(
        TABLE,
        chain,
        "known clients: endpoint by @affinity",
        &known.concat(),
    );
    // An element keeps its data when it is added again, so one with a former endpoint goes first.
    let remember = vec![
        load_ip(SADDR_OFFSET, CLIENT),
        affinity(DynsetOp::Delete, PADDED_ENDPOINT, None),
        affinity(DynsetOp::Add, PADDED_ENDPOINT, timeout),
        dnat(),
    ];
    let choose = choose(pick, Map::AffinityPicks, TWICE_PADDED_ENDPOINT);
    let new = [
        service_port(pick.via),
        blank_endpoint(FOUND),
        choose.clone(),
        remember,
    ];
    batch.add_rule(
        TABLE,
        chain,
        "new clients: endpoint by @affinity-picks",
        &new.concat(),
    );
    // A full map ends the rule before; such a client is served without being remembered.
    let other = [
        service_port(pick.via),
        blank_endpoint(FOUND),
        choose,
        vec![dnat()],
    ];
    batch.add_rule(
        TABLE,
        chain,
        "no room to remember: endpoint by @affinity-picks",
        &other.concat(),
    );
}

/// Loads a random endpoint of the service port.
fn choose(pick: Pick, endpoints: Map, dreg: Register) -> Vec<Expr> {
    let (modulus, offset) = (u32::from(pick.count), pick.list.offset());
    let number = Expr::NumgenRandom {
        dreg: NUMBER,
        modulus,
        offset,
    };
    vec![number, map(endpoints, SERVICE, dreg)]
}

/// Zeroes a padded endpoint, so that `nft` knows how long its parts are.
fn blank_endpoint(registers: [Register; 3]) -> Vec<Expr> {
    let blank = |(dreg, len): (Register, usize)| Expr::Immediate {
        dreg,
        value: vec![0; len],
    };
    registers.into_iter().zip([4, 4, 2]).map(blank).collect()
}

fn dnat() -> Expr {
    Expr::Nat {
        kind: Nat::Destination,
        family: Family::Ip,
        addr: ENDPOINT,
        port: Some(ENDPOINT_PORT),
    }
}

/// Loads the service port that the packet means.
fn service_port(via: Via) -> Vec<Expr> {
    let mut exprs = destination();
    match via {
        Via::ClusterIp => {}
        Via::ExternalIp => exprs.push(map(Map::ExternalIps, SERVICE, PADDED_SERVICE)),
        Via::NodePort => exprs.push(map(Map::NodePorts, SERVICE_PROTOCOL, PADDED_SERVICE)),
    }
    exprs
}

/// What `nft` cannot print of [`service_port`].
fn comment(via: Via) -> &'static str {
    match via {
        Via::ClusterIp => "",
        Via::ExternalIp => "service by @external-ips",
        Via::NodePort => "service by @nodeports",
    }
}

/// Loads destination address, protocol and port.
fn destination() -> Vec<Expr> {
    let port = Expr::Payload {
        base: PayloadBase::Transport,
        offset: 2,
        len: 2,
        dreg: SERVICE_PORT,
    };
    let protocol = Expr::Meta {
        key: MetaKey::L4proto,
        dreg: SERVICE_PROTOCOL,
    };
    vec![load_ip(DADDR_OFFSET, SERVICE), protocol, port]
}

fn load_ip(offset: u32, dreg: Register) -> Expr {
    Expr::Payload {
        base: PayloadBase::Network,
        offset,
        len: 4,
        dreg,
    }
}

fn map(map: Map, sreg: Register, dreg: Register) -> Expr {
    Expr::MapLookup {
        set: map.name().into(),
        sreg,
        dreg,
    }
}

fn verdict_of(map: Map, sreg: Register) -> Expr {
    Expr::VerdictLookup {
        set: map.name().into(),
        sreg,
    }
}

/// Whether the address at `offset` is in `net` (or is not, with [`Cmp::Neq`]).
fn in_net(offset: u32, net: Ipv4Net, op: Cmp) -> Vec<Expr> {
    let mask = net.netmask().octets().to_vec();
    vec![
        load_ip(offset, SCRATCH),
        Expr::Bitwise {
            sreg: SCRATCH,
            dreg: SCRATCH,
            mask,
            xor: vec![0; 4],
        },
        Expr::Cmp {
            sreg: SCRATCH,
            op,
            value: net.network().octets().to_vec(),
        },
    ]
}

/// Whether an address of the packet is one of the node's own.
fn is_local(flags: FibFlags) -> Vec<Expr> {
    let value = RTN_LOCAL.to_ne_bytes().to_vec();
    vec![
        Expr::Fib {
            dreg: SCRATCH,
            result: FibResult::AddrType,
            flags,
        },
        Expr::Cmp {
            sreg: SCRATCH,
            op: Cmp::Eq,
            value,
        },
    ]
}

/// Asks for masquerading.
fn mark() -> Vec<Expr> {
    let (mask, xor) = (!MASQUERADE_MARK, MASQUERADE_MARK);
    vec![
        Expr::Meta {
            key: MetaKey::Mark,
            dreg: SCRATCH,
        },
        Expr::Bitwise {
            sreg: SCRATCH,
            dreg: SCRATCH,
            mask: mask.to_ne_bytes().to_vec(),
            xor: xor.to_ne_bytes().to_vec(),
        },
        Expr::MetaSet {
            key: MetaKey::Mark,
            sreg: SCRATCH,
        },
    ]
}
