//! Being told that somebody has changed the tables of a network namespace.
//!
//! The kernel tells every change in full; a filter lets through only the notice that ends a
//! transaction, so that a large one does not flood the socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

use super::uapi::SUBSYS;

/// `NFNLGRP_NFTABLES`.
const GROUP: libc::c_int = 7;

/// A non-blocking socket on which each committed transaction is one notice.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
}

impl Monitor {
    /// Listens in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkNetFilter;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        attach_filter(&fd)?;
        set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &GROUP)?;
        Ok(Self { fd })
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

/// Lets only `NFT_MSG_NEWGEN` through, which the kernel sends alone at the end of a transaction.
fn attach_filter(fd: &OwnedFd) -> io::Result<()> {
    let kind = SUBSYS << 8 | libc::NFT_MSG_NEWGEN as u16;
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut program = [
        // The message type is at offset 4, in host order; the filter reads network order.
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 4),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::from(kind.to_be()),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
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
}
