//! The rules, as nf_tables expressions.
//!
//! Registers: 4-6 the service port (address, protocol, port), from 8 on what only the rule itself
//! needs; [`super::pick`] has the others. Each rule loads all that it uses: kernels since 6.11 forget
//! registers between rules.

use ipnet::Ipv4Net;
use karve_sys::nft::{
    Batch, Cmp, Expr, Family, FibFlags, FibResult, MetaKey, PayloadBase, Register, Reject, Verdict,
};

use super::pick::add as add_pick;
use super::{Chain, Layout, Map, TABLE};

/// The packet mark that asks for masquerading: bit 14, as upstream's default.
const MASQUERADE_MARK: u32 = 0x4000;
const SERVICES: &str = "services";

pub(super) const SERVICE: Register = Register::new(4);
pub(super) const SERVICE_PROTOCOL: Register = Register::new(5);
pub(super) const SERVICE_PORT: Register = Register::new(6);
/// For comparisons that keep nothing.
const SCRATCH: Register = Register::new(8);
const SCRATCH_NEXT: Register = Register::new(9);

/// `RTN_LOCAL` of `linux/rtnetlink.h`.
const RTN_LOCAL: u32 = 2;
pub(super) const SADDR_OFFSET: u32 = 12;
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

/// Loads destination address, protocol and port.
pub(super) fn destination() -> Vec<Expr> {
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

pub(super) fn load_ip(offset: u32, dreg: Register) -> Expr {
    Expr::Payload {
        base: PayloadBase::Network,
        offset,
        len: 4,
        dreg,
    }
}

pub(super) fn map(map: Map, sreg: Register, dreg: Register) -> Expr {
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
