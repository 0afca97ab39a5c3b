//! The bridge, and each node's network namespace on it.
//!
//! Every step looks before it makes, so that [`ensure`] repairs as well as builds. Nothing else of
//! the host changes: no rule, no route beyond the bridge's own, no sysctl.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use karve_sys::link::{Netlink, Route, Veth};
use karve_sys::netns::{self, NAMED_DIR, NetNs};
use rustix::fs::{FlockOperation, flock};

use super::config::{ClusterConfig, LocalNode};
use super::layout::Layout;
use super::name::ClusterName;
use super::subnet::Subnet;

/// The node's end of its link to the bridge.
pub const NODE_INTERFACE: &str = "eth0";

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

/// Makes what is missing of the bridge and the nodes' namespaces.
pub fn ensure(name: &ClusterName, config: &ClusterConfig) -> Result<()> {
    let bridge = ensure_bridge(name, config)?;
    let mut netlink = Netlink::open()?;
    for node in config.local_nodes() {
        ensure_node(&mut netlink, name, config, &node, bridge)
            .with_context(|| format!("make the network of {}", node.name))?;
    }
    Ok(())
}

/// Makes the bridge with the host's address on it, if it is missing; its index.
pub fn ensure_bridge(name: &ClusterName, config: &ClusterConfig) -> Result<u32> {
    let mut netlink = Netlink::open()?;
    let bridge = name.bridge();
    match netlink.create_bridge(&bridge) {
        Err(error) if !error.is_exists() => return Err(error.into()),
        _ => {}
    }
    let index = netlink.link_index(&bridge)?;
    let host = config.subnet.with_prefix(config.subnet.host());
    netlink.add_address(index, host)?;
    netlink.set_up(&bridge)?;
    Ok(index)
}

fn ensure_node(
    netlink: &mut Netlink,
    name: &ClusterName,
    config: &ClusterConfig,
    node: &LocalNode,
    bridge: u32,
) -> Result<()> {
    let netns = ensure_netns(&name.netns(&node.name))?;
    let port = name.port(node.number);
    let made = netlink.create_veth(&Veth {
        name: &port,
        mac: None,
        peer: NODE_INTERFACE,
        peer_mac: Some(name.mac(&node.name)),
        peer_netns: Some(&netns),
        mtu: None,
    });
    match made {
        Err(error) if !error.is_exists() => return Err(error.into()),
        _ => {}
    }
    netlink.set_master(&port, bridge)?;
    netlink.set_up(&port)?;

    let mut inside = Netlink::open_in(&netns)?;
    inside.set_up("lo")?;
    let eth0 = inside.link_index(NODE_INTERFACE)?;
    inside.add_address(eth0, config.subnet.with_prefix(node.ip))?;
    inside.set_up(NODE_INTERFACE)?;
    // The bridge's end got its carrier by the node's: without this its first packets may be lost.
    netlink.settle(&port)?;
    let everywhere =
        IpNet::V4(Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length"));
    inside.add_route(&Route::by_gateway(
        everywhere,
        IpAddr::V4(config.subnet.host()),
    ))?;
    Ok(())
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

/// The cluster's links and namespaces that are there, by name.
pub fn traces(name: &ClusterName) -> Result<Traces> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let bridge = name.bridge();
    let index = links
        .iter()
        .find(|link| link.name == bridge)
        .map(|link| link.index);
    let is_port = |master: Option<u32>| master.is_some() && master == index;
    let links = links
        .into_iter()
        .filter(|link| link.name == bridge || is_port(link.master))
        .map(|link| link.name)
        .collect();
    Ok(Traces {
        links,
        namespaces: namespaces(name)?,
    })
}

/// What of a cluster's network is in the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The bridge and its ports.
    pub links: Vec<String>,
    /// The nodes' namespaces.
    pub namespaces: Vec<String>,
}

impl Traces {
    /// Deletes all of it. Namespaces end when the last process in them does.
    pub fn remove(&self) -> Result<()> {
        let mut netlink = Netlink::open()?;
        for link in &self.links {
            netlink.delete_link(link)?;
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
            && name.node_of_netns(text).is_some()
        {
            found.push(text.to_owned());
        }
    }
    found.sort_unstable();
    Ok(found)
}
