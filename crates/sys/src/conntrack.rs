//! Connection tracking: listing the flows of one protocol and deleting single ones.
//!
//! Numbers are those of `linux/netfilter/nfnetlink_conntrack.h`. Absent on purpose: events, creating
//! and changing entries, and whole-table flushes (nobody should cut flows that it does not know).

use std::net::{IpAddr, SocketAddr};

use crate::netlink::{self, Attributes, Encoder, Message, Socket};
use crate::netns::{self, NetNs};

/// `NFNL_SUBSYS_CTNETLINK`, and the messages `IPCTNL_MSG_CT_GET` and `_DELETE`.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const GENMSG_BYTES: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_FLAG(CTA_IP_DST)`, `(CTA_PROTO_NUM)` and `(CTA_PROTO_DST_PORT)`: what is compared.
const FILTER_DESTINATION: u32 = 1 << 1;
const FILTER_PROTOCOL: u32 = 1 << 3;
const FILTER_DESTINATION_PORT: u32 = 1 << 5;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// A failed query or deletion.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened.
    #[error("open conntrack")]
    Open(#[source] netlink::Error),
    /// The namespace could not be entered to open the socket.
    #[error("open conntrack")]
    Namespace(#[from] netns::Error),
    /// The flows could not be listed.
    #[error("list conntrack flows")]
    List(#[source] netlink::Error),
    /// A flow could not be deleted.
    #[error("delete conntrack flow to {destination}")]
    Delete {
        /// Where the flow was sent.
        destination: SocketAddr,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// Where packets come from.
    pub source: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
}

/// A tracked flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// As its first packet was sent.
    pub original: Tuple,
    /// As its answers come: the source is where the flow really goes.
    pub reply: Tuple,
    /// The kernel's identity of the entry.
    id: u32,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// Which flows are listed. The kernel sorts out the others, so that they need not be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The address family.
    pub family: Family,
    /// The IP protocol number.
    pub protocol: u8,
    /// Where the first packet was sent to, if that matters.
    pub destination: Option<IpAddr>,
    /// The port that it was sent to, if that matters.
    pub port: Option<u16>,
}

impl Filter {
    /// All flows of a protocol.
    pub fn protocol(family: Family, protocol: u8) -> Self {
        let (destination, port) = (None, None);
        Self {
            family,
            protocol,
            destination,
            port,
        }
    }

    fn lets_through(&self, flow: &Flow) -> bool {
        let to = flow.original.destination;
        flow.protocol == self.protocol
            && Family::of(to.ip()) == self.family
            && self.destination.is_none_or(|ip| ip == to.ip())
            && self.port.is_none_or(|port| port == to.port())
    }
}

/// A ctnetlink socket.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
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

    /// The flows that `filter` lets through. A table that changes meanwhile may be listed incompletely.
    pub fn flows(&mut self, filter: &Filter) -> Result<Vec<Flow>, Error> {
        let mut flags = FILTER_PROTOCOL;
        let (ip, port) = (filter.destination, filter.port);
        flags |= ip.map_or(0, |_| FILTER_DESTINATION);
        flags |= port.map_or(0, |_| FILTER_DESTINATION_PORT);
        let dump = self.socket.dump(GET, |m| {
            genmsg(m, filter.family);
            // Kernels before 5.8 ignore the filter and list all.
            m.nest(CTA_TUPLE_ORIG, |m| {
                if let Some(ip) = ip {
                    m.nest(CTA_TUPLE_IP, |m| address(m, 1, ip));
                }
                m.nest(CTA_TUPLE_PROTO, |m| {
                    m.attr_u8(CTA_PROTO_NUM, filter.protocol);
                    if let Some(port) = port {
                        m.attr(CTA_PROTO_DST_PORT, &port.to_be_bytes());
                    }
                });
            });
            m.nest(CTA_FILTER, |m| {
                m.attr_u32(CTA_FILTER_ORIG_FLAGS, flags);
                m.attr_u32(CTA_FILTER_REPLY_FLAGS, 0);
            });
        });
        let messages = match dump {
            Ok(messages) => messages,
            Err(source) => return Err(Error::List(source)),
        };
        Ok(messages
            .iter()
            .filter_map(parse)
            .filter(|flow| filter.lets_through(flow))
            .collect())
    }

    /// Deletes a flow; false when it has gone meanwhile.
    pub fn delete(&mut self, flow: &Flow) -> Result<bool, Error> {
        let family = Family::of(flow.original.destination.ip());
        let result = self.socket.request(DELETE, 0, |m| {
            genmsg(m, family);
            m.nest(CTA_TUPLE_ORIG, |m| tuple(m, flow.protocol, &flow.original));
            m.attr_be32(CTA_ID, flow.id);
        });
        match result {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(Error::Delete {
                destination: flow.original.destination,
                source,
            }),
        }
    }
}

/// Writes `struct nfgenmsg`.
fn genmsg(m: &mut Encoder, family: Family) {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    m.raw(&[number as u8, 0, 0, 0]);
}

/// Writes the source (0) or destination (1) of a tuple.
fn address(m: &mut Encoder, which: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => m.attr(1 + which, &v4.octets()),
        IpAddr::V6(v6) => m.attr(3 + which, &v6.octets()),
    }
}

fn tuple(m: &mut Encoder, protocol: u8, tuple: &Tuple) {
    m.nest(CTA_TUPLE_IP, |m| {
        address(m, 0, tuple.source.ip());
        address(m, 1, tuple.destination.ip());
    });
    m.nest(CTA_TUPLE_PROTO, |m| {
        m.attr_u8(CTA_PROTO_NUM, protocol);
        m.attr(CTA_PROTO_SRC_PORT, &tuple.source.port().to_be_bytes());
        m.attr(CTA_PROTO_DST_PORT, &tuple.destination.port().to_be_bytes());
    });
}

pub(crate) fn parse(message: &Message) -> Option<Flow> {
    let attributes = message.attributes(GENMSG_BYTES);
    let original = attributes.nested(CTA_TUPLE_ORIG);
    Some(Flow {
        protocol: *original
            .nested(CTA_TUPLE_PROTO)
            .get(CTA_PROTO_NUM)?
            .first()?,
        original: parse_tuple(&original)?,
        reply: parse_tuple(&attributes.nested(CTA_TUPLE_REPLY))?,
        id: attributes.be32(CTA_ID)?,
    })
}

fn parse_tuple(attributes: &Attributes<'_>) -> Option<Tuple> {
    let (ips, protocol) = (
        attributes.nested(CTA_TUPLE_IP),
        attributes.nested(CTA_TUPLE_PROTO),
    );
    let v4 = |kind| Some(IpAddr::from(*ips.get(kind)?.first_chunk::<4>()?));
    let v6 = |kind| Some(IpAddr::from(*ips.get(kind)?.first_chunk::<16>()?));
    let ip = |which: u16| v4(1 + which).or_else(|| v6(3 + which));
    let port = |kind| Some(u16::from_be_bytes(*protocol.get(kind)?.first_chunk()?));
    Some(Tuple {
        source: SocketAddr::new(ip(0)?, port(CTA_PROTO_SRC_PORT)?),
        destination: SocketAddr::new(ip(1)?, port(CTA_PROTO_DST_PORT)?),
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::link::Netlink;
    use crate::nft::{self, Batch, Chain, CtKey, Expr, Hook, Nft, Register, Table};

    #[test]
    fn a_flow_is_listed_and_deleted() {
        let netns = NetNs::anonymous().expect("namespace");
        Netlink::open_in(&netns)
            .expect("open")
            .set_up("lo")
            .expect("up");
        // Connections are tracked only where a rule asks for it.
        let mut batch = Batch::new(nft::Family::Ip);
        batch.add_table(&Table {
            name: "track",
            userdata: &[],
        });
        let hook = Some(Hook {
            kind: "filter",
            number: 3,
            priority: 0,
        });
        batch.add_chain(
            "track",
            &Chain {
                name: "output",
                hook,
            },
        );
        let state = Expr::Ct {
            key: CtKey::State,
            dreg: Register::new(0),
        };
        batch.add_rule("track", "output", "", &[state]);
        Nft::open_in(&netns)
            .expect("open")
            .commit(batch)
            .expect("commit");

        let [server, client] = [(); 2].map(|()| {
            netns
                .run_in(|| UdpSocket::bind("127.0.0.1:0").expect("bind"))
                .expect("enter")
        });
        let [to, from] = [&server, &client].map(|socket| socket.local_addr().expect("address"));
        client.send_to(b"hello", to).expect("send");

        let mut conntrack = Conntrack::open_in(&netns).expect("open");
        let udp = Filter::protocol(Family::V4, 17);
        let flows = conntrack.flows(&udp).expect("list");
        let [flow] = flows.as_slice() else {
            panic!("{flows:?}")
        };
        assert_eq!(
            flow.original,
            Tuple {
                source: from,
                destination: to
            }
        );
        assert_eq!(
            flow.reply,
            Tuple {
                source: to,
                destination: from
            }
        );
        let tcp = Filter::protocol(Family::V4, 6);
        assert_eq!(conntrack.flows(&tcp).expect("list"), [], "no TCP flow");
        let exact = Filter {
            destination: Some(to.ip()),
            port: Some(to.port()),
            ..udp
        };
        assert_eq!(conntrack.flows(&exact).expect("list"), flows);
        let elsewhere = Filter {
            port: Some(to.port() ^ 1),
            ..udp
        };
        assert_eq!(
            conntrack.flows(&elsewhere).expect("list"),
            [],
            "another port"
        );
        let v6 = Filter::protocol(Family::V6, 17);
        assert_eq!(conntrack.flows(&v6).expect("list"), [], "no IPv6 flow");
        assert!(conntrack.delete(flow).expect("delete"));
        assert!(!conntrack.delete(flow).expect("delete again"));
        assert_eq!(conntrack.flows(&udp).expect("list"), []);
    }
}
