//! Links, addresses, routes and neighbours by rtnetlink, synchronously.
//!
//! A [`Netlink`] acts in the network namespace in which its socket was opened, whichever thread uses
//! it. What sets state (`add_address`, `add_route`, `add_neighbour`, `set_up`) may be repeated: it
//! replaces what is there, as `ip … replace` does. What creates a link fails when the name is taken
//! ([`Error::is_exists`]). Absent on purpose: traffic control, tunnels, and listening for changes.

pub(crate) mod address;
pub(crate) mod dump;
pub(crate) mod route;

pub use address::{Address, Neighbour};
pub use dump::Link;
pub use route::{Kind as RouteKind, Route, Scope};

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::netlink::{self, Encoder, Family, Message, Socket};
use crate::netns::{self, NetNs};

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// Longest interface name: `IFNAMSIZ` less the NUL.
pub const NAME_MAX: usize = 15;

const IFINFO_BYTES: usize = 16;
/// `VETH_INFO_PEER` of `linux/veth.h`.
const VETH_INFO_PEER: u16 = 1;
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;

/// A failed change or query; names the operation and its object.
#[derive(Debug, thiserror::Error)]
#[error("{action} {object}")]
pub struct Error {
    action: &'static str,
    object: String,
    #[source]
    source: Cause,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel or the socket said no.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The namespace could not be entered to open the socket.
    #[error(transparent)]
    Namespace(Box<netns::Error>),
    /// The interface name is empty or too long.
    #[error("interface name must have 1 to 15 bytes")]
    Name,
    /// The kernel's answer lacks what was asked for.
    #[error("the kernel's answer is incomplete")]
    Incomplete,
}

impl Error {
    fn new(action: &'static str, object: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self {
            action,
            object: object.into(),
            source: source.into(),
        }
    }

    /// The kernel's error number, if the kernel refused.
    pub fn raw_os_error(&self) -> Option<i32> {
        match &self.source {
            Cause::Netlink(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the object is there already.
    pub fn is_exists(&self) -> bool {
        self.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether the object, or the link that it belongs to, is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.raw_os_error(),
            Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL)
        )
    }

    /// The error as an I/O error kind.
    pub fn kind(&self) -> io::ErrorKind {
        self.raw_os_error().map_or(io::ErrorKind::Other, |code| {
            io::Error::from_raw_os_error(code).kind()
        })
    }
}

/// A veth pair to be made.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// Name of the end in the socket's namespace.
    pub name: &'a str,
    /// Its address; the kernel chooses when `None`.
    pub mac: Option<MacAddress>,
    /// Name of the other end.
    pub peer: &'a str,
    /// The other end's address; the kernel chooses when `None`.
    pub peer_mac: Option<MacAddress>,
    /// Namespace that the other end is born in; the socket's own when `None`.
    pub peer_netns: Option<&'a NetNs>,
    /// MTU of both ends; 1500 when `None`.
    pub mtu: Option<u32>,
}

/// An rtnetlink socket.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Family::Route).map_err(|e| Error::new("open", "rtnetlink", e))?;
        Ok(Self { socket })
    }

    /// Opens a socket in `netns`; the socket stays in it.
    pub fn open_in(netns: &NetNs) -> Result<Self, Error> {
        netns.run_in(Self::open).unwrap_or_else(|error| {
            Err(Error::new(
                "open",
                "rtnetlink",
                Cause::Namespace(Box::new(error)),
            ))
        })
    }

    /// Index of the link `name`; [`Error::is_not_found`] when there is none.
    pub fn link_index(&mut self, name: &str) -> Result<u32, Error> {
        self.link(name).map(|link| link.index)
    }

    /// Makes a bridge, which is down until [`Self::set_up`].
    pub fn create_bridge(&mut self, name: &str) -> Result<(), Error> {
        self.create("create bridge", name, |m| {
            m.attr_str(libc::IFLA_IFNAME, name);
            m.nest(libc::IFLA_LINKINFO, |m| {
                m.attr_str(libc::IFLA_INFO_KIND, "bridge")
            });
        })
    }

    /// Makes a veth pair; both ends are down until [`Self::set_up`].
    pub fn create_veth(&mut self, veth: &Veth<'_>) -> Result<(), Error> {
        check_name(veth.peer).map_err(|cause| Error::new("create veth", veth.peer, cause))?;
        self.create("create veth", veth.name, |m| {
            veth_end(m, veth.name, veth.mac, veth.mtu);
            m.nest(libc::IFLA_LINKINFO, |m| {
                m.attr_str(libc::IFLA_INFO_KIND, "veth");
                m.nest(libc::IFLA_INFO_DATA, |m| {
                    m.nest(VETH_INFO_PEER, |m| {
                        ifinfo(m, 0, 0, 0);
                        veth_end(m, veth.peer, veth.peer_mac, veth.mtu);
                        if let Some(netns) = veth.peer_netns {
                            m.attr_u32(
                                libc::IFLA_NET_NS_FD,
                                netns.as_fd().as_raw_fd().cast_unsigned(),
                            );
                        }
                    });
                });
            });
        })
    }

    /// Deletes the link `name` (and a veth's other end); false when there is none.
    pub fn delete_link(&mut self, name: &str) -> Result<bool, Error> {
        match self.change("delete link", name, libc::RTM_DELLINK, 0, |m| {
            ifinfo(m, 0, 0, 0);
            m.attr_str(libc::IFLA_IFNAME, name);
        }) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the link `name` up.
    pub fn set_up(&mut self, name: &str) -> Result<(), Error> {
        let up = libc::IFF_UP.cast_unsigned();
        self.change("set up link", name, libc::RTM_NEWLINK, 0, |m| {
            ifinfo(m, 0, up, up);
            m.attr_str(libc::IFLA_IFNAME, name);
        })
    }

    /// Sets the link `name` down, which drops its routes.
    pub fn set_down(&mut self, name: &str) -> Result<(), Error> {
        self.change("set down link", name, libc::RTM_NEWLINK, 0, |m| {
            ifinfo(m, 0, 0, libc::IFF_UP.cast_unsigned());
            m.attr_str(libc::IFLA_IFNAME, name);
        })
    }

    /// Makes the link `name` a port of the bridge whose index is `master`; 0 takes it out again.
    pub fn set_master(&mut self, name: &str, master: u32) -> Result<(), Error> {
        self.change("set master of link", name, libc::RTM_NEWLINK, 0, |m| {
            ifinfo(m, 0, 0, 0);
            m.attr_str(libc::IFLA_IFNAME, name);
            m.attr_u32(libc::IFLA_MASTER, master);
        })
    }

    fn create(
        &mut self,
        action: &'static str,
        name: &str,
        build: impl FnOnce(&mut Encoder),
    ) -> Result<(), Error> {
        check_name(name).map_err(|cause| Error::new(action, name, cause))?;
        self.change(action, name, libc::RTM_NEWLINK, CREATE, |m| {
            ifinfo(m, 0, 0, 0);
            build(m);
        })
    }

    /// One acknowledged request.
    fn change(
        &mut self,
        action: &'static str,
        object: impl Into<String>,
        kind: u16,
        flags: u16,
        build: impl FnOnce(&mut Encoder),
    ) -> Result<(), Error> {
        match self.socket.request(kind, flags, build) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::new(action, object, error)),
        }
    }

    /// One dump, repeated while others change what is dumped.
    fn list(
        &mut self,
        object: &'static str,
        kind: u16,
        build: impl Fn(&mut Encoder),
    ) -> Result<Vec<Message>, Error> {
        /// A table that changes during this many dumps in a row is reported, not waited for.
        const ATTEMPTS: usize = 8;
        let mut last = netlink::Error::Interrupted;
        for _ in 0..ATTEMPTS {
            match self.socket.dump(kind, &build) {
                Ok(messages) => return Ok(messages),
                Err(error @ netlink::Error::Interrupted) => last = error,
                Err(error) => return Err(Error::new("list", object, error)),
            }
        }
        Err(Error::new("list", object, last))
    }
}

/// Writes `struct ifinfomsg`.
fn ifinfo(m: &mut Encoder, index: u32, flags: u32, change: u32) {
    let mut header = [0; IFINFO_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    m.raw(&header);
}

fn veth_end(m: &mut Encoder, name: &str, mac: Option<MacAddress>, mtu: Option<u32>) {
    m.attr_str(libc::IFLA_IFNAME, name);
    if let Some(mac) = mac {
        m.attr(libc::IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = mtu {
        m.attr_u32(libc::IFLA_MTU, mtu);
    }
}

fn check_name(name: &str) -> Result<(), Cause> {
    if (1..=NAME_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(Cause::Name)
    }
}

#[cfg(test)]
mod tests;
