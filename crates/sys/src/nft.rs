//! nf_tables over netlink: our own small encoder, atomic transactions, and reading back.
//!
//! [`Batch`] collects changes, [`Nft::commit`] applies them all or none; a refusal names the object
//! that the kernel refused. What is written can be read back ([`Nft::table`], [`Nft::chains`],
//! [`Nft::rules`], [`Nft::elements`]), so that a restarted process adopts what is in force.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`; the golden tests compare what the kernel made
//! of our bytes with what `nft` prints. Absent on purpose: named objects (counters, quotas, limits),
//! flowtables, and the listing of expressions back into [`Expr`].

mod batch;
mod element;
mod expr;
mod monitor;
pub(crate) mod read;
mod uapi;

pub use batch::{Batch, Chain, Hook, Set, SetFlags, Table, types};
pub use element::{Data, Element, Value, Verdict};
pub use expr::{
    Cmp, CtKey, DynsetOp, Expr, FibFlags, FibResult, MetaKey, Nat, PayloadBase, Register, Reject,
};
pub use monitor::{Monitor, TableChange};
pub use read::{ChainInfo, RuleInfo, TableInfo};

use nix::sys::socket::MsgFlags;

use crate::netlink::{self, Socket, acknowledgement};
use crate::netns::{self, NetNs};

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

impl Family {
    /// `NFPROTO_*`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }
}

/// A failed transaction or query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened.
    #[error("open nf_tables")]
    Open(#[source] netlink::Error),
    /// The namespace could not be entered to open the socket.
    #[error("open nf_tables")]
    Namespace(#[from] netns::Error),
    /// A step of a transaction, or a query, failed; of a transaction nothing was applied.
    #[error("{action} {object}")]
    Step {
        /// What was tried.
        action: &'static str,
        /// On what: `family table name`.
        object: String,
        /// Why it failed.
        #[source]
        source: netlink::Error,
    },
    /// The kernel did not say whether it applied the transaction.
    #[error("nf_tables transaction was not acknowledged")]
    Unacknowledged,
}

impl Error {
    /// The kernel's error number, if the kernel refused.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Step { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the object, or the table that holds it, is not there.
    pub fn is_not_found(&self) -> bool {
        self.raw_os_error() == Some(libc::ENOENT)
    }
}

/// An nf_tables socket.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        Socket::open(netlink::Family::Netfilter)
            .map(|socket| Self { socket })
            .map_err(Error::Open)
    }

    /// Opens a socket in `netns`; the socket stays in it.
    pub fn open_in(netns: &NetNs) -> Result<Self, Error> {
        netns.run_in(Self::open)?
    }

    /// The socket's port number, by which notices of its transactions are told from those of others.
    pub fn port(&self) -> Result<u32, Error> {
        self.socket.port().map_err(Error::Open)
    }

    /// Applies all changes of `batch`, or none; an empty batch costs nothing.
    pub fn commit(&mut self, batch: Batch) -> Result<(), Error> {
        let Some(finished) = batch.finish() else {
            return Ok(());
        };
        let transaction = |source| Error::Step {
            action: "commit",
            object: "nf_tables transaction".to_owned(),
            source,
        };
        self.socket.send(&finished.datagram).map_err(transaction)?;
        // The kernel has handled the whole batch when `send` returns: all answers wait by now.
        let mut acknowledged = false;
        let mut refused = None;
        while let Some(messages) = self
            .socket
            .receive(MsgFlags::MSG_DONTWAIT)
            .map_err(transaction)?
        {
            for message in messages
                .iter()
                .filter(|m| i32::from(m.kind) == libc::NLMSG_ERROR)
            {
                match acknowledgement(message) {
                    Ok(()) => acknowledged |= message.seq == finished.last_seq,
                    // The first refusal is the cause, later ones may only follow from it.
                    Err(error) => refused = refused.or(Some((message.seq, error))),
                }
            }
        }
        match refused {
            Some((seq, source)) => {
                let (action, object) = finished.step(seq);
                Err(Error::Step {
                    action,
                    object,
                    source,
                })
            }
            None if acknowledged => Ok(()),
            None => Err(Error::Unacknowledged),
        }
    }
}

#[cfg(test)]
mod tests;
