//! Reading links back.

use super::{Error, IFINFO_BYTES, MacAddress, Netlink, ifinfo};
use crate::netlink::Message;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver's name (`veth`, `bridge`, …); empty for physical and loopback links.
    pub kind: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacAddress>,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Up and with a carrier (`IFF_RUNNING`).
    pub running: bool,
    /// Index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Index of a veth's other end, in the other end's namespace.
    pub peer: Option<u32>,
    /// Largest packet in bytes.
    pub mtu: u32,
}

impl Netlink {
    /// The link `name`; [`Error::is_not_found`] when there is none.
    pub fn link(&mut self, name: &str) -> Result<Link, Error> {
        let messages = self
            .socket
            .request(libc::RTM_GETLINK, 0, |m| {
                ifinfo(m, 0, 0, 0);
                m.attr_str(libc::IFLA_IFNAME, name);
            })
            .map_err(|error| Error::new("get link", name, error))?;
        messages
            .iter()
            .find_map(parse)
            .ok_or_else(|| Error::new("get link", name, super::Cause::Incomplete))
    }

    /// Makes sure that the link `name`, which is up, may send.
    ///
    /// A link whose carrier came later than [`Self::set_up`], as that of the first end of a veth pair
    /// does, drops all packets until the kernel's link watcher has run: a lost SYN costs a second.
    /// Since Linux 6.9 being asked about the link makes the watcher run at once
    /// (`linkwatch_sync_dev` in `rtnl_getlink`); older kernels do so in their own time.
    pub fn settle(&mut self, name: &str) -> Result<(), Error> {
        self.link(name).map(drop)
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let messages = self.list("links", libc::RTM_GETLINK, |m| ifinfo(m, 0, 0, 0))?;
        Ok(messages.iter().filter_map(parse).collect())
    }
}

pub(crate) fn parse(message: &Message) -> Option<Link> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let header = message.payload.first_chunk::<IFINFO_BYTES>()?;
    let flags = i32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let attributes = message.attributes(IFINFO_BYTES);
    let info = attributes.nested(libc::IFLA_LINKINFO);
    Some(Link {
        index: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
        name: attributes.string(libc::IFLA_IFNAME)?,
        kind: info.string(libc::IFLA_INFO_KIND).unwrap_or_default(),
        mac: attributes
            .get(libc::IFLA_ADDRESS)
            .and_then(|mac| mac.try_into().ok()),
        up: flags & libc::IFF_UP != 0,
        running: flags & libc::IFF_RUNNING != 0,
        master: attributes.u32(libc::IFLA_MASTER),
        peer: attributes.u32(libc::IFLA_LINK),
        mtu: attributes.u32(libc::IFLA_MTU).unwrap_or_default(),
    })
}
