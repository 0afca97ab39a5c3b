//! Routes of the main table.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{family, ip, octets};
use super::{Error, Netlink, REPLACE};
use crate::netlink::{Encoder, Message};

const RTMSG_BYTES: usize = 12;
/// `RTNH_F_ONLINK` of `linux/rtnetlink.h`.
const RTNH_F_ONLINK: u32 = 4;

/// How far away a route's destination is (`rtm_scope`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Behind a gateway, or anywhere.
    #[default]
    Universe,
    /// Directly on the link.
    Link,
}

/// What becomes of a route's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// They are sent on.
    #[default]
    Unicast,
    /// They are refused: the sender is told by ICMP.
    Unreachable,
}

/// A route. The destination `0.0.0.0/0` or `::/0` is the default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What becomes of the packets.
    pub kind: Kind,
    /// Where to.
    pub destination: IpNet,
    /// By which gateway.
    pub gateway: Option<IpAddr>,
    /// By which link.
    pub oif: Option<u32>,
    /// How far.
    pub scope: Scope,
    /// The gateway counts as on the link although no prefix of the link holds it.
    pub onlink: bool,
    /// Source address that the node's own traffic prefers.
    pub source: Option<IpAddr>,
}

impl Route {
    /// A route by a link: the destination is on it.
    pub fn by_link(destination: IpNet, oif: u32) -> Self {
        Self {
            kind: Kind::Unicast,
            destination,
            gateway: None,
            oif: Some(oif),
            scope: Scope::Link,
            onlink: false,
            source: None,
        }
    }

    /// A route by a gateway.
    pub fn by_gateway(destination: IpNet, gateway: IpAddr) -> Self {
        let gateway = Some(gateway);
        Self {
            kind: Kind::Unicast,
            destination,
            gateway,
            oif: None,
            scope: Scope::Universe,
            onlink: false,
            source: None,
        }
    }

    /// A route for addresses that nobody has: more specific ones take precedence.
    pub fn unreachable(destination: IpNet) -> Self {
        Self {
            kind: Kind::Unreachable,
            destination,
            gateway: None,
            oif: None,
            scope: Scope::Universe,
            onlink: false,
            source: None,
        }
    }
}

impl Netlink {
    /// Adds a route, or replaces the one to the same destination.
    pub fn add_route(&mut self, route: &Route) -> Result<(), Error> {
        let object = route.destination.to_string();
        self.change("add route to", object, libc::RTM_NEWROUTE, REPLACE, |m| {
            encode(m, route)
        })
    }

    /// Deletes a route; false when there is none like it.
    pub fn delete_route(&mut self, route: &Route) -> Result<bool, Error> {
        let object = route.destination.to_string();
        match self.change("delete route to", object, libc::RTM_DELROUTE, 0, |m| {
            encode(m, route)
        }) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The routes of the main table, both families, single-path only.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let messages = self.list("routes", libc::RTM_GETROUTE, |m| m.raw(&[0; RTMSG_BYTES]))?;
        Ok(messages.iter().filter_map(parse).collect())
    }
}

fn encode(m: &mut Encoder, route: &Route) {
    let mut header = [0; RTMSG_BYTES];
    header[0] = family(route.destination.addr());
    header[1] = route.destination.prefix_len();
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_STATIC;
    header[6] = match route.scope {
        Scope::Universe => libc::RT_SCOPE_UNIVERSE,
        Scope::Link => libc::RT_SCOPE_LINK,
    };
    header[7] = match route.kind {
        Kind::Unicast => libc::RTN_UNICAST,
        Kind::Unreachable => libc::RTN_UNREACHABLE,
    };
    if route.onlink {
        header[8..12].copy_from_slice(&(RTNH_F_ONLINK).to_ne_bytes());
    }
    m.raw(&header);
    m.attr(libc::RTA_DST, &octets(route.destination.network()));
    if let Some(gateway) = route.gateway {
        m.attr(libc::RTA_GATEWAY, &octets(gateway));
    }
    if let Some(oif) = route.oif {
        m.attr_u32(libc::RTA_OIF, oif);
    }
    if let Some(source) = route.source {
        m.attr(libc::RTA_PREFSRC, &octets(source));
    }
}

pub(crate) fn parse(message: &Message) -> Option<Route> {
    let header = message.payload.first_chunk::<RTMSG_BYTES>()?;
    let attributes = message.attributes(RTMSG_BYTES);
    let table = attributes
        .u32(libc::RTA_TABLE)
        .unwrap_or(u32::from(header[4]));
    let kind = match header[7] {
        libc::RTN_UNICAST => Kind::Unicast,
        libc::RTN_UNREACHABLE => Kind::Unreachable,
        _ => return None,
    };
    if table != u32::from(libc::RT_TABLE_MAIN) {
        return None;
    }
    let destination = match (attributes.get(libc::RTA_DST), i32::from(header[0])) {
        (Some(bytes), _) => ip(bytes)?,
        (None, libc::AF_INET) => IpAddr::from([0; 4]),
        (None, _) => IpAddr::from([0; 16]),
    };
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    Some(Route {
        kind,
        destination: IpNet::new(destination, header[1]).ok()?,
        gateway: attributes.get(libc::RTA_GATEWAY).and_then(ip),
        oif: attributes.u32(libc::RTA_OIF),
        scope: if header[6] == libc::RT_SCOPE_LINK {
            Scope::Link
        } else {
            Scope::Universe
        },
        onlink: flags & RTNH_F_ONLINK != 0,
        source: attributes.get(libc::RTA_PREFSRC).and_then(ip),
    })
}
