//! The vocabulary of the dataplane: what the kernel's maps hold, as plain data.
//!
//! A [`Key`] is an element of one map or set of the table, a [`Value`] what it maps to. The desired
//! state of the whole table is a set of such pairs, so that planning, diffing and adopting need to
//! know nothing about nf_tables.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// An address family. Each has its own table, and nothing of one is in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The family of a net.
    pub fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// A transport protocol that Services can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with an IP protocol number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| p.number() == number)
    }
}

/// An address and port that clients connect to. With a Service's cluster IP it also names the
/// service port in the other maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address.
    pub ip: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// Which of a service port's two lists of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// The endpoints of the whole cluster.
    Cluster,
    /// Those on this node.
    Local,
}

impl List {
    /// Number of the list's first endpoint in the map of endpoints.
    pub fn offset(self) -> u32 {
        match self {
            List::Cluster => 0,
            List::Local => 0x1_0000,
        }
    }
}

/// An element of one of the table's maps and sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `service-ips`: an address that a Service answers on, to a verdict.
    ServiceIp(Frontend),
    /// `service-nodeports`: a node port, to a verdict.
    NodePort(Protocol, u16),
    /// `external-ips`: an external or load balancer address, to the service port.
    ExternalIp(Frontend),
    /// `nodeports`: a node port, to the service port.
    NodePortTarget(Protocol, u16),
    /// `endpoints`: the endpoint of a service port with a number, to its address.
    Endpoint(Frontend, List, u16),
    /// `affinity-picks`: the same for service ports with session affinity.
    AffinityPick(Frontend, List, u16),
    /// `affinity-endpoints` and `affinity-local-endpoints`: an endpoint that clients of a service port
    /// with session affinity may stay with.
    AffinityEndpoint(Frontend, List, SocketAddr),
    /// `cluster-ips`: a cluster IP, whose other ports are refused.
    ClusterIp(IpAddr),
    /// `hairpin`: an endpoint that may be its own client.
    Hairpin(IpAddr),
    /// `source-ranges`: clients that may use the load balancer addresses of a service port that does not
    /// take all. The nets of one service port never overlap.
    SourceRange(Frontend, IpNet),
}

/// What a [`Key`] maps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// Drop the packet.
    Drop,
    /// Go to a chain.
    Goto(Chain),
    /// The service port meant.
    Service(Frontend),
    /// The endpoint's address.
    Endpoint(SocketAddr),
    /// Nothing: the key is in a set.
    Present,
}

/// How a packet's headers lead to the service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The destination is the cluster IP.
    ClusterIp,
    /// The destination is an external or load balancer address.
    ExternalIp,
    /// The destination is an address of the node, the port a node port.
    NodePort,
}

/// Choosing one of a number of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pick {
    /// How the service port is found.
    pub via: Via,
    /// From which list.
    pub list: List,
    /// How many endpoints are in the list; never 0.
    pub count: u16,
    /// For how many seconds a client stays with an endpoint (session affinity ClientIP).
    pub affinity: Option<u32>,
}

/// A chain that a verdict goes to. There is one for each *number* of endpoints that occurs, not one
/// for each Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Refuses the packet.
    Refuse,
    /// Picks an endpoint and keeps the client's address.
    Direct(Pick),
    /// Traffic to a cluster IP: masquerades clients from outside of the cluster.
    Internal(Pick),
    /// Traffic to an external address or node port: masquerades.
    External(Pick),
    /// The same with externalTrafficPolicy Local: pods and the node itself get the whole cluster's
    /// endpoints (`pick`), all others keep their address and get one of `local`, or are dropped.
    ExternalLocal {
        /// The pick among the whole cluster's endpoints.
        pick: Pick,
        /// How many endpoints are on this node.
        local: u16,
    },
    /// Drops clients that are in none of the service port's source ranges; lets the others go on.
    Guarded(Guarded),
}

/// Where a [`Chain::Guarded`] lets packets go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarded {
    /// To [`Chain::Refuse`].
    Refuse,
    /// To [`Chain::External`].
    External(Pick),
    /// To [`Chain::ExternalLocal`].
    ExternalLocal {
        /// As there.
        pick: Pick,
        /// As there.
        local: u16,
    },
}

impl Guarded {
    /// The chain behind the guard.
    pub fn chain(self) -> Chain {
        match self {
            Guarded::Refuse => Chain::Refuse,
            Guarded::External(pick) => Chain::External(pick),
            Guarded::ExternalLocal { pick, local } => Chain::ExternalLocal { pick, local },
        }
    }
}

impl Chain {
    /// The chains that this chain's rules go to, and those that theirs go to.
    pub fn targets(self) -> impl Iterator<Item = Chain> {
        let behind = match self {
            Chain::Guarded(guarded) => Some(guarded.chain()),
            _ => None,
        };
        let short_circuits = match behind.unwrap_or(self) {
            Chain::ExternalLocal { pick, .. } => Some([Chain::Direct(pick), Chain::External(pick)]),
            _ => None,
        };
        behind
            .into_iter()
            .chain(short_circuits.into_iter().flatten())
    }

    /// The pick among this node's endpoints of an [`Chain::ExternalLocal`].
    pub fn local_pick(pick: Pick, local: u16) -> Pick {
        Pick {
            list: List::Local,
            count: local,
            ..pick
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.via {
            Via::ClusterIp => {}
            Via::ExternalIp => f.write_str("-ip")?,
            Via::NodePort => f.write_str("-nodeport")?,
        }
        if self.list == List::Local {
            f.write_str("-local")?;
        }
        write!(f, "-{}", self.count)?;
        match self.affinity {
            Some(seconds) => write!(f, "-affinity-{seconds}"),
            None => Ok(()),
        }
    }
}

/// The chain's name in the kernel; different chains have different names.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chain::Refuse => f.write_str("refuse"),
            Chain::Direct(pick) => write!(f, "direct{pick}"),
            Chain::Internal(pick) => write!(f, "internal{pick}"),
            Chain::External(pick) => write!(f, "external{pick}"),
            Chain::ExternalLocal { pick, local } => write!(f, "external-local-{local}-of{pick}"),
            Chain::Guarded(guarded) => write!(f, "guarded-{}", guarded.chain()),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

/// `10.96.0.1:443/TCP`, as kube-proxy's logs have it.
impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = SocketAddr::new(self.ip, self.port);
        write!(f, "{address}/{}", self.protocol)
    }
}

/// What the element is about, for people.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::ServiceIp(frontend) | Key::ExternalIp(frontend) => write!(f, "{frontend}"),
            Key::NodePort(protocol, port) | Key::NodePortTarget(protocol, port) => {
                write!(f, "node port {port}/{protocol}")
            }
            Key::Endpoint(name, _, slot) | Key::AffinityPick(name, _, slot) => {
                write!(f, "endpoint {slot} of {name}")
            }
            Key::AffinityEndpoint(name, _, endpoint) => write!(f, "endpoint {endpoint} of {name}"),
            Key::ClusterIp(ip) => write!(f, "cluster IP {ip}"),
            Key::Hairpin(ip) => write!(f, "endpoint {ip}"),
            Key::SourceRange(name, net) => write!(f, "source range {net} of {name}"),
        }
    }
}
