//! Packet sockets for ARP: asking and answering for IPv4 addresses on one link (RFC 826, RFC 5227).
//!
//! The socket is bound to one link and to the ARP protocol, so nothing else ever wakes its owner.
//! Absent on purpose: other protocols (IPv6 neighbour discovery comes with IPv6) and capturing.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;

use crate::link::MacAddress;

/// The address of all stations on a link.
pub const BROADCAST: MacAddress = [0xff; 6];
/// `ETH_P_ARP`.
const ETH_P_ARP: u16 = 0x0806;
/// Bytes of an ARP packet for IPv4 over Ethernet.
const ARP_BYTES: usize = 28;
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_PREAMBLE: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// Question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: Operation,
    /// Ethernet address of the sender.
    pub sender_mac: MacAddress,
    /// IPv4 address of the sender.
    pub sender_ip: Ipv4Addr,
    /// Ethernet address of the target; of no meaning in a request.
    pub target_mac: MacAddress,
    /// IPv4 address of the target.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Asks who has `target_ip`.
    pub fn request(sender_mac: MacAddress, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac,
            sender_ip,
            target_mac: [0; 6],
            target_ip,
        }
    }

    /// Answers this request: its target address is at `mac`.
    #[must_use]
    pub fn reply(&self, mac: MacAddress) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Tells all stations, unasked, that `ip` is at `mac`. Some heed only requests, some only replies.
    pub fn gratuitous(operation: Operation, mac: MacAddress, ip: Ipv4Addr) -> Self {
        Self {
            operation,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: BROADCAST,
            target_ip: ip,
        }
    }

    fn encode(&self) -> [u8; ARP_BYTES] {
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let mut bytes = [0; ARP_BYTES];
        bytes[..6].copy_from_slice(&ARP_PREAMBLE);
        bytes[7] = operation;
        bytes[8..14].copy_from_slice(&self.sender_mac);
        bytes[14..18].copy_from_slice(&self.sender_ip.octets());
        bytes[18..24].copy_from_slice(&self.target_mac);
        bytes[24..].copy_from_slice(&self.target_ip.octets());
        bytes
    }

    /// Parses a packet; `None` when it is not ARP for IPv4 over Ethernet. Padding is ignored.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<ARP_BYTES>()?;
        let mac = |at: usize| bytes[at..].first_chunk::<6>().copied();
        let ip = |at: usize| bytes[at..].first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip));
        if bytes[..6] != ARP_PREAMBLE {
            return None;
        }
        let operation = match [bytes[6], bytes[7]] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        Some(Self {
            operation,
            sender_mac: mac(8)?,
            sender_ip: ip(14)?,
            target_mac: mac(18)?,
            target_ip: ip(24)?,
        })
    }
}

/// A non-blocking socket that sends and receives ARP packets on one link.
#[derive(Debug)]
pub struct ArpSocket {
    fd: OwnedFd,
    index: i32,
}

impl ArpSocket {
    /// Opens a socket on the link `index` of the calling thread's network namespace.
    pub fn open(index: u32) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(ETH_P_ARP.to_be())) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fd was just opened and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = index.cast_signed();
        let address = link_address(index, [0; 6]);
        // SAFETY: fd is open; the pointer and length describe a live sockaddr_ll.
        let result = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { fd, index })
        }
    }

    /// Receives one packet; `Ok(None)` is one of no interest, [`io::ErrorKind::WouldBlock`] means that
    /// nothing waits.
    pub fn receive(&self) -> io::Result<Option<Arp>> {
        // Ethernet pads ARP packets to 46 bytes; what is longer is cut off.
        let mut buffer = [0; 64];
        // SAFETY: fd is open; the pointer and length describe a live buffer.
        let len = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        Ok(Arp::parse(&buffer[..len]))
    }

    /// Registers the socket with the current tokio runtime.
    pub fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the socket owns its descriptor, which stays the same open file until it is dropped,
        // and AsyncFd drops it only after it is deregistered.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }

    /// Sends one packet to the station `to`.
    pub fn send(&self, packet: &Arp, to: MacAddress) -> io::Result<()> {
        let bytes = packet.encode();
        let address = link_address(self.index, to);
        // SAFETY: fd is open; both pointers and lengths describe live values.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

impl AsFd for ArpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ArpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn link_address(index: i32, mac: MacAddress) -> libc::sockaddr_ll {
    let mut sll_addr = [0; 8];
    sll_addr[..6].copy_from_slice(&mac);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ETH_P_ARP.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::link::{Netlink, Veth};
    use crate::netns::NetNs;

    const MACS: [MacAddress; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    fn receive(socket: &ArpSocket) -> Arp {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match socket.receive() {
                Ok(Some(packet)) => return packet,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "no packet came");
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn packets_cross_a_link() {
        let netns = NetNs::anonymous().expect("namespace");
        let mut rt = Netlink::open_in(&netns).expect("open");
        let [mac, peer_mac] = MACS.map(Some);
        let veth = Veth {
            name: "a",
            mac,
            peer: "b",
            peer_mac,
            peer_netns: None,
            mtu: None,
        };
        rt.create_veth(&veth).expect("veth");
        let sockets = ["a", "b"].map(|name| {
            rt.set_up(name).expect("up");
            let index = rt.link_index(name).expect("index");
            netns
                .run_in(|| ArpSocket::open(index))
                .expect("enter")
                .expect("open")
        });
        let ips = [
            Ipv4Addr::new(192, 168, 64, 1),
            Ipv4Addr::new(192, 168, 64, 200),
        ];
        let request = Arp::request(MACS[0], ips[0], ips[1]);
        sockets[0].send(&request, BROADCAST).expect("send");
        assert_eq!(receive(&sockets[1]), request);
        let reply = request.reply(MACS[1]);
        sockets[1].send(&reply, MACS[0]).expect("send");
        assert_eq!(receive(&sockets[0]), reply);
        assert_eq!((reply.sender_ip, reply.target_ip), (ips[1], ips[0]));
    }

    #[test]
    fn packets_parse_as_they_were_encoded() {
        let ip = Ipv4Addr::new(192, 168, 64, 200);
        for operation in [Operation::Request, Operation::Reply] {
            let packet = Arp::gratuitous(operation, MACS[0], ip);
            let mut padded = packet.encode().to_vec();
            padded.resize(46, 0);
            assert_eq!(Arp::parse(&padded), Some(packet));
        }
        let good = Arp::request(MACS[0], ip, ip).encode();
        assert_eq!(Arp::parse(&good[..27]), None, "too short");
        for (at, value, why) in [
            (1, 6, "not Ethernet"),
            (3, 1, "not IPv4"),
            (5, 16, "long"),
            (7, 3, "RARP"),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Arp::parse(&bad), None, "{why}");
        }
    }
}
