//! Addresses of links, and neighbour (ARP, ND) entries.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Error, MacAddress, Netlink, REPLACE};
use crate::netlink::{Attributes, Encoder, Message};

const IFADDR_BYTES: usize = 8;
/// Index of `lo`: it is always the first link of its namespace.
const LOOPBACK: u32 = 1;
/// `NUD_PERMANENT` of `linux/neighbour.h`.
const NUD_PERMANENT: u16 = 0x80;

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub index: u32,
    /// The address and the length of its prefix.
    pub net: IpNet,
}

/// A neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the link.
    pub index: u32,
    /// The neighbour's address.
    pub ip: IpAddr,
    /// The neighbour's Ethernet address.
    pub mac: MacAddress,
}

impl Netlink {
    /// Gives the link an address, or does nothing if it has it already.
    ///
    /// IPv6 addresses are usable at once: there is no duplicate address detection. Addresses of
    /// loopback get the scope `host`, else the kernel would prefer them as source of other traffic
    /// and for masquerading (`inet_select_addr` looks at `lo` first).
    pub fn add_address(&mut self, index: u32, net: IpNet) -> Result<(), Error> {
        self.change(
            "add address",
            format!("{net} to link {index}"),
            libc::RTM_NEWADDR,
            REPLACE,
            |m| {
                ifaddr(m, index, net);
                if let IpNet::V4(v4) = net
                    && v4.prefix_len() < 31
                {
                    m.attr(libc::IFA_BROADCAST, &v4.broadcast().octets());
                }
            },
        )
    }

    /// Takes an address from the link; false when the link does not have it.
    pub fn delete_address(&mut self, index: u32, net: IpNet) -> Result<bool, Error> {
        let object = format!("{net} of link {index}");
        match self.change("delete address", object, libc::RTM_DELADDR, 0, |m| {
            ifaddr(m, index, net)
        }) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All addresses of all links.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let messages = self.list("addresses", libc::RTM_GETADDR, |m| {
            m.raw(&[0; IFADDR_BYTES])
        })?;
        Ok(messages.iter().filter_map(parse_address).collect())
    }

    /// Adds a permanent neighbour entry, which is never probed: no ARP for this address.
    pub fn add_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), Error> {
        let object = format!("{} on link {}", neighbour.ip, neighbour.index);
        self.change("add neighbour", object, libc::RTM_NEWNEIGH, REPLACE, |m| {
            ndmsg(m, neighbour.index, neighbour.ip);
            m.attr(libc::NDA_LLADDR, &neighbour.mac);
        })
    }

    /// Deletes a neighbour entry; false when there is none.
    pub fn delete_neighbour(&mut self, index: u32, ip: IpAddr) -> Result<bool, Error> {
        let object = format!("{ip} on link {index}");
        match self.change("delete neighbour", object, libc::RTM_DELNEIGH, 0, |m| {
            ndmsg(m, index, ip)
        }) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes `struct ifaddrmsg` and the address.
fn ifaddr(m: &mut Encoder, index: u32, net: IpNet) {
    let flags = if net.addr().is_ipv6() {
        libc::IFA_F_NODAD as u8
    } else {
        0
    };
    let scope = if index == LOOPBACK {
        libc::RT_SCOPE_HOST
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    let mut header = [0; IFADDR_BYTES];
    header[..4].copy_from_slice(&[family(net.addr()), net.prefix_len(), flags, scope]);
    header[4..].copy_from_slice(&index.to_ne_bytes());
    m.raw(&header);
    let octets = octets(net.addr());
    m.attr(libc::IFA_LOCAL, &octets);
    m.attr(libc::IFA_ADDRESS, &octets);
}

/// Writes `struct ndmsg` and the address.
fn ndmsg(m: &mut Encoder, index: u32, ip: IpAddr) {
    let mut header = [0; 12];
    header[0] = family(ip);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    m.raw(&header);
    m.attr(libc::NDA_DST, &octets(ip));
}

pub(crate) fn parse_address(message: &Message) -> Option<Address> {
    let prefix_len = *message.payload.get(1)?;
    let index = u32::from_ne_bytes(*message.payload.get(4..8)?.first_chunk()?);
    let attributes: Attributes<'_> = message.attributes(IFADDR_BYTES);
    let bytes = attributes
        .get(libc::IFA_LOCAL)
        .or_else(|| attributes.get(libc::IFA_ADDRESS))?;
    Some(Address {
        index,
        net: IpNet::new(ip(bytes)?, prefix_len).ok()?,
    })
}

/// The `AF_` number of an address.
pub(super) fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// An address in network order.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An address from network order.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}
