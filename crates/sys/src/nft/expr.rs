//! Expressions: the instructions of a rule.

use std::borrow::Cow;
use std::time::Duration;

use super::element::{Verdict, encode_value, milliseconds};
use super::uapi::{LIST_ELEM, expr};
use crate::netlink::Encoder;

/// One of the sixteen 32-bit data registers; longer values take the following ones too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(u8);

impl Register {
    /// Register `number`, 0 to 15.
    ///
    /// # Panics
    /// (At compile time, when used in a constant) when there is no such register.
    pub const fn new(number: u8) -> Self {
        assert!(number < 16, "nf_tables has sixteen 32-bit registers");
        Self(number)
    }

    /// `NFT_REG32_*`.
    fn number(self) -> u32 {
        libc::NFT_REG32_00.cast_unsigned() + u32::from(self.0)
    }
}

/// Where a payload is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadBase {
    /// The IP header.
    Network,
    /// The TCP, UDP or SCTP header.
    Transport,
}

/// Facts about a packet that are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    /// `mark`, four bytes.
    Mark,
    /// `iifname`, 16 bytes.
    Iifname,
    /// `oifname`, 16 bytes.
    Oifname,
    /// `nfproto`, one byte.
    Nfproto,
    /// `l4proto`, one byte.
    L4proto,
}

/// Facts about a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// `state`, a bit mask in host order: 2 established, 4 related, 8 new, 1 invalid, 0x40 untracked.
    State,
    /// `status`, the `IPS_*` bit mask in host order.
    Status,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
}

/// What a packet path does to a dynamic set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynsetOp {
    /// Adds the element unless it is there.
    Add,
    /// Adds the element, or restarts its time; an existing one keeps its data.
    Update,
    /// Deletes the element.
    Delete,
}

/// Which address is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// ICMP (IPv4) or ICMPv6 (IPv6) port unreachable; not for `inet` tables.
    PortUnreachable(super::Family),
    /// Port unreachable in whichever family; only for `inet` tables.
    IcmpxPortUnreachable,
    /// TCP reset.
    TcpReset,
}

/// What a routing lookup answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibResult {
    /// Index of the out interface, 0 when there is no route.
    Oif,
    /// `RTN_*` number of the address in host order; 2 is a local one.
    AddrType,
}

/// What a routing lookup asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibFlags {
    /// The source address.
    Saddr,
    /// The destination address.
    Daddr,
}

/// One instruction. What reads a register must come after what writes it, in the same rule: kernels
/// since 6.11 refuse registers that the rule itself has not written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are registers and operands, named as in nf_tables.h
pub enum Expr {
    /// Ends the rule with a verdict.
    Verdict(Verdict),
    /// Loads a constant.
    Immediate { dreg: Register, value: Vec<u8> },
    /// Loads part of the packet.
    Payload {
        base: PayloadBase,
        offset: u32,
        len: u32,
        dreg: Register,
    },
    /// Loads a fact about the packet.
    Meta { key: MetaKey, dreg: Register },
    /// Changes a fact about the packet.
    MetaSet { key: MetaKey, sreg: Register },
    /// Loads a fact about the connection.
    Ct { key: CtKey, dreg: Register },
    /// Goes on only if the comparison holds.
    Cmp {
        sreg: Register,
        op: Cmp,
        value: Vec<u8>,
    },
    /// `dreg = (sreg & mask) ^ xor`.
    Bitwise {
        sreg: Register,
        dreg: Register,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    /// Goes on only if the key is in the set (or is not, if `invert`).
    Lookup {
        set: Cow<'static, str>,
        sreg: Register,
        invert: bool,
    },
    /// Loads what the key maps to; ends the rule when it is not in the map.
    MapLookup {
        set: Cow<'static, str>,
        sreg: Register,
        dreg: Register,
    },
    /// Does as the verdict map says; ends the rule when the key is not in it.
    VerdictLookup {
        set: Cow<'static, str>,
        sreg: Register,
    },
    /// Changes a dynamic set or map from the packet path; a map needs `data` even to delete.
    Dynset {
        set: Cow<'static, str>,
        op: DynsetOp,
        key: Register,
        data: Option<Register>,
        timeout: Option<Duration>,
    },
    /// Loads `offset` plus a random number below `modulus`, in host order.
    NumgenRandom {
        dreg: Register,
        modulus: u32,
        offset: u32,
    },
    /// Loads `offset` plus the Jenkins hash of `len` bytes modulo `modulus`, in host order.
    Jhash {
        sreg: Register,
        dreg: Register,
        len: u32,
        modulus: u32,
        seed: Option<u32>,
        offset: u32,
    },
    /// Rewrites address and, if given, port, and ends the chain.
    Nat {
        kind: Nat,
        family: super::Family,
        addr: Register,
        port: Option<Register>,
    },
    /// Rewrites the source to an address of the out interface.
    Masquerade { fully_random: bool },
    /// Refuses the packet.
    Reject(Reject),
    /// Looks an address up in the routing tables.
    Fib {
        dreg: Register,
        result: FibResult,
        flags: FibFlags,
    },
    /// Counts packets and bytes.
    Counter,
    /// Exempts the packet from connection tracking.
    Notrack,
}

impl Expr {
    /// Writes the expression as a list element.
    pub(super) fn encode(&self, m: &mut Encoder) {
        m.nest(LIST_ELEM, |m| {
            m.attr_str(expr::NAME, self.name());
            m.nest(expr::DATA, |m| self.encode_data(m));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Expr::Verdict(_) | Expr::Immediate { .. } => "immediate",
            Expr::Payload { .. } => "payload",
            Expr::Meta { .. } | Expr::MetaSet { .. } => "meta",
            Expr::Ct { .. } => "ct",
            Expr::Cmp { .. } => "cmp",
            Expr::Bitwise { .. } => "bitwise",
            Expr::Lookup { .. } | Expr::MapLookup { .. } | Expr::VerdictLookup { .. } => "lookup",
            Expr::Dynset { .. } => "dynset",
            Expr::NumgenRandom { .. } => "numgen",
            Expr::Jhash { .. } => "hash",
            Expr::Nat { .. } => "nat",
            Expr::Masquerade { .. } => "masq",
            Expr::Reject(_) => "reject",
            Expr::Fib { .. } => "fib",
            Expr::Counter => "counter",
            Expr::Notrack => "notrack",
        }
    }

    fn encode_data(&self, m: &mut Encoder) {
        match self {
            Expr::Verdict(_)
            | Expr::Immediate { .. }
            | Expr::Payload { .. }
            | Expr::Meta { .. }
            | Expr::MetaSet { .. }
            | Expr::Ct { .. }
            | Expr::Fib { .. }
            | Expr::NumgenRandom { .. } => self.encode_load(m),
            Expr::Cmp { .. } | Expr::Bitwise { .. } | Expr::Jhash { .. } => self.encode_compute(m),
            Expr::Lookup { .. }
            | Expr::MapLookup { .. }
            | Expr::VerdictLookup { .. }
            | Expr::Dynset { .. } => self.encode_sets(m),
            Expr::Nat { .. }
            | Expr::Masquerade { .. }
            | Expr::Reject(_)
            | Expr::Counter
            | Expr::Notrack => self.encode_effect(m),
        }
    }

    /// What loads registers from outside.
    fn encode_load(&self, m: &mut Encoder) {
        match self {
            Expr::Verdict(verdict) => {
                m.attr_be32(1, 0); // NFT_REG_VERDICT
                verdict.encode(m, 2);
            }
            Expr::Immediate { dreg, value } => {
                m.attr_be32(1, dreg.number());
                encode_value(m, 2, value);
            }
            Expr::Payload {
                base,
                offset,
                len,
                dreg,
            } => {
                let base = match base {
                    PayloadBase::Network => libc::NFT_PAYLOAD_NETWORK_HEADER,
                    PayloadBase::Transport => libc::NFT_PAYLOAD_TRANSPORT_HEADER,
                };
                let numbers = [dreg.number(), base.cast_unsigned(), *offset, *len];
                (1..)
                    .zip(numbers)
                    .for_each(|(kind, number)| m.attr_be32(kind, number));
            }
            Expr::Meta { key, dreg } => {
                m.attr_be32(1, dreg.number());
                m.attr_be32(2, key.number());
            }
            Expr::MetaSet { key, sreg } => {
                m.attr_be32(2, key.number());
                m.attr_be32(3, sreg.number());
            }
            Expr::Ct { key, dreg } => {
                let key = match key {
                    CtKey::State => libc::NFT_CT_STATE,
                    CtKey::Status => libc::NFT_CT_STATUS,
                };
                m.attr_be32(1, dreg.number());
                m.attr_be32(2, key.cast_unsigned());
            }
            Expr::Fib {
                dreg,
                result,
                flags,
            } => {
                m.attr_be32(1, dreg.number());
                m.attr_be32(2, if *result == FibResult::Oif { 1 } else { 3 });
                m.attr_be32(3, if *flags == FibFlags::Saddr { 1 } else { 2 });
            }
            Expr::NumgenRandom {
                dreg,
                modulus,
                offset,
            } => {
                let kind = libc::NFT_NG_RANDOM.cast_unsigned();
                let numbers = [dreg.number(), *modulus, kind, *offset];
                (1..)
                    .zip(numbers)
                    .for_each(|(kind, number)| m.attr_be32(kind, number));
            }
            _ => unreachable!("encode_data sorts the kinds"),
        }
    }

    /// What works on registers.
    fn encode_compute(&self, m: &mut Encoder) {
        match self {
            Expr::Cmp { sreg, op, value } => {
                m.attr_be32(1, sreg.number());
                m.attr_be32(2, if *op == Cmp::Eq { 0 } else { 1 });
                encode_value(m, 3, value);
            }
            Expr::Bitwise {
                sreg,
                dreg,
                mask,
                xor,
            } => {
                m.attr_be32(1, sreg.number());
                m.attr_be32(2, dreg.number());
                m.attr_be32(3, mask.len() as u32);
                encode_value(m, 4, mask);
                encode_value(m, 5, xor);
            }
            Expr::Jhash {
                sreg,
                dreg,
                len,
                modulus,
                seed,
                offset,
            } => {
                let numbers = [sreg.number(), dreg.number(), *len, *modulus];
                (1..)
                    .zip(numbers)
                    .for_each(|(kind, number)| m.attr_be32(kind, number));
                if let Some(seed) = seed {
                    m.attr_be32(5, *seed);
                }
                m.attr_be32(6, *offset);
            }
            _ => unreachable!("encode_data sorts the kinds"),
        }
    }

    /// What reads and writes sets.
    fn encode_sets(&self, m: &mut Encoder) {
        match self {
            Expr::Lookup { set, sreg, invert } => {
                m.attr_str(1, set);
                m.attr_be32(2, sreg.number());
                m.attr_be32(5, u32::from(*invert)); // NFT_LOOKUP_F_INV
            }
            Expr::MapLookup { set, sreg, dreg } => {
                m.attr_str(1, set);
                m.attr_be32(2, sreg.number());
                m.attr_be32(3, dreg.number());
            }
            Expr::VerdictLookup { set, sreg } => {
                m.attr_str(1, set);
                m.attr_be32(2, sreg.number());
                m.attr_be32(3, 0); // NFT_REG_VERDICT
            }
            Expr::Dynset {
                set,
                op,
                key,
                data,
                timeout,
            } => {
                let op = match op {
                    DynsetOp::Add => 0,
                    DynsetOp::Update => 1,
                    DynsetOp::Delete => 2,
                };
                m.attr_str(1, set);
                m.attr_be32(3, op);
                m.attr_be32(4, key.number());
                if let Some(data) = data {
                    m.attr_be32(5, data.number());
                }
                if let Some(timeout) = timeout {
                    m.attr_be64(6, milliseconds(*timeout));
                }
            }
            _ => unreachable!("encode_data sorts the kinds"),
        }
    }

    /// What acts on the packet.
    fn encode_effect(&self, m: &mut Encoder) {
        match self {
            Expr::Nat {
                kind,
                family,
                addr,
                port,
            } => {
                m.attr_be32(1, if *kind == Nat::Source { 0 } else { 1 });
                m.attr_be32(2, u32::from(family.number()));
                m.attr_be32(3, addr.number());
                if let Some(port) = port {
                    m.attr_be32(5, port.number());
                }
            }
            Expr::Masquerade { fully_random } => {
                /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
                const FULLY_RANDOM: u32 = 1 << 4;
                if *fully_random {
                    m.attr_be32(1, FULLY_RANDOM);
                }
            }
            Expr::Reject(reject) => {
                let (kind, code) = match reject {
                    Reject::PortUnreachable(super::Family::Ip6) => (0, 4),
                    Reject::PortUnreachable(_) => (0, 3),
                    Reject::TcpReset => (1, 0),
                    Reject::IcmpxPortUnreachable => (2, 1),
                };
                m.attr_be32(1, kind);
                m.attr_u8(2, code);
            }
            Expr::Counter | Expr::Notrack => {}
            _ => unreachable!("encode_data sorts the kinds"),
        }
    }
}

impl MetaKey {
    fn number(self) -> u32 {
        let key = match self {
            MetaKey::Mark => libc::NFT_META_MARK,
            MetaKey::Iifname => libc::NFT_META_IIFNAME,
            MetaKey::Oifname => libc::NFT_META_OIFNAME,
            MetaKey::Nfproto => libc::NFT_META_NFPROTO,
            MetaKey::L4proto => libc::NFT_META_L4PROTO,
        };
        key.cast_unsigned()
    }
}
