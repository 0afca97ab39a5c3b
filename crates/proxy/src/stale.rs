//! UDP flows that go where no endpoint is any more.
//!
//! A UDP flow has no end that the kernel could see: while a client keeps sending, its packets follow
//! the flow's entry and not the maps. So after a UDP port has changed, flows to its frontends that do
//! not end at a serving endpoint are cut, and the next packet is balanced anew, or refused. That
//! includes flows from before the rules existed, which go nowhere, and flows to addresses and ports that
//! a Service does not have any more. A node port without a serving endpoint is left alone, because its
//! number alone doesn't tell whose flow it is. TCP is never cut: its peers notice by themselves, and
//! draining endpoints finish their work.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use karve_sys::conntrack::{self, Conntrack, Filter, Flow};

use crate::dataplane::Protocol;
use crate::plan::UdpPort;

/// Up to so many destinations are asked for one by one, so that the kernel copies only their flows.
const SINGLE_QUERIES_MAX: usize = 8;

/// Finds the UDP port that a flow was sent to.
struct Index<'a> {
    frontends: HashMap<SocketAddr, &'a [SocketAddr]>,
    node_ports: HashMap<u16, &'a [SocketAddr]>,
    /// Node ports that are gone, with the endpoints whose flows to them are ours.
    gone: HashMap<u16, &'a [SocketAddr]>,
}

impl<'a> Index<'a> {
    fn new(ports: &'a [UdpPort], gone: &'a [UdpPort]) -> Self {
        let frontends = |port: &'a UdpPort, serving: &'a [SocketAddr]| {
            port.frontends.iter().map(move |f| (*f, serving))
        };
        let lost = gone.iter().flat_map(|port| frontends(port, &[]));
        let kept = ports.iter().flat_map(|port| frontends(port, &port.serving));
        let serving = ports.iter().filter(|port| !port.serving.is_empty());
        let node_ports = serving.filter_map(|port| Some((port.node_port?, &port.serving[..])));
        Self {
            // A frontend that one Service has lost may be another's by now.
            frontends: lost.chain(kept).collect(),
            node_ports: node_ports.collect(),
            gone: gone
                .iter()
                .filter_map(|port| Some((port.node_port?, &port.serving[..])))
                .collect(),
        }
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        let (sent_to, goes_to) = (flow.original.destination, flow.reply.source);
        if let Some(serving) = self.frontends.get(&sent_to) {
            return serving.binary_search(&goes_to).is_err();
        }
        if let Some(serving) = self.node_ports.get(&sent_to.port()) {
            return serving.binary_search(&goes_to).is_err();
        }
        let former = self.gone.get(&sent_to.port());
        former.is_some_and(|former| former.binary_search(&goes_to).is_ok())
    }

    /// What to ask the kernel for.
    fn queries(&self, family: conntrack::Family) -> Vec<Filter> {
        let all = Filter::protocol(family, Protocol::Udp.number());
        let ports: HashSet<u16> = self
            .node_ports
            .keys()
            .chain(self.gone.keys())
            .copied()
            .collect();
        match self.frontends.len() + ports.len() {
            0 => Vec::new(),
            1..=SINGLE_QUERIES_MAX => {
                let frontends = self.frontends.keys().map(|frontend| Filter {
                    destination: Some(frontend.ip()),
                    port: Some(frontend.port()),
                    ..all
                });
                let ports = ports.into_iter().map(|port| Filter {
                    port: Some(port),
                    ..all
                });
                frontends.chain(ports).collect()
            }
            _ => vec![all],
        }
    }
}

/// Cuts the stale flows to `ports`, and those to ports that are `gone`; returns how many there were.
pub fn cut(
    conntrack: &mut Conntrack,
    family: conntrack::Family,
    ports: &[UdpPort],
    gone: &[UdpPort],
) -> Result<usize, conntrack::Error> {
    let index = Index::new(ports, gone);
    let mut cut = 0;
    for query in index.queries(family) {
        for flow in conntrack.flows(&query)? {
            if index.is_stale(&flow) && conntrack.delete(&flow)? {
                cut += 1;
            }
        }
    }
    Ok(cut)
}
