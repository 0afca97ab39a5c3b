use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::dataplane::{Family, Protocol};
use crate::objects::{Endpoint, Place, ServicePort, SlicePort};

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn service(last: u8) -> Service {
    Service {
        cluster_ip: Ipv4Addr::new(10, 96, 0, last).into(),
        external_ips: Vec::new(),
        balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Udp,
            port: 53,
            node_port: None,
        }],
        internal_local: false,
        external_local: false,
        affinity: None,
        health_port: None,
    }
}

fn slice(last: u8) -> Slice {
    let endpoint = Endpoint {
        ip: Ipv4Addr::new(10, 244, 1, last).into(),
        ready: true,
        serving: true,
        terminating: false,
        place: Place::Elsewhere,
        zones: None,
        nodes: None,
    };
    let port = SlicePort {
        name: String::new(),
        protocol: Protocol::Udp,
        port: 53,
    };
    Slice {
        family: Family::V4,
        triggered: None,
        ports: vec![port],
        endpoints: vec![endpoint],
    }
}

#[test]
fn an_unchanged_object_changes_nothing() {
    let mut state = State::default();
    state.set_service(name("a"), Some(service(1)));
    state.set_slice(name("a-1"), Some((name("a"), slice(1))));
    assert!(!state.replan().changes.is_empty());
    state.set_service(name("a"), Some(service(1)));
    state.set_slice(name("a-1"), Some((name("a"), slice(1))));
    assert_eq!(state.replan(), Replanned::default());
}

#[test]
fn a_slice_may_move_to_another_service() {
    let mut state = State::default();
    state.set_service(name("a"), Some(service(1)));
    state.set_service(name("b"), Some(service(2)));
    state.set_slice(name("x"), Some((name("a"), slice(1))));
    state.replan();
    state.set_slice(name("x"), Some((name("b"), slice(1))));
    let moved = state.replan().changes;
    let endpoints = |elements: &[(Key, Value)]| -> Vec<IpAddr> {
        let keys = elements.iter().filter_map(|(key, _)| match key {
            Key::Endpoint(service, ..) => Some(service.ip),
            _ => None,
        });
        keys.collect()
    };
    assert_eq!(endpoints(&moved.delete), [Ipv4Addr::new(10, 96, 0, 1)]);
    assert_eq!(endpoints(&moved.add), [Ipv4Addr::new(10, 96, 0, 2)]);
    state.set_slice(name("x"), None);
    assert_eq!(
        endpoints(&state.replan().changes.delete),
        [Ipv4Addr::new(10, 96, 0, 2)]
    );
    assert!(state.owners.is_empty());
}

#[test]
fn endpoints_may_come_before_their_service() {
    let mut state = State::default();
    state.set_slice(name("a-1"), Some((name("a"), slice(1))));
    assert!(state.replan().changes.is_empty());
    state.set_service(name("a"), Some(service(1)));
    assert_eq!(
        state.replan().changes.add.len(),
        3,
        "verdict, endpoint, cluster IP"
    );
}

#[test]
fn only_changed_udp_ports_are_looked_at_for_stale_flows() {
    let mut state = State::default();
    for (service_name, last) in [("a", 1), ("b", 2)] {
        state.set_service(name(service_name), Some(service(last)));
        state.set_slice(name(service_name), Some((name(service_name), slice(last))));
    }
    assert_eq!(state.replan().udp.len(), 2);
    state.set_slice(name("b"), Some((name("b"), slice(3))));
    let udp = state.replan().udp;
    assert_eq!(udp.len(), 1);
    assert_eq!(udp[0].serving[0].ip(), Ipv4Addr::new(10, 244, 1, 3));
}

#[test]
fn what_a_udp_port_leaves_behind_is_told() {
    let mut state = State::default();
    state.set_service(name("a"), Some(service(1)));
    state.set_slice(name("a"), Some((name("a"), slice(1))));
    assert_eq!(state.replan().gone, []);
    let mut moved = service(1);
    moved.ports[0].port = 54;
    state.set_service(name("a"), Some(moved));
    let gone = state.replan().gone;
    assert_eq!(
        gone[0].frontends,
        ["10.96.0.1:53".parse().expect("address")]
    );
    assert_eq!(gone[0].serving, ["10.244.1.1:53".parse().expect("address")]);
    state.set_service(name("a"), None);
    assert_eq!(
        state.replan().gone[0].frontends,
        ["10.96.0.1:54".parse().expect("address")]
    );
}

#[test]
fn facts_about_the_node_concern_every_service() {
    let mut state = State::default();
    state.set_service(name("a"), Some(service(1)));
    state.replan();
    let site = Site {
        zone: Some("a".into()),
        ..Site::default()
    };
    state.set_site(site.clone());
    assert_eq!(state.pending(), 1);
    state.replan();
    state.set_site(site);
    assert_eq!(state.pending(), 0);
}
