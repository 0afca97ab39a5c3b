//! Which registers the rules use, and where addresses are in a packet: the only things in which the two
//! families' rules differ.
//!
//! An IPv4 address takes one register, an IPv6 address four of the sixteen. In order: a pad, the endpoint
//! (address, port), the service port (address, protocol, port), and behind it either the number of an
//! endpoint or the client, so that each map's key lies in one piece. A map's result starts one register
//! earlier when it goes on into a key (see [`super::PAD`]).

use karve_sys::nft::Register;

use crate::dataplane::Family;

/// The places of one family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registers {
    /// Bytes of an address.
    pub ip_len: u32,
    /// Offset of the source address in the packet.
    pub saddr: u32,
    /// Offset of the destination address.
    pub daddr: u32,
    /// Before the endpoint.
    pub pad: Register,
    pub endpoint: Register,
    /// Also the pad before the service port.
    pub endpoint_port: Register,
    pub service: Register,
    pub protocol: Register,
    pub port: Register,
    /// The number of an endpoint, or the client.
    pub after: Register,
    /// For comparisons that keep nothing.
    pub scratch: Register,
    /// Behind an address in `scratch`.
    pub scratch_next: Register,
}

impl Registers {
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                ip_len: 4,
                saddr: 12,
                daddr: 16,
                pad: Register::new(1),
                endpoint: Register::new(2),
                endpoint_port: Register::new(3),
                service: Register::new(4),
                protocol: Register::new(5),
                port: Register::new(6),
                after: Register::new(7),
                scratch: Register::new(8),
                scratch_next: Register::new(9),
            },
            Family::V6 => Self {
                ip_len: 16,
                saddr: 8,
                daddr: 24,
                pad: Register::new(0),
                endpoint: Register::new(1),
                endpoint_port: Register::new(5),
                service: Register::new(6),
                protocol: Register::new(10),
                port: Register::new(11),
                after: Register::new(12),
                scratch: Register::new(8),
                scratch_next: Register::new(12),
            },
        }
    }
}
