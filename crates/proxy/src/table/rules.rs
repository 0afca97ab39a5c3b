//! The rules, as nf_tables expressions.
//!
//! Registers: 0 the client (session affinity only), 1-3 the service port (cluster IP, protocol,
//! port), 4-5 the endpoint or in 4 its number, 6 the list. Each rule loads all that it uses: kernels
//! since 6.11 forget registers between rules.

use std::time::Duration;

use ipnet::Ipv4Net;
use karve_sys::nft::{
    Batch, Cmp, DynsetOp, Expr, Family, FibFlags, FibResult, MetaKey, Nat, PayloadBase, Register,
    Reject, Verdict,
};

use super::{AFFINITY, Chain, From, Layout, Map, Pick, TABLE};

/// The packet mark that asks for masquerading: bit 14, as upstream's default.
const MASQUERADE_MARK: u32 = 0x4000;
const SERVICES: &str = "services";

const CLIENT: Register = Register::new(0);
const SERVICE: Register = Register::new(1);
const SERVICE_PROTOCOL: Register = Register::new(2);
const SERVICE_PORT: Register = Register::new(3);
const ENDPOINT: Register = Register::new(4);
const ENDPOINT_PORT: Register = Register::new(5);
const LIST: Register = Register::new(6);
/// For comparisons that keep nothing.
const SCRATCH: Register = Register::new(8);

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
        // Source and destination lie side by side in the header.
        Expr::Payload {
            base: PayloadBase::Network,
            offset: SADDR_OFFSET,
            len: 8,
            dreg: SCRATCH,
        },
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
    let key = service_port(pick.from);
    let number = match pick.count {
        1 => {
            let value = pick.list.offset().to_ne_bytes().to_vec();
            Expr::Immediate {
                dreg: ENDPOINT,
                value,
            }
        }
        count => Expr::NumgenRandom {
            dreg: ENDPOINT,
            modulus: u32::from(count),
            offset: pick.list.offset(),
        },
    };
    let choose = vec![number, map(Map::Endpoints, SERVICE, ENDPOINT)];
    let dnat = Expr::Nat {
        kind: Nat::Destination,
        family: Family::Ip,
        addr: ENDPOINT,
        port: Some(ENDPOINT_PORT),
    };
    let Some(seconds) = pick.affinity else {
        batch.add_rule(TABLE, chain, "", &[key, choose, vec![dnat]].concat());
        return;
    };
    let client = vec![load_ip(SADDR_OFFSET, CLIENT)];
    let affinity = |op, timeout| Expr::Dynset {
        set: AFFINITY.into(),
        op,
        key: CLIENT,
        data: Some(ENDPOINT),
        timeout,
    };
    let timeout = Some(Duration::from_secs(u64::from(seconds)));
    let stay = vec![
        Expr::MapLookup {
            set: AFFINITY.into(),
            sreg: CLIENT,
            dreg: ENDPOINT,
        },
        Expr::Immediate {
            dreg: LIST,
            value: pick.list.offset().to_ne_bytes().to_vec(),
        },
        Expr::Lookup {
            set: Map::AffinityEndpoints.name().into(),
            sreg: SERVICE,
            invert: false,
        },
        affinity(DynsetOp::Update, timeout),
        dnat.clone(),
    ];
    batch.add_rule(
        TABLE,
        chain,
        "known clients",
        &[key.clone(), client.clone(), stay].concat(),
    );
    // An element keeps its data when it is added again, so one with a former endpoint goes first.
    let remember = vec![
        affinity(DynsetOp::Delete, None),
        affinity(DynsetOp::Add, timeout),
        dnat,
    ];
    batch.add_rule(
        TABLE,
        chain,
        "new clients",
        &[key, client, choose, remember].concat(),
    );
}

/// Loads the service port that the packet means.
fn service_port(from: From) -> Vec<Expr> {
    let mut exprs = destination();
    match from {
        From::ClusterIp => {}
        From::ExternalIp => exprs.push(map(Map::ExternalIps, SERVICE, SERVICE)),
        From::NodePort => exprs.push(map(Map::NodePorts, SERVICE_PROTOCOL, SERVICE)),
    }
    exprs
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
