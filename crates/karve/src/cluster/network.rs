//! The cluster's LAN, and each node's network namespace on it.
//!
//! The bridge that joins the nodes is in a network namespace of its own, and the host has a link to it as
//! each node has. On the host itself a bridge would be subject to the host's firewall: with
//! `bridge-nf-call-iptables`, which Docker turns on together with a FORWARD policy of DROP, nodes could
//! not reach each other.
//!
//! Every step looks before it makes, so that [`ensure`] repairs as well as builds. Nothing else of
//! the host changes: no rule, no route beyond the link's own, no sysctl.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use karve_sys::link::{self, Netlink, Route, Veth};
use karve_sys::netns::{self, NAMED_DIR, NetNs};
use rustix::fs::{FlockOperation, flock};

use super::config::{ClusterConfig, LocalNode};
use super::layout::Layout;
use super::name::ClusterName;
use super::subnet::Subnet;

/// The node's end of its link to the bridge.
pub const NODE_INTERFACE: &str = "eth0";
/// The bridge, in its namespace, where each node's link is called as the node.
const BRIDGE: &str = "bridge";
/// The LAN's end of the host's link.
const HOST_PORT: &str = "host";

/// Picks a network for a new cluster's nodes that nothing on this machine uses.
pub fn choose_subnet() -> Result<Subnet> {
    let mut netlink = Netlink::open()?;
    let addresses = netlink.addresses()?.into_iter().map(|address| address.net);
    let routes = netlink.routes()?.into_iter().map(|route| route.destination);
    let in_use: Vec<IpNet> = addresses.chain(routes).collect();
    Subnet::choose(&in_use).context(
        "no network is free for the nodes: each of 192.168.64.0/24 to 192.168.254.0/24 overlaps an address or route \
         of this machine (`ip address; ip route`)",
    )
}

/// While this lives, no other cluster of this machine chooses a network.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "the lock ends with the file")] File);

impl Turn {
    /// Waits for others, who need a moment each.
    pub fn wait(layout: &Layout) -> Result<Self> {
        let root = layout.data.parent().context("the data root has a parent")?;
        let directory = File::open(root).with_context(|| format!("open {}", root.display()))?;
        flock(&directory, FlockOperation::LockExclusive)
            .with_context(|| format!("lock {}", root.display()))?;
        Ok(Self(directory))
    }
}

/// Makes what is missing of the LAN and the nodes' namespaces.
pub fn ensure(name: &ClusterName, config: &ClusterConfig) -> Result<()> {
    let lan = ensure_lan(name, config)?;
    let mut netlink = Netlink::open_in(&lan)?;
    for node in config.local_nodes() {
        ensure_node(&mut netlink, name, config, &node)
            .with_context(|| format!("make the network of {}", node.name))?;
    }
    Ok(())
}

/// Makes the bridge's namespace and the host's link to it with the host's address, if they are missing.
pub fn ensure_lan(name: &ClusterName, config: &ClusterConfig) -> Result<NetNs> {
    let lan = ensure_netns(&name.lan())?;
    let mut inside = Netlink::open_in(&lan)?;
    unless_there(inside.create_bridge(BRIDGE))?;
    inside.set_up(BRIDGE)?;

    let mut host = Netlink::open()?;
    let link = name.host_link();
    unless_there(host.create_veth(&Veth {
        name: &link,
        mac: None,
        peer: HOST_PORT,
        peer_mac: None,
        peer_netns: Some(&lan),
        mtu: None,
    }))?;
    let index = host.link_index(&link)?;
    let address = config.subnet.with_prefix(config.subnet.host());
    host.add_address(index, address)?;
    plug_in(&mut inside, HOST_PORT)?;
    host.set_up(&link)?;
    inside.settle(HOST_PORT)?;
    Ok(lan)
}

fn ensure_node(
    lan: &mut Netlink,
    name: &ClusterName,
    config: &ClusterConfig,
    node: &LocalNode,
) -> Result<()> {
    let netns = ensure_netns(&name.netns(&node.name))?;
    unless_there(lan.create_veth(&Veth {
        name: &node.name,
        mac: None,
        peer: NODE_INTERFACE,
        peer_mac: Some(name.mac(&node.name)),
        peer_netns: Some(&netns),
        mtu: None,
    }))?;
    plug_in(lan, &node.name)?;

    let mut inside = Netlink::open_in(&netns)?;
    inside.set_up("lo")?;
    let eth0 = inside.link_index(NODE_INTERFACE)?;
    inside.add_address(eth0, config.subnet.with_prefix(node.ip))?;
    inside.set_up(NODE_INTERFACE)?;
    // The bridge's end got its carrier by the node's: without this its first packets may be lost.
    lan.settle(&node.name)?;
    let everywhere =
        IpNet::V4(Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length"));
    inside.add_route(&Route::by_gateway(
        everywhere,
        IpAddr::V4(config.subnet.host()),
    ))?;
    Ok(())
}

/// Makes `port` a port of the bridge.
fn plug_in(lan: &mut Netlink, port: &str) -> Result<()> {
    let bridge = lan.link_index(BRIDGE)?;
    lan.set_master(port, bridge)?;
    lan.set_up(port)?;
    Ok(())
}

fn unless_there(made: Result<(), link::Error>) -> Result<(), link::Error> {
    match made {
        Err(error) if error.is_exists() => Ok(()),
        other => other,
    }
}

fn ensure_netns(name: &str) -> Result<NetNs> {
    if let Ok(netns) = NetNs::open(name)
        // A file that no namespace is mounted on is left over from before a reboot.
        && netns.run_in(|| ()).is_ok()
    {
        return Ok(netns);
    }
    netns::remove(name)?;
    Ok(NetNs::create(name)?)
}

/// What of the cluster's network is there, by name.
pub fn traces(name: &ClusterName) -> Result<Traces> {
    let link = name.host_link();
    let links = Netlink::open()?.links()?;
    Ok(Traces {
        link: links
            .into_iter()
            .map(|there| there.name)
            .find(|there| *there == link),
        namespaces: namespaces(name)?,
    })
}

/// What of a cluster's network is in the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The host's link to the LAN.
    pub link: Option<String>,
    /// The namespaces of the nodes and of the bridge; all other links are in them.
    pub namespaces: Vec<String>,
}

impl Traces {
    /// Deletes all of it. Namespaces end, with their links, when the last process in them does.
    pub fn remove(&self) -> Result<()> {
        if let Some(link) = &self.link {
            Netlink::open()?.delete_link(link)?;
        }
        for namespace in &self.namespaces {
            netns::remove(namespace)?;
        }
        Ok(())
    }
}

fn namespaces(name: &ClusterName) -> Result<Vec<String>> {
    let entries = match fs::read_dir(NAMED_DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("list /run/netns"),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.context("list /run/netns")?.file_name();
        if let Some(text) = file.to_str()
            && name.owns_netns(text)
        {
            found.push(text.to_owned());
        }
    }
    found.sort_unstable();
    Ok(found)
}
