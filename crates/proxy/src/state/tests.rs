use std::net::Ipv4Addr;

use super::*;
use crate::dataplane::Protocol;
use crate::objects::{Endpoint, Place, ServicePort, SlicePort};

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn service(last: u8) -> Service {
    Service {
        cluster_ip: Ipv4Addr::new(10, 96, 0, last),
        external_ips: Vec::new(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Udp,
            port: 53,
            node_port: None,
        }],
        internal_local: false,
        external_local: false,
        affinity: None,
    }
}

fn slice(last: u8) -> Slice {
    let endpoint = Endpoint {
        ip: Ipv4Addr::new(10, 244, 1, last),
        ready: true,
        serving: true,
        terminating: false,
        place: Place::Elsewhere,
    };
    let port = SlicePort {
        name: String::new(),
        protocol: Protocol::Udp,
        port: 53,
    };
    Slice {
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
    let endpoints = |elements: &[(Key, Value)]| -> Vec<Ipv4Addr> {
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
    assert_eq!(udp[0].serving[0].ip(), &Ipv4Addr::new(10, 244, 1, 3));
}
