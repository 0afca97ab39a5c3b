//! The rules, as nf_tables expressions.
//!
//! Each rule loads all that it uses: kernels since 6.11 forget registers between rules.

use ipnet::IpNet;
use karve_sys::nft::{
    Batch, Cmp, CtKey, Expr, FibFlags, FibResult, MetaKey, PayloadBase, Register, Reject, Verdict,
};

use super::registers::Registers;
use super::{Chain, Layout, Map, TABLE, nft_family};
use crate::dataplane::{Family, Protocol, Via};

/// The packet mark that asks for masquerading: bit 14, as upstream's default.
const MASQUERADE_MARK: u32 = 0x4000;
const SERVICES: &str = "services";
/// `RTN_LOCAL` of `linux/rtnetlink.h`.
const RTN_LOCAL: u32 = 2;
/// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`: the destination was rewritten.
const IPS_DST_NAT: u32 = 1 << 5;

/// Makes the rules of one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub layout: &'a Layout,
    pub at: Registers,
}

impl<'a> Rules<'a> {
    pub(super) fn new(layout: &'a Layout) -> Self {
        let at = Registers::of(layout.family);
        Self { layout, at }
    }

    /// Appends the rules of a chain.
    pub(super) fn add(&self, batch: &mut Batch, chain: Chain) {
        let name = chain.to_string();
        match chain {
            Chain::Refuse => {
                // The kernel sends only a few ICMP errors a second to one client, who would then wait for
                // a second and more. Resets have no such limit.
                let reset = [self.is_tcp(), vec![Expr::Reject(Reject::TcpReset)]];
                batch.add_rule(TABLE, &name, "", &reset.concat());
                let refuse = Reject::PortUnreachable(nft_family(self.layout.family));
                batch.add_rule(TABLE, &name, "", &[Expr::Reject(refuse)]);
            }
            Chain::Direct(pick) => self.add_pick(batch, &name, pick),
            Chain::Internal(pick) => {
                if !self.layout.cluster_cidrs.is_empty() {
                    let mut outside = self.is_outside();
                    outside.extend(mark());
                    batch.add_rule(TABLE, &name, "clients outside of the cluster", &outside);
                }
                self.add_pick(batch, &name, pick);
            }
            Chain::External(pick) => {
                batch.add_rule(TABLE, &name, "", &mark());
                self.add_pick(batch, &name, pick);
            }
            Chain::ExternalLocal { pick, local } => {
                for pods in &self.layout.cluster_cidrs {
                    let rule = [
                        self.in_net(self.at.saddr, *pods, Cmp::Eq),
                        goto(Chain::Direct(pick)),
                    ];
                    batch.add_rule(TABLE, &name, "pods: the whole cluster", &rule.concat());
                }
                let node = [is_local(FibFlags::Saddr), goto(Chain::External(pick))];
                batch.add_rule(TABLE, &name, "the node: the whole cluster", &node.concat());
                if local == 0 {
                    let drop = [Expr::Verdict(Verdict::Drop)];
                    batch.add_rule(TABLE, &name, "no local endpoint", &drop);
                } else {
                    self.add_pick(batch, &name, Chain::local_pick(pick, local));
                }
            }
            Chain::Guarded(guarded) => {
                batch.add_rule(TABLE, &name, "clients of no source range", &self.stranger());
                batch.add_rule(TABLE, &name, "", &goto(guarded.chain()));
            }
        }
    }

    /// Drops clients that are in none of the source ranges of the service port.
    fn stranger(&self) -> Vec<Expr> {
        let mut rule = self.service_port(Via::ExternalIp);
        rule.extend([
            self.load_ip(self.at.saddr, self.at.after),
            Expr::Lookup {
                set: Map::SourceRanges.name().into(),
                sreg: self.at.service,
                invert: true,
            },
            Expr::Verdict(Verdict::Drop),
        ]);
        rule
    }

    /// Appends the chain `services`, which every new flow passes, and the rules of `refuse`.
    pub(super) fn add_services(&self, batch: &mut Batch) {
        self.add(batch, Chain::Refuse);
        let (name, hook) = (SERVICES, None);
        batch.add_chain(TABLE, &karve_sys::nft::Chain { name, hook });
        let by_ip = [
            self.destination(),
            vec![verdict_of(Map::ServiceIps, self.at.service)],
        ];
        batch.add_rule(TABLE, SERVICES, "", &by_ip.concat());
        self.add_node_ports(batch);
        let own = [
            is_local(FibFlags::Daddr),
            vec![Expr::Verdict(Verdict::Return)],
        ];
        batch.add_rule(TABLE, SERVICES, "the node's own addresses", &own.concat());
        let other_ports = [
            self.load_ip(self.at.daddr, self.at.scratch),
            Expr::Lookup {
                set: Map::ClusterIps.name().into(),
                sreg: self.at.scratch,
                invert: false,
            },
            Expr::Verdict(Verdict::Goto(Chain::Refuse.to_string().into())),
        ];
        let comment = "ports that the service does not have";
        batch.add_rule(TABLE, SERVICES, comment, &other_ports);
        for cidr in &self.layout.service_cidrs {
            let mut unallocated = self.in_net(self.at.daddr, *cidr, Cmp::Eq);
            unallocated.push(Expr::Verdict(Verdict::Drop));
            batch.add_rule(TABLE, SERVICES, "unallocated cluster IPs", &unallocated);
        }
    }

    /// Node ports on the node's addresses but those of loopback, or on some of them.
    fn add_node_ports(&self, batch: &mut Batch) {
        let loopback = match self.layout.family {
            Family::V4 => "127.0.0.0/8".parse(),
            Family::V6 => "::1/128".parse(),
        };
        let loopback: IpNet = loopback.expect("a valid net");
        let mut add = |limit: Vec<Expr>| {
            let rule = [
                is_local(FibFlags::Daddr),
                self.in_net(self.at.daddr, loopback, Cmp::Neq),
                limit,
                self.destination(),
                vec![verdict_of(Map::ServiceNodePorts, self.at.protocol)],
            ];
            batch.add_rule(TABLE, SERVICES, "", &rule.concat());
        };
        if self.layout.node_port_addresses.is_empty() {
            add(Vec::new());
        }
        for net in &self.layout.node_port_addresses {
            add(self.in_net(self.at.daddr, *net, Cmp::Eq));
        }
    }

    /// Appends the rules of the base chains.
    pub(super) fn add_base(&self, batch: &mut Batch) {
        for chain in ["nat-prerouting", "nat-output"] {
            let jump = [Expr::Verdict(Verdict::Jump(SERVICES.into()))];
            batch.add_rule(TABLE, chain, "", &jump);
        }
        let mut marked = self.is_marked();
        marked.push(Expr::Masquerade { fully_random: true });
        batch.add_rule(TABLE, "nat-postrouting", "", &marked);
        // What a node says to itself without a Service is none of this.
        let (sreg, dreg) = (self.at.scratch, self.at.scratch);
        let (mask, xor) = (IPS_DST_NAT.to_ne_bytes().to_vec(), vec![0; 4]);
        let own_client = [
            Expr::Ct {
                key: CtKey::Status,
                dreg,
            },
            Expr::Bitwise {
                sreg,
                dreg,
                mask,
                xor: xor.clone(),
            },
            Expr::Cmp {
                sreg,
                op: Cmp::Neq,
                value: xor,
            },
            self.load_ip(self.at.saddr, self.at.scratch),
            self.load_ip(self.at.daddr, self.at.scratch_next),
            Expr::Lookup {
                set: Map::Hairpin.name().into(),
                sreg: self.at.scratch,
                invert: false,
            },
            Expr::Masquerade { fully_random: true },
        ];
        let comment = "an endpoint that is its own client";
        batch.add_rule(TABLE, "nat-postrouting", comment, &own_client);
    }

    /// Goes on with packets that ask for masquerading, and takes the mark off.
    fn is_marked(&self) -> Vec<Expr> {
        let scratch = self.at.scratch;
        let mask = MASQUERADE_MARK.to_ne_bytes().to_vec();
        let zero = vec![0; 4];
        let (key, dreg, sreg) = (MetaKey::Mark, scratch, scratch);
        vec![
            Expr::Meta { key, dreg },
            Expr::Bitwise {
                sreg,
                dreg,
                mask: mask.clone(),
                xor: zero.clone(),
            },
            Expr::Cmp {
                sreg,
                op: Cmp::Neq,
                value: zero,
            },
            Expr::Meta { key, dreg },
            Expr::Bitwise {
                sreg,
                dreg,
                mask: vec![0xff; 4],
                xor: mask,
            },
            Expr::MetaSet { key, sreg },
        ]
    }

    fn is_tcp(&self) -> Vec<Expr> {
        let (key, dreg) = (MetaKey::L4proto, self.at.scratch);
        let value = vec![Protocol::Tcp.number()];
        let (sreg, op) = (dreg, Cmp::Eq);
        vec![Expr::Meta { key, dreg }, Expr::Cmp { sreg, op, value }]
    }

    /// Loads destination address, protocol and port.
    pub(super) fn destination(&self) -> Vec<Expr> {
        let port = Expr::Payload {
            base: PayloadBase::Transport,
            offset: 2,
            len: 2,
            dreg: self.at.port,
        };
        let protocol = Expr::Meta {
            key: MetaKey::L4proto,
            dreg: self.at.protocol,
        };
        vec![self.load_ip(self.at.daddr, self.at.service), protocol, port]
    }

    /// Loads the service port that the packet means.
    pub(super) fn service_port(&self, via: Via) -> Vec<Expr> {
        let mut exprs = self.destination();
        let (at, padded) = (self.at, self.at.endpoint_port);
        match via {
            Via::ClusterIp => {}
            Via::ExternalIp => exprs.push(map(Map::ExternalIps, at.service, padded)),
            Via::NodePort => exprs.push(map(Map::NodePorts, at.protocol, padded)),
        }
        exprs
    }

    pub(super) fn load_ip(&self, offset: u32, dreg: Register) -> Expr {
        Expr::Payload {
            base: PayloadBase::Network,
            offset,
            len: self.at.ip_len,
            dreg,
        }
    }

    /// Whether the source is in no net of pods.
    fn is_outside(&self) -> Vec<Expr> {
        let nets = self.layout.cluster_cidrs.iter();
        nets.flat_map(|net| self.in_net(self.at.saddr, *net, Cmp::Neq))
            .collect()
    }

    /// Whether the address at `offset` is in `net` (or is not, with [`Cmp::Neq`]).
    fn in_net(&self, offset: u32, net: IpNet, op: Cmp) -> Vec<Expr> {
        let octets = |ip: std::net::IpAddr| match ip {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let (sreg, dreg) = (self.at.scratch, self.at.scratch);
        let mask = octets(net.netmask());
        let xor = vec![0; mask.len()];
        vec![
            self.load_ip(offset, dreg),
            Expr::Bitwise {
                sreg,
                dreg,
                mask,
                xor,
            },
            Expr::Cmp {
                sreg,
                op,
                value: octets(net.network()),
            },
        ]
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

fn goto(chain: Chain) -> Vec<Expr> {
    vec![Expr::Verdict(Verdict::Goto(chain.to_string().into()))]
}

/// Whether an address of the packet is one of the node's own.
fn is_local(flags: FibFlags) -> Vec<Expr> {
    let scratch = Register::new(8);
    vec![
        Expr::Fib {
            dreg: scratch,
            result: FibResult::AddrType,
            flags,
        },
        Expr::Cmp {
            sreg: scratch,
            op: Cmp::Eq,
            value: RTN_LOCAL.to_ne_bytes().to_vec(),
        },
    ]
}

/// Asks for masquerading.
fn mark() -> Vec<Expr> {
    let scratch = Register::new(8);
    let (key, dreg, sreg) = (MetaKey::Mark, scratch, scratch);
    let (mask, xor) = (!MASQUERADE_MARK, MASQUERADE_MARK);
    vec![
        Expr::Meta { key, dreg },
        Expr::Bitwise {
            sreg,
            dreg,
            mask: mask.to_ne_bytes().to_vec(),
            xor: xor.to_ne_bytes().to_vec(),
        },
        Expr::MetaSet { key, sreg },
    ]
}
