//! Against a real kernel, in a network namespace with no way out.

use karve_sys::link::Veth;
use karve_sys::netns::NetNs;

use super::super::plan;
use super::*;
use crate::nodes::{Peer, Peers};

const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 2);

fn options() -> Options {
    Options {
        node: "node1".to_owned(),
        uplink: "eth0".to_owned(),
        cluster_cidr: "10.244.0.0/16".parse().expect("net"),
        node_ip: NODE_IP,
    }
}

fn peers(list: &[(&str, u8, &str)]) -> Peers {
    let peer = |ip: u8, cidr: &str| Peer {
        ip: Ipv4Addr::new(192, 168, 64, ip),
        pod_cidr: Some(cidr.parse().expect("net")),
    };
    list.iter()
        .map(|(name, ip, cidr)| ((*name).to_owned(), peer(*ip, cidr)))
        .collect()
}

/// Runs `test` in a namespace of its own that has an uplink.
fn with_uplink(test: impl FnOnce() + Send) {
    let netns = NetNs::anonymous().expect("a namespace");
    let inside = || {
        let mut links = Netlink::open().expect("netlink");
        links
            .create_veth(&Veth {
                name: "eth0",
                mac: None,
                peer: "other",
                peer_netns: None,
                peer_mac: None,
                mtu: None,
            })
            .expect("a link");
        let index = links.link_index("eth0").expect("there");
        links
            .add_address(index, "192.168.64.2/24".parse().expect("net"))
            .expect("an address");
        links.set_up("other").expect("up");
        links.set_up("eth0").expect("up");
        test();
    };
    netns.run_in(inside).expect("entered");
}

fn routes(kernel: &mut Kernel) -> Vec<String> {
    let all = kernel.links.routes().expect("listed");
    let ways = all.iter().filter_map(|r| {
        if r.kind == RouteKind::Unreachable {
            return Some(format!("{} unreachable", r.destination));
        }
        Some(format!(
            "{} via {} src {}",
            r.destination, r.gateway?, r.source?
        ))
    });
    let mut list: Vec<String> = ways.collect();
    list.sort();
    list
}

fn nodes(kernel: &mut Kernel) -> usize {
    kernel
        .nft
        .elements(Family::Ip, TABLE, NODES)
        .expect("listed")
        .len()
}

#[test]
fn routes_and_masquerade_follow_the_nodes() {
    with_uplink(|| {
        let mut kernel = Kernel::open(options()).expect("opened");
        assert_eq!(
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .expect("read")
                .trim(),
            "1"
        );
        let two = peers(&[("node1", 2, "10.244.1.0/24"), ("node2", 3, "10.244.2.0/24")]);
        kernel
            .apply(&plan::wanted(&options(), &two))
            .expect("applied");
        assert_eq!(
            routes(&mut kernel),
            [
                "10.244.1.0/24 unreachable",
                "10.244.2.0/24 via 192.168.64.3 src 192.168.64.2"
            ]
        );
        assert_eq!(nodes(&mut kernel), 2);

        // A node that comes back with another address, and a third.
        let moved = peers(&[
            ("node1", 2, "10.244.1.0/24"),
            ("node2", 9, "10.244.2.0/24"),
            ("node3", 4, "10.244.3.0/24"),
        ]);
        kernel
            .apply(&plan::wanted(&options(), &moved))
            .expect("applied");
        let want = [
            "10.244.1.0/24 unreachable",
            "10.244.2.0/24 via 192.168.64.9 src 192.168.64.2",
            "10.244.3.0/24 via 192.168.64.4 src 192.168.64.2",
        ];
        assert_eq!(routes(&mut kernel), want);
        assert_eq!(nodes(&mut kernel), 3);
    });
}

#[test]
fn a_new_agent_adopts_routes_and_replaces_the_table() {
    with_uplink(|| {
        let two = peers(&[("node1", 2, "10.244.1.0/24"), ("node2", 3, "10.244.2.0/24")]);
        let mut first = Kernel::open(options()).expect("opened");
        first
            .apply(&plan::wanted(&options(), &two))
            .expect("applied");
        drop(first);
        let one = peers(&[("node1", 2, "10.244.1.0/24")]);
        let mut second = Kernel::open(options()).expect("opened");
        second
            .apply(&plan::wanted(&options(), &one))
            .expect("applied");
        assert_eq!(routes(&mut second), ["10.244.1.0/24 unreachable"]);
        assert_eq!(nodes(&mut second), 1);
        assert_eq!(
            second.nft.rules(Family::Ip, TABLE).expect("listed").len(),
            1
        );
    });
}

#[test]
fn a_packet_to_a_pod_that_is_gone_is_refused() {
    with_uplink(|| {
        let mut kernel = Kernel::open(options()).expect("opened");
        let one = peers(&[("node1", 2, "10.244.1.0/24")]);
        kernel
            .apply(&plan::wanted(&options(), &one))
            .expect("applied");
        let refused = std::net::TcpStream::connect("10.244.1.77:80").expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::HostUnreachable);
    });
}

#[test]
fn a_flushed_table_is_made_again() {
    with_uplink(|| {
        let mut kernel = Kernel::open(options()).expect("opened");
        let one = plan::wanted(&options(), &peers(&[("node1", 2, "10.244.1.0/24")]));
        kernel.apply(&one).expect("applied");
        assert!(!kernel.is_flushed().expect("looked"));

        let mut flush = Batch::new(Family::Ip);
        flush.delete_table(TABLE);
        kernel.nft.commit(flush).expect("flushed");
        assert!(kernel.is_flushed().expect("looked"));
        kernel.apply(&one).expect("applied");
        assert_eq!(nodes(&mut kernel), 1);
    });
}
