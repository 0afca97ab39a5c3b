//! A pod's link to its node: a veth pair, routed, without any ARP.
//!
//! The pod has its address as /32 and a default route by 169.254.1.1, which is nobody's: a permanent
//! neighbour entry gives it the address of the node's end. The node has a /32 route and a permanent
//! neighbour entry for the pod. So no packet ever waits for a neighbour to answer.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use karve_sys::link::{self, Neighbour, Netlink, Route, Scope, Veth};
use karve_sys::netns::NetNs;

use crate::config::POD_GATEWAY;
use crate::images::Digest;

/// The interface's name inside the pod.
const POD_INTERFACE: &str = "eth0";
/// Ethernet address of every node's end. It is only ever seen on its own link (as Calico does it).
const NODE_MAC: [u8; 6] = [0xee; 6];
/// Digits of the pod's hash in the name of the node's end.
const NAME_DIGITS: usize = 11;

/// The name of the node's end.
pub(super) fn interface_name(uid: &str) -> String {
    format!("kv{}", &Digest::of(uid.as_bytes()).hex()[..NAME_DIGITS])
}

/// Locally administered, from the address (as the CNI plugins do it).
fn pod_mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Joins the pod's namespace to the calling thread's.
pub(super) fn connect(
    pod: &NetNs,
    interface: &str,
    ip: Ipv4Addr,
    node_ip: Option<Ipv4Addr>,
) -> Result<(), link::Error> {
    let mut node = Netlink::open()?;
    // Left by a sandbox of this pod that was cut short.
    node.delete_link(interface)?;
    node.create_veth(&Veth {
        name: interface,
        mac: Some(NODE_MAC),
        peer: POD_INTERFACE,
        peer_mac: Some(pod_mac(ip)),
        peer_netns: Some(pod),
        mtu: None,
    })?;
    let connected = connect_pod(pod, ip).and_then(|mut inside| {
        connect_node(&mut node, interface, ip, node_ip)?;
        // The pod's end got its carrier by the node's: without this its first packets may be lost.
        inside.settle(POD_INTERFACE)
    });
    if connected.is_err() {
        let _ = node.delete_link(interface);
    }
    connected
}

fn connect_pod(pod: &NetNs, ip: Ipv4Addr) -> Result<Netlink, link::Error> {
    let mut netlink = Netlink::open_in(pod)?;
    let index = netlink.link_index(POD_INTERFACE)?;
    netlink.add_address(index, host(ip))?;
    netlink.set_up(POD_INTERFACE)?;
    netlink.add_neighbour(&Neighbour {
        index,
        ip: POD_GATEWAY.into(),
        mac: NODE_MAC,
    })?;
    netlink.add_route(&Route {
        oif: Some(index),
        onlink: true,
        ..Route::by_gateway(Ipv4Net::default().into(), POD_GATEWAY.into())
    })?;
    Ok(netlink)
}

fn connect_node(
    node: &mut Netlink,
    interface: &str,
    ip: Ipv4Addr,
    node_ip: Option<Ipv4Addr>,
) -> Result<(), link::Error> {
    let index = node.link_index(interface)?;
    node.set_up(interface)?;
    node.add_neighbour(&Neighbour {
        index,
        ip: ip.into(),
        mac: pod_mac(ip),
    })?;
    node.add_route(&Route {
        scope: Scope::Link,
        source: node_ip.map(IpAddr::V4),
        ..Route::by_link(host(ip), index)
    })
}

/// Takes the pod's route away, so that its address answers nobody from now on.
///
/// The link itself ends with the pod's namespace, a little later: the kernel takes its time (tens of
/// milliseconds of RCU grace periods), for which nobody has to wait. One that is gone is no error.
pub(super) fn disconnect(interface: &str, ip: Ipv4Addr) -> Result<(), link::Error> {
    let mut node = Netlink::open()?;
    let index = match node.link_index(interface) {
        Ok(index) => index,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    node.delete_route(&Route::by_link(host(ip), index))
        .map(drop)
}

fn host(ip: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::from(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let name = interface_name("a3b0c442-98fc-4c14-9afb-f4c8996fb924");
        assert!(name.len() <= 15, "{name}");
        assert_ne!(name, interface_name("b3b0c442-98fc-4c14-9afb-f4c8996fb924"));
    }
}
