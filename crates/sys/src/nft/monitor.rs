//! Being told that somebody has changed the tables of a network namespace.
//!
//! The kernel tells every change in full. [`Monitor::open`] lets through only the notice that ends a
//! transaction, so that a large one does not flood the socket; [`Monitor::of_others`] lets through what
//! other sockets change, and says in which tables.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use tokio::io::unix::AsyncFd;

use super::uapi::{GENMSG_BYTES, SUBSYS};

/// `NFNLGRP_NFTABLES`.
const GROUP: libc::c_int = 7;

/// Room for the notices of foreign transactions.
const OTHERS_QUEUE_BYTES: usize = 1024 * 1024;

/// A change that somebody made to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// `NFPROTO_*`.
    family: u8,
    /// The table's name.
    pub table: String,
    /// Elements of a set were added or deleted; otherwise tables, chains, rules or sets.
    pub elements_only: bool,
}

impl TableChange {
    /// Whether the table is one of `family`.
    pub fn is_of(&self, family: super::Family) -> bool {
        self.family == family.number()
    }
}

/// A non-blocking socket on which each committed transaction is one notice.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
}

impl Monitor {
    /// Listens in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let fd = open_socket()?;
        attach(&fd, &mut generations_filter())?;
        set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &GROUP)?;
        Ok(Self { fd })
    }

    /// Listens in the calling thread's network namespace to transactions of sockets other than those with the
    /// port numbers `ours`.
    pub fn of_others(ours: &[u32]) -> io::Result<Self> {
        let fd = open_socket()?;
        attach(&fd, &mut others_filter(ours))?;
        // Notices of a foreign transaction come in full; where they don't fit, the reader is told.
        setsockopt(&fd, sockopt::RcvBufForce, &OTHERS_QUEUE_BYTES)?;
        set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &GROUP)?;
        Ok(Self { fd })
    }

    /// Takes one notice of [`Monitor::of_others`]: what was changed. Errors as [`Monitor::receive`].
    pub fn receive_changes(&self) -> io::Result<Vec<TableChange>> {
        let mut buffer = vec![0; 64 * 1024];
        let len = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let messages = crate::netlink::split(&buffer[..len]).unwrap_or_default();
        let changes = messages.iter().filter_map(|message| {
            let kind = i32::from(message.kind & 0xff);
            // The table's name is attribute 1 of every kind of object but generations.
            (kind != libc::NFT_MSG_NEWGEN).then(|| TableChange {
                family: message.payload.first().copied().unwrap_or_default(),
                table: message
                    .attributes(GENMSG_BYTES)
                    .string(1)
                    .unwrap_or_default(),
                elements_only: matches!(kind, libc::NFT_MSG_NEWSETELEM | libc::NFT_MSG_DELSETELEM),
            })
        });
        Ok(changes.collect())
    }

    /// Takes one notice; [`io::ErrorKind::WouldBlock`] means that there is none, any other error that
    /// notices may have been lost.
    pub fn receive(&self) -> io::Result<()> {
        recv(self.fd.as_raw_fd(), &mut [0; 512], MsgFlags::empty())?;
        Ok(())
    }

    /// Registers the socket with the current tokio runtime.
    pub fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the socket owns its descriptor, which stays the same open file until it is dropped,
        // and AsyncFd drops it only after it is deregistered.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn open_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkNetFilter;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}

const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Lets only `NFT_MSG_NEWGEN` through, which the kernel sends alone at the end of a transaction.
fn generations_filter() -> Vec<libc::sock_filter> {
    let kind = SUBSYS << 8 | libc::NFT_MSG_NEWGEN as u16;
    vec![
        // The message type is at offset 4, in host order; the filter reads network order.
        step(LOAD_HALF, 0, 0, 4),
        step(IF_EQUAL, 0, 1, u32::from(kind.to_be())),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

/// Stops the notices of `ours`. All messages of a datagram come from one transaction, and each carries the
/// port number of the socket that sent it (`nlmsg_pid`, at offset 12).
fn others_filter(ours: &[u32]) -> Vec<libc::sock_filter> {
    let mut program = vec![step(LOAD_WORD, 0, 0, 12)];
    for port in ours {
        program.push(step(IF_EQUAL, 0, 1, port.to_be()));
        program.push(step(RETURN, 0, 0, 0));
    }
    program.push(step(RETURN, 0, 0, u32::MAX));
    program
}

fn attach(fd: &OwnedFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set_option<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: fd is open; the pointer and length describe a live value of the option's type, and the
    // filter that a sock_fprog points to lives as long as the caller's frame. The kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::NetNs;
    use crate::nft::{Batch, Chain, Family, Nft, Table};

    #[test]
    fn each_transaction_is_one_notice() {
        let netns = NetNs::anonymous().expect("namespace");
        let monitor = netns.run_in(Monitor::open).expect("enter").expect("open");
        let mut nft = Nft::open_in(&netns).expect("open");
        let quiet = || monitor.receive().expect_err("quiet").kind() == io::ErrorKind::WouldBlock;
        assert!(quiet());
        for chains in [1, 1000] {
            let mut batch = Batch::new(Family::Ip);
            batch.add_table(&Table {
                name: "t",
                userdata: &[],
            });
            for number in 0..chains {
                batch.add_chain(
                    "t",
                    &Chain {
                        name: &format!("c{number}"),
                        hook: None,
                    },
                );
            }
            nft.commit(batch).expect("commit");
            monitor.receive().expect("a notice");
            assert!(quiet());
        }
        assert!(nft.table(Family::Ip, "t").expect("query").is_some());
        assert!(quiet(), "reading changes nothing");
    }

    #[test]
    fn what_others_change_is_told_with_its_table() {
        let netns = NetNs::anonymous().expect("namespace");
        let [mut ours, mut other] = [(); 2].map(|()| Nft::open_in(&netns).expect("open"));
        let port = ours.port().expect("port");
        let monitor = netns.run_in(|| Monitor::of_others(&[port])).expect("enter");
        let monitor = monitor.expect("open");
        let commit = |nft: &mut Nft, table: &str| {
            let mut batch = Batch::new(Family::Ip6);
            let userdata = &[];
            batch.add_table(&Table {
                name: table,
                userdata,
            });
            batch.add_chain(
                table,
                &Chain {
                    name: "c",
                    hook: None,
                },
            );
            nft.commit(batch).expect("commit");
        };
        commit(&mut ours, "a");
        assert!(monitor.receive_changes().is_err(), "our own are not told");
        commit(&mut other, "b");
        let mut told = Vec::new();
        while let Ok(changes) = monitor.receive_changes() {
            told.extend(changes);
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter()
                .all(|c| c.table == "b" && c.is_of(Family::Ip6) && !c.elements_only)
        );
    }
}
