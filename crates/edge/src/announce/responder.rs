//! Answering ARP requests for addresses that the kernel does not have (RFC 826), and telling all
//! stations when an address comes to this node (gratuitous ARP, RFC 5227 section 3).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;

use karve_sys::link::MacAddress;
use karve_sys::packet::{Arp, ArpSocket, BROADCAST, Operation};
use tokio::io::unix::AsyncFd;
use tracing::{trace, warn};

/// How often a new address is announced.
const ANNOUNCEMENTS: u8 = 3;
/// Most packets handled before others get their turn.
const BURST_MAX: usize = 64;

/// Answers for a set of addresses on one link.
#[derive(Debug)]
pub(super) struct Responder {
    socket: AsyncFd<ArpSocket>,
    mac: MacAddress,
    /// Each address with how often it is still to be announced.
    ips: BTreeMap<Ipv4Addr, u8>,
}

impl Responder {
    /// Answers on the link `index` of the calling thread's network namespace, whose address is `mac`.
    pub(super) fn open(index: u32, mac: MacAddress) -> io::Result<Self> {
        Self::with_socket(ArpSocket::open(index)?, mac)
    }

    /// Answers on a socket.
    pub(super) fn with_socket(socket: ArpSocket, mac: MacAddress) -> io::Result<Self> {
        Ok(Self {
            socket: socket.register()?,
            mac,
            ips: BTreeMap::new(),
        })
    }

    /// Answers for exactly these addresses from now on, and announces the new ones; whether any is.
    pub(super) fn set(&mut self, ips: BTreeSet<Ipv4Addr>) -> bool {
        self.ips.retain(|ip, _| ips.contains(ip));
        let new: Vec<_> = ips
            .into_iter()
            .filter(|ip| !self.ips.contains_key(ip))
            .collect();
        for ip in &new {
            self.ips.insert(*ip, ANNOUNCEMENTS);
        }
        self.repeat();
        !new.is_empty()
    }

    /// Announces young addresses once more; whether any is still to be repeated.
    pub(super) fn repeat(&mut self) -> bool {
        let mut more = false;
        for (ip, left) in self.ips.iter_mut().filter(|(_, left)| **left > 0) {
            *left -= 1;
            more |= *left > 0;
            for operation in [Operation::Request, Operation::Reply] {
                send(
                    &self.socket,
                    &Arp::gratuitous(operation, self.mac, *ip),
                    BROADCAST,
                );
            }
        }
        more
    }

    /// Answers requests until receiving fails. Nothing is lost when this is cancelled.
    pub(super) async fn serve(&mut self) -> io::Error {
        loop {
            let mut ready = match self.socket.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            for _ in 0..BURST_MAX {
                match ready.try_io(|socket| socket.get_ref().receive()) {
                    Ok(Ok(Some(packet))) => self.answer(&packet),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => return error,
                    Err(_would_block) => break,
                }
            }
        }
    }

    fn answer(&self, packet: &Arp) {
        if packet.operation == Operation::Request && self.ips.contains_key(&packet.target_ip) {
            trace!(ip = %packet.target_ip, from = %packet.sender_ip, "answering arp request");
            send(&self.socket, &packet.reply(self.mac), packet.sender_mac);
        }
    }
}

fn send(socket: &AsyncFd<ArpSocket>, packet: &Arp, to: MacAddress) {
    if let Err(err) = socket.get_ref().send(packet, to) {
        warn!(ip = %packet.sender_ip, err = &err as &dyn std::error::Error, "sending arp failed");
    }
}

#[cfg(test)]
mod tests;
