//! Brings the kernel to what was planned: one netlink request per changed route, one nf_tables transaction per change.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use karve_sys::link::{self, Netlink, Route, RouteKind};
use karve_sys::nft::{
    self, Batch, Chain, Cmp, Element, Expr, Family, Hook, Nft, PayloadBase, Register, Set,
    SetFlags, Table, Value, types,
};

use super::Options;
use super::plan::{Wanted, Way};

const TABLE: &str = "karve-node";
const CHAIN: &str = "postrouting";
const NODES: &str = "nodes";
/// `NF_INET_POST_ROUTING`, after the destination was rewritten.
const HOOK: Hook = Hook {
    kind: "nat",
    number: 4,
    priority: 100,
};
/// Offsets of the addresses in an IPv4 header (RFC 791).
const SADDR: u32 = 12;
const DADDR: u32 = 16;
const REG: Register = Register::new(0);

/// Kernel settings that a node needs: it routes between pods and other nodes, by ways that need not be symmetric.
const SETTINGS: [(&str, &str); 5] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
];

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting under `/proc/sys`.
    #[error("set {setting}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A route or link.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The masquerade table.
    #[error(transparent)]
    Nft(#[from] nft::Error),
    /// The socket that tells of changed tables.
    #[error("listen for changes of nf_tables")]
    Monitor(#[from] io::Error),
}

/// The kernel's side, with what is known to be there.
#[derive(Debug)]
pub struct Kernel {
    options: Options,
    links: Netlink,
    nft: Nft,
    /// Node addresses in the set; none before the table was made.
    nodes: Option<BTreeSet<Ipv4Addr>>,
}

impl Kernel {
    /// Opens the sockets in the calling thread's network namespace and makes the settings there.
    pub fn open(options: Options) -> Result<Kernel, Error> {
        for (setting, value) in SETTINGS {
            set(setting, value)?;
        }
        Ok(Kernel {
            options,
            links: Netlink::open()?,
            nft: Nft::open()?,
            nodes: None,
        })
    }

    /// Makes the kernel what was planned; what already is stays untouched.
    pub fn apply(&mut self, wanted: &Wanted) -> Result<(), Error> {
        self.masquerade(&wanted.nodes)?;
        self.routes(wanted)
    }

    /// Whether somebody has taken our table away, as `nft flush ruleset` does. Then [`Self::apply`] makes it again.
    pub fn is_flushed(&mut self) -> Result<bool, Error> {
        if self.nodes.is_some() && self.nft.table(Family::Ip, TABLE)?.is_none() {
            self.nodes = None;
            return Ok(true);
        }
        Ok(false)
    }

    fn routes(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let uplink = self.links.link_index(&self.options.uplink)?;
        let mut present = BTreeSet::new();
        for route in self.links.routes()? {
            let IpNet::V4(net) = route.destination else {
                continue;
            };
            let Some(way) =
                way(&route, uplink).filter(|_| self.options.cluster_cidr.contains(&net))
            else {
                continue;
            };
            if wanted.routes.get(&net) == Some(&way) {
                present.insert(net);
            } else if !wanted.routes.contains_key(&net) {
                self.links.delete_route(&route)?;
                tracing::info!(%net, ?way, "route removed");
            }
        }
        for (net, way) in wanted
            .routes
            .iter()
            .filter(|(net, _)| !present.contains(net))
        {
            self.links
                .add_route(&route(*net, *way, uplink, self.options.node_ip))?;
            tracing::info!(%net, ?way, "route added");
        }
        Ok(())
    }

    fn masquerade(&mut self, nodes: &BTreeSet<Ipv4Addr>) -> Result<(), Error> {
        let mut batch = Batch::new(Family::Ip);
        match &self.nodes {
            Some(have) => {
                batch.delete_elements(TABLE, NODES, have.difference(nodes).map(|ip| element(*ip)));
                batch.add_elements(TABLE, NODES, nodes.difference(have).map(|ip| element(*ip)));
            }
            None => table(&mut batch, self.options.cluster_cidr, nodes),
        }
        self.nft.commit(batch)?;
        self.nodes = Some(nodes.clone());
        Ok(())
    }
}

/// The whole table, in place of one that an earlier agent left.
fn table(batch: &mut Batch, cluster: Ipv4Net, nodes: &BTreeSet<Ipv4Addr>) {
    let new = Table {
        name: TABLE,
        userdata: &[],
    };
    batch.add_table(&new);
    batch.delete_table(TABLE);
    batch.add_table(&new);
    batch.add_set(
        TABLE,
        &Set {
            name: NODES,
            flags: SetFlags::default(),
            key: &[types::IPV4_ADDR],
            data: &[],
            verdicts: false,
            timeout: None,
        },
    );
    batch.add_elements(TABLE, NODES, nodes.iter().map(|ip| element(*ip)));
    batch.add_chain(
        TABLE,
        &Chain {
            name: CHAIN,
            hook: Some(HOOK),
        },
    );
    let address = |offset| Expr::Payload {
        base: PayloadBase::Network,
        offset,
        len: 4,
        dreg: REG,
    };
    let in_cluster = |op| {
        let mask = cluster.netmask().octets().to_vec();
        let net = cluster.network().octets().to_vec();
        [
            Expr::Bitwise {
                sreg: REG,
                dreg: REG,
                mask,
                xor: vec![0; 4],
            },
            Expr::Cmp {
                sreg: REG,
                op,
                value: net,
            },
        ]
    };
    let mut rule = vec![address(SADDR)];
    rule.extend(in_cluster(Cmp::Eq));
    rule.push(address(DADDR));
    rule.extend(in_cluster(Cmp::Neq));
    rule.push(address(DADDR));
    rule.push(Expr::Lookup {
        set: Cow::Borrowed(NODES),
        sreg: REG,
        invert: true,
    });
    rule.push(Expr::Masquerade { fully_random: true });
    batch.add_rule(
        TABLE,
        CHAIN,
        "pods leave the cluster with the node's address",
        &rule,
    );
}

fn element(ip: Ipv4Addr) -> Element {
    Element::key(Value::EMPTY.ip(ip))
}

/// The way that a route of ours takes; `None` for others, such as those to the node's own pods.
fn way(route: &Route, uplink: u32) -> Option<Way> {
    match (route.kind, route.gateway) {
        (RouteKind::Unreachable, _) => Some(Way::Nowhere),
        (RouteKind::Unicast, Some(IpAddr::V4(gateway))) if route.oif == Some(uplink) => {
            Some(Way::Gateway(gateway))
        }
        _ => None,
    }
}

fn route(net: Ipv4Net, way: Way, uplink: u32, source: Ipv4Addr) -> Route {
    let net = IpNet::V4(net);
    match way {
        Way::Nowhere => Route::unreachable(net),
        Way::Gateway(gateway) => Route {
            oif: Some(uplink),
            // Else the kernel could choose an address of `lo`, such as that of the DNS server.
            source: Some(IpAddr::V4(source)),
            ..Route::by_gateway(net, IpAddr::V4(gateway))
        },
    }
}

fn set(setting: &'static str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys").join(setting);
    let failed = |source| Error::Setting { setting, source };
    let current = std::fs::read_to_string(&path).map_err(failed)?;
    if current.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(failed)
}

#[cfg(test)]
mod tests;
