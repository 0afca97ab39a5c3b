//! Netlink: a synchronous socket, and the encoding that rtnetlink, nf_tables and conntrack share.
//!
//! One request is in flight per socket, so a reply is always the answer to the last request.
//! Netlink handles a request inside `sendmsg`, so nothing here ever waits for long. Absent on
//! purpose: multicast groups (nobody listens for kernel events yet) and asynchronous I/O.

mod wire;

pub(crate) use wire::split;
pub use wire::{Attributes, Encoder, align4};

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, setsockopt, socket, sockopt,
};

/// Room for one datagram from the kernel; dump datagrams are at most 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Receive buffer of the socket: the answers to a batch of thousands of failing messages.
const RECEIVE_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// A failed netlink exchange.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened or set up.
    #[error("open netlink socket")]
    Open(#[source] io::Error),
    /// The request could not be sent.
    #[error("send netlink request")]
    Send(#[source] io::Error),
    /// The reply could not be received.
    #[error("receive netlink reply")]
    Receive(#[source] io::Error),
    /// The kernel refused the request; `text` is its extended acknowledgement, if it gave one.
    #[error("kernel refused the request{}", display_text(.text))]
    Refused {
        /// The error number.
        #[source]
        errno: io::Error,
        /// The kernel's explanation (`NLMSGERR_ATTR_MSG`), empty when there is none.
        text: String,
        /// Sequence number of the refused message.
        seq: u32,
    },
    /// The reply did not parse.
    #[error("malformed netlink reply")]
    Malformed,
    /// A dump was changed by others while it ran (`NLM_F_DUMP_INTR`).
    #[error("netlink dump was interrupted by changes")]
    Interrupted,
}

fn display_text(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}

impl Error {
    /// The kernel's error number, if the kernel refused the request.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Refused { errno, .. } => errno.raw_os_error(),
            _ => None,
        }
    }
}

/// One message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// What follows the netlink header: the family's own header and the attributes.
    pub payload: Vec<u8>,
}

impl Message {
    /// The attributes behind a family header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        Attributes::new(self.payload.get(align4(header)..).unwrap_or_default())
    }
}

/// Which netlink family a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// A netlink socket of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
    send_queue: usize,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self, Error> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let open = || -> nix::Result<OwnedFd> {
            let fd = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            // FORCE needs CAP_NET_ADMIN, without which every request would be refused anyway.
            setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_QUEUE_BYTES)?;
            Ok(fd)
        };
        let fd = open().map_err(|errno| Error::Open(errno.into()))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(&fd, option).map_err(Error::Open)?;
        }
        Ok(Self {
            fd,
            seq: 0,
            send_queue: 0,
            buffer: vec![0; RECEIVE_BYTES],
        })
    }

    /// The socket's port number (`nlmsg_pid`).
    pub fn port(&self) -> Result<u32, Error> {
        getsockname::<NetlinkAddr>(self.fd.as_raw_fd())
            .map(|address| address.pid())
            .map_err(|errno| Error::Open(errno.into()))
    }

    /// The sequence number for the next request; numbers are never zero.
    pub fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.checked_add(1).unwrap_or(1);
        self.seq
    }

    /// Sends already encoded messages as one datagram, enlarging the send buffer to fit.
    pub fn send(&mut self, datagram: &[u8]) -> Result<(), Error> {
        if datagram.len() > self.send_queue {
            let wanted = (datagram.len() + 4096).next_power_of_two().max(256 * 1024);
            setsockopt(&self.fd, sockopt::SndBufForce, &wanted)
                .map_err(|errno| Error::Send(errno.into()))?;
            self.send_queue = wanted - 4096;
        }
        match send(self.fd.as_raw_fd(), datagram, MsgFlags::empty()) {
            Ok(sent) if sent == datagram.len() => Ok(()),
            Ok(_) => Err(Error::Send(io::ErrorKind::WriteZero.into())),
            Err(errno) => Err(Error::Send(errno.into())),
        }
    }

    /// Receives one datagram and splits it; `None` when nothing waits and `flags` says not to wait.
    pub fn receive(&mut self, flags: MsgFlags) -> Result<Option<Vec<Message>>, Error> {
        let buffer = &mut self.buffer;
        loop {
            match recv(self.fd.as_raw_fd(), buffer, flags | MsgFlags::MSG_TRUNC) {
                Ok(len) if len > buffer.len() => return Err(Error::Malformed),
                Ok(len) => {
                    return split(&buffer[..len]).map(Some).ok_or(Error::Malformed);
                }
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(errno) => return Err(Error::Receive(errno.into())),
            }
        }
    }

    /// Sends one request and waits for its acknowledgement, ignoring data messages.
    ///
    /// `build` writes the family header and attributes; `NLM_F_REQUEST | NLM_F_ACK` are added.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        build: impl FnOnce(&mut Encoder),
    ) -> Result<Vec<Message>, Error> {
        let seq = self.next_seq();
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut encoder = Encoder::default();
        encoder.message(kind, flags, seq, build);
        self.send(encoder.bytes())?;
        self.collect(seq)
    }

    /// Sends one dump request and returns all its messages.
    pub fn dump(
        &mut self,
        kind: u16,
        build: impl FnOnce(&mut Encoder),
    ) -> Result<Vec<Message>, Error> {
        let seq = self.next_seq();
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        let mut encoder = Encoder::default();
        encoder.message(kind, flags, seq, build);
        self.send(encoder.bytes())?;
        self.collect(seq)
    }

    /// Gathers data messages of `seq` until its acknowledgement, error or end of dump.
    fn collect(&mut self, seq: u32) -> Result<Vec<Message>, Error> {
        let mut data = Vec::new();
        let mut interrupted = false;
        loop {
            let received = self.receive(MsgFlags::empty())?.ok_or(Error::Malformed)?;
            for message in received {
                if message.seq != seq {
                    continue; // the rest of an exchange that was abandoned on an error
                }
                interrupted |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        acknowledgement(&message)?;
                        return if interrupted {
                            Err(Error::Interrupted)
                        } else {
                            Ok(data)
                        };
                    }
                    libc::NLMSG_NOOP => {}
                    _ => data.push(message),
                }
            }
        }
    }
}

/// Turns a `NLMSG_ERROR` or `NLMSG_DONE` message into a result.
pub(crate) fn acknowledgement(message: &Message) -> Result<(), Error> {
    let code = message
        .payload
        .first_chunk::<4>()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code >= 0 {
        return Ok(());
    }
    /// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`.
    const EXPLANATION: u16 = 1;
    // With NETLINK_CAP_ACK the echoed request is only its 16-byte header.
    const ERROR_HEADER: usize = 4 + 16;
    let text = message
        .attributes(ERROR_HEADER)
        .find(|(kind, _)| *kind == EXPLANATION)
        .map(|(_, value)| wire::string(value))
        .unwrap_or_default();
    Err(Error::Refused {
        errno: io::Error::from_raw_os_error(code.saturating_neg()),
        text,
        seq: message.seq,
    })
}

/// Switches a boolean `SOL_NETLINK` option on.
fn enable(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: fd is open and owned by the caller; the pointer and length describe a live c_int.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
