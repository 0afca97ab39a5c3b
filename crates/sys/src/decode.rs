//! A datagram read as every kind of object that this crate knows: the door for fuzzing the decoders.
//!
//! The kernel is trusted, but a decoder that indexes past a short attribute would end a node's agent; the sockets hand
//! these functions nothing but bytes. Absent: any meaning.

use crate::netlink;
use crate::packet::Arp;
use crate::{conntrack, link, nft};

/// How many objects a datagram holds, read as each kind in turn; `None` when it does not split into messages.
pub fn objects(datagram: &[u8]) -> Option<usize> {
    let arp = usize::from(Arp::parse(datagram).is_some());
    let messages = netlink::split(datagram)?;
    let count = |message: &netlink::Message| {
        // Only whether it ends matters of an acknowledgement.
        let refused = usize::from(netlink::acknowledgement(message).is_err());
        refused
            + usize::from(link::dump::parse(message).is_some())
            + usize::from(link::address::parse_address(message).is_some())
            + usize::from(link::route::parse(message).is_some())
            + usize::from(conntrack::parse(message).is_some())
            + nft::read::elements_of(message).map_or(0, |elements| elements.len())
    };
    Some(arp + messages.iter().map(count).sum::<usize>())
}
