//! Many datagrams with one system call (`recvmmsg(2)`, `sendmmsg(2)`), and waiting for them or for an end.
//!
//! Invariant: buffers and headers belong to the batch, which stays where it is while the kernel looks at it. Absent on
//! purpose: ancillary data; a socket that answers is bound to the address that it answers from.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::slice;

/// Datagrams taken at once.
pub const BATCH: usize = 32;
/// The largest datagram that is read whole. A query is far smaller; what is cut does not parse.
pub const DATAGRAM: usize = 4096;

/// Room for questions that come while others are answered, in octets of the kernel's counting.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A socket with room for a burst, as far as the kernel lets us.
///
/// # Errors
/// What the kernel said to the address.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    use nix::sys::socket::{setsockopt, sockopt};
    let socket = UdpSocket::bind(address)?;
    // Without CAP_NET_ADMIN, the system's own limit holds.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
    Ok(socket)
}

/// Room for a batch of datagrams, in and out.
pub struct Batch {
    inputs: Box<[[u8; DATAGRAM]; BATCH]>,
    outputs: Vec<Vec<u8>>,
    peers: Box<[libc::sockaddr_storage; BATCH]>,
    lengths: [usize; BATCH],
    received: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        // SAFETY: a socket address of zeroes is a valid value, of the family AF_UNSPEC.
        let peers = unsafe { Box::new(mem::zeroed()) };
        Batch {
            inputs: Box::new([[0; DATAGRAM]; BATCH]),
            outputs: (0..BATCH).map(|_| Vec::with_capacity(512)).collect(),
            peers,
            lengths: [0; BATCH],
            received: 0,
        }
    }

    /// Takes what has come, without waiting; 0: nothing.
    ///
    /// # Errors
    /// What the kernel said; an error of an earlier reply, too.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut vectors: [MaybeUninit<libc::iovec>; BATCH] = [MaybeUninit::uninit(); BATCH];
        // SAFETY: zeroes are a valid mmsghdr.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for at in 0..BATCH {
            let vector = vectors[at].write(libc::iovec {
                iov_base: self.inputs[at].as_mut_ptr().cast(),
                iov_len: DATAGRAM,
            });
            let header = &mut headers[at].msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.peers[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
        }
        // SAFETY: each header points to one vector, buffer and address that outlive the call; the socket is open.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        self.received = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => {
                self.received = 0;
                let err = io::Error::last_os_error();
                return match err.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                    _ => Err(err),
                };
            }
        };
        for (length, header) in self.lengths.iter_mut().zip(&headers[..self.received]) {
            *length = header.msg_len as usize;
        }
        Ok(self.received)
    }

    /// The `at`th datagram, who sent it, and room for a reply.
    pub fn datagram(&mut self, at: usize) -> (&[u8], Option<SocketAddr>, &mut Vec<u8>) {
        let peer = address(&self.peers[at]);
        let input = &self.inputs[at][..self.lengths[at]];
        (input, peer, &mut self.outputs[at])
    }

    /// Sends the replies that are not empty, each to whom it answers, and empties all. A reply that can't be sent is
    /// passed over: its asker asks again.
    pub fn send(&mut self, socket: &UdpSocket) {
        let mut vectors: [MaybeUninit<libc::iovec>; BATCH] = [MaybeUninit::uninit(); BATCH];
        // SAFETY: zeroes are a valid mmsghdr.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut count = 0;
        for at in 0..self.received {
            let output = &mut self.outputs[at];
            if output.is_empty() {
                continue;
            }
            let vector = vectors[count].write(libc::iovec {
                iov_base: output.as_mut_ptr().cast(),
                iov_len: output.len(),
            });
            let header = &mut headers[count].msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.peers[at]).cast();
            header.msg_namelen = length(&self.peers[at]);
            count += 1;
        }
        let mut sent = 0;
        while sent < count {
            // SAFETY: the headers from `sent` to `count` each point to one vector, buffer and address that outlive the
            // call; the socket is open.
            let more = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers[sent..count].as_mut_ptr(),
                    (count - sent) as u32,
                    0,
                )
            };
            sent += usize::try_from(more).unwrap_or(1).max(1);
        }
        for output in &mut self.outputs[..self.received] {
            output.clear();
        }
        self.received = 0;
    }
}

/// Waits until `socket` has something to read (true), or `end` has (false).
///
/// # Errors
/// What the kernel said.
pub fn wait(socket: &UdpSocket, end: BorrowedFd<'_>) -> io::Result<bool> {
    let poll = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polled = [poll(socket.as_raw_fd()), poll(end.as_raw_fd())];
    loop {
        // SAFETY: two entries, which outlive the call; both descriptors are open.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
        if ready >= 0 {
            return Ok(polled[1].revents == 0);
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

fn length(peer: &libc::sockaddr_storage) -> u32 {
    let length = match i32::from(peer.ss_family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        _ => size_of::<libc::sockaddr_in6>(),
    };
    length as u32
}

fn address(peer: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: the storage is large enough and aligned for any address; zeroes and what the kernel wrote are valid.
    let bytes = unsafe {
        slice::from_raw_parts(
            (&raw const *peer).cast::<u8>(),
            size_of::<libc::sockaddr_in6>(),
        )
    };
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    match i32::from(peer.ss_family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Some(SocketAddrV4::new(ip, port).into())
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = bytes[8..24].try_into().ok()?;
            let scope = u32::from_ne_bytes(bytes[24..28].try_into().ok()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_batch_is_answered_each_to_its_own() {
        for host in ["127.0.0.1", "::1"] {
            let server = UdpSocket::bind((host, 0)).expect("bind");
            let clients: Vec<UdpSocket> = (0..3)
                .map(|_| UdpSocket::bind((host, 0)).expect("bind"))
                .collect();
            for (at, client) in clients.iter().enumerate() {
                let to = server.local_addr().expect("address");
                client.send_to(&[at as u8; 5], to).expect("send");
            }
            let mut batch = Batch::new();
            assert_eq!(batch.receive(&server).expect("receive"), 3);
            for (at, client) in clients.iter().enumerate() {
                let (datagram, peer, reply) = batch.datagram(at);
                assert_eq!(peer, client.local_addr().ok());
                // The second one is not answered.
                if at != 1 {
                    reply.extend_from_slice(&[datagram[0] + 10; 2]);
                }
            }
            batch.send(&server);
            assert_eq!(batch.receive(&server).expect("receive"), 0);
            for at in [0, 2] {
                let mut reply = [0; 9];
                assert_eq!(clients[at].recv(&mut reply).expect("reply"), 2);
                assert_eq!(reply[0], at as u8 + 10);
            }
        }
    }

    #[test]
    fn waiting_ends_when_it_is_told() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let (reader, writer) = io::pipe().expect("pipe");
        drop(writer);
        assert!(!wait(&socket, reader.as_fd()).expect("wait"));
        let (reader, _writer) = io::pipe().expect("pipe");
        let to = socket.local_addr().expect("address");
        socket.send_to(b"x", to).expect("send");
        assert!(wait(&socket, reader.as_fd()).expect("wait"));
    }
}
