//! UDP flows that go where no endpoint is any more.
//!
//! A UDP flow has no end that the kernel could see: while a client keeps sending, its packets follow
//! the flow's entry and not the maps. So after a UDP port has changed, flows to its frontends that do
//! not end at a serving endpoint are cut, and the next packet is balanced anew. That includes flows
//! from before the rules existed, which go nowhere. A port without a serving endpoint is left alone.
//! TCP is never cut: its peers notice by themselves, and draining endpoints finish their work.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};

use karve_sys::conntrack::Flow;

use crate::dataplane::Protocol;
use crate::kernel::{Error, Kernel};
use crate::plan::UdpPort;

/// Finds the UDP port that a flow was sent to.
struct Index<'a> {
    frontends: HashMap<SocketAddrV4, &'a UdpPort>,
    node_ports: HashMap<u16, &'a UdpPort>,
}

impl<'a> Index<'a> {
    fn new(ports: &'a [UdpPort]) -> Self {
        let serving = || ports.iter().filter(|port| !port.serving.is_empty());
        let frontends = serving().flat_map(|port| port.frontends.iter().map(move |f| (*f, port)));
        let node_ports = serving().filter_map(|port| Some((port.node_port?, port)));
        Self {
            frontends: frontends.collect(),
            node_ports: node_ports.collect(),
        }
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        let (SocketAddr::V4(sent_to), SocketAddr::V4(goes_to)) =
            (flow.original.destination, flow.reply.source)
        else {
            return false;
        };
        let port = self
            .frontends
            .get(&sent_to)
            .or_else(|| self.node_ports.get(&sent_to.port()));
        port.is_some_and(|port| port.serving.binary_search(&goes_to).is_err())
    }
}

/// Cuts the stale flows to `ports`; returns how many there were.
pub fn cut(kernel: &mut Kernel, ports: &[UdpPort]) -> Result<usize, Error> {
    let index = Index::new(ports);
    if index.frontends.is_empty() {
        return Ok(0);
    }
    let conntrack = kernel.conntrack();
    let mut cut = 0;
    for flow in conntrack.flows(Protocol::Udp.number())? {
        if index.is_stale(&flow) && conntrack.delete(&flow)? {
            cut += 1;
        }
    }
    Ok(cut)
}
