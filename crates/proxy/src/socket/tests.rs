//! The pure half: what is wanted, in which order it is brought about, and how it lies in memory.

use std::net::SocketAddr;

use karve_sys::bpf::{Map, Object, Program};
use proptest::prelude::*;

use super::layout::MAPS;
use super::programs::{HOOKS, OBJECT, PREFIX};
use super::steps::{InForce, Set, Steps};
use super::wanted::{Address, Target, Touched, Wanted};
use super::*;
use crate::dataplane::{Chain, Frontend, Key, List, Pick, Protocol, Value, Via};

fn web() -> Frontend {
    frontend("10.96.0.50", 80)
}

fn frontend(ip: &str, port: u16) -> Frontend {
    Frontend {
        ip: ip.parse().expect("ip"),
        protocol: Protocol::Tcp,
        port,
    }
}

fn pod(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 244, 1, last], 8080))
}

fn pick(via: Via, list: List, affinity: Option<u32>) -> Pick {
    Pick {
        via,
        list,
        count: 2,
        affinity,
    }
}

fn add(wanted: &mut Wanted, elements: &[(Key, Value)]) {
    wanted.follow(&Changes {
        add: elements.to_vec(),
        ..Changes::default()
    });
}

fn delete(wanted: &mut Wanted, elements: &[(Key, Value)]) {
    wanted.follow(&Changes {
        delete: elements.to_vec(),
        ..Changes::default()
    });
}

fn endpoint(slot: u16, last: u8) -> (Key, Value) {
    (
        Key::Endpoint(web(), List::Cluster, slot),
        Value::Endpoint(pod(last)),
    )
}

fn verdict(chain: Chain) -> (Key, Value) {
    (Key::ServiceIp(web()), Value::Goto(chain))
}

/// The Service `web` with two endpoints.
fn two_endpoints() -> Wanted {
    let mut wanted = Wanted::default();
    let internal = Chain::Internal(pick(Via::ClusterIp, List::Cluster, None));
    add(
        &mut wanted,
        &[verdict(internal), endpoint(0, 2), endpoint(1, 1)],
    );
    wanted
}

/// Plans what `wanted` says has been touched.
fn plan(in_force: &mut InForce, wanted: &mut Wanted) -> Steps {
    let touched = wanted.take_touched();
    in_force.plan(Family::V4, wanted, &touched)
}

#[test]
fn what_is_not_a_pick_is_left_to_the_rules() {
    let external = || pick(Via::ExternalIp, List::Cluster, Some(60));
    let (outside, inside) = (frontend("192.168.64.200", 80), web());
    let target = |list, affinity| {
        Some(Target {
            service: inside,
            list,
            affinity,
        })
    };
    let rows = [
        (
            "cluster IP",
            inside,
            Value::Goto(Chain::Internal(pick(Via::ClusterIp, List::Local, None))),
            target(List::Local, 0),
        ),
        ("no endpoints", inside, Value::Goto(Chain::Refuse), None),
        (
            "policy Local without a local one",
            inside,
            Value::Drop,
            None,
        ),
        (
            "load balancer",
            outside,
            Value::Goto(Chain::External(external())),
            target(List::Cluster, 60),
        ),
        (
            "short circuit",
            outside,
            Value::Goto(Chain::ExternalLocal {
                pick: external(),
                local: 0,
            }),
            target(List::Cluster, 60),
        ),
        (
            "source ranges",
            outside,
            Value::Goto(Chain::Guarded(crate::dataplane::Guarded::External(
                external(),
            ))),
            None,
        ),
    ];
    for (name, address, value, expected) in rows {
        let mut wanted = Wanted::default();
        let local = (
            Key::Endpoint(web(), List::Local, 0),
            Value::Endpoint(pod(1)),
        );
        let named = (Key::ExternalIp(outside), Value::Service(inside));
        add(
            &mut wanted,
            &[
                endpoint(0, 1),
                local,
                named,
                (Key::ServiceIp(address), value),
            ],
        );
        assert_eq!(wanted.target(&Address::Ip(address)), expected, "{name}");
    }
}

#[test]
fn other_protocols_are_left_to_the_rules() {
    let mut wanted = Wanted::default();
    let dns = Frontend {
        protocol: Protocol::Udp,
        ..web()
    };
    let internal = Value::Goto(Chain::Internal(pick(Via::ClusterIp, List::Cluster, None)));
    let endpoint = (
        Key::Endpoint(dns, List::Cluster, 0),
        Value::Endpoint(pod(1)),
    );
    add(&mut wanted, &[(Key::ServiceIp(dns), internal), endpoint]);
    assert_eq!(wanted.take_touched(), Touched::default());
}

#[test]
fn a_change_of_endpoints_is_a_new_set_and_one_swap() {
    let (mut in_force, mut wanted) = (InForce::default(), two_endpoints());
    let first = plan(&mut in_force, &mut wanted);
    assert_eq!(
        (first.new_sets.len(), first.swaps.len(), first.targets.len()),
        (1, 1, 1),
        "{first:?}"
    );
    assert_eq!(
        first.new_sets[0].endpoints.addresses,
        [pod(1), pod(2)],
        "in order"
    );

    delete(&mut wanted, &[endpoint(0, 2)]);
    add(&mut wanted, &[endpoint(0, 3)]);
    let second = plan(&mut in_force, &mut wanted);
    assert_eq!(second.new_sets[0].endpoints.addresses, [pod(1), pod(3)]);
    assert_ne!(second.new_sets[0].number, first.new_sets[0].number);
    assert_eq!(second.old_sets, first.new_sets);
    assert_eq!(
        (second.swaps.len(), second.targets.len(), second.gone.len()),
        (1, 0, 0)
    );
}

#[test]
fn endpoints_that_only_change_their_numbers_change_nothing() {
    let (mut in_force, mut wanted) = (InForce::default(), two_endpoints());
    plan(&mut in_force, &mut wanted);
    delete(&mut wanted, &[endpoint(0, 2), endpoint(1, 1)]);
    add(&mut wanted, &[endpoint(0, 1), endpoint(1, 2)]);
    assert!(plan(&mut in_force, &mut wanted).is_empty());
}

#[test]
fn the_last_endpoint_takes_the_address_along() {
    let (mut in_force, mut wanted) = (InForce::default(), two_endpoints());
    let first = plan(&mut in_force, &mut wanted);
    delete(&mut wanted, &[endpoint(0, 2), endpoint(1, 1)]);
    add(&mut wanted, &[verdict(Chain::Refuse)]);
    let last = plan(&mut in_force, &mut wanted);
    assert_eq!(last.targets, [(Address::Ip(web()), None)]);
    assert_eq!(
        (&last.gone, &last.old_sets),
        (&vec![web()], &first.new_sets)
    );
    assert!(last.new_sets.is_empty() && last.swaps.is_empty());
}

#[test]
fn affinity_makes_another_set_of_the_same_endpoints() {
    let (mut in_force, mut wanted) = (InForce::default(), two_endpoints());
    plan(&mut in_force, &mut wanted);
    delete(&mut wanted, &[endpoint(0, 2), endpoint(1, 1)]);
    let sticky = |slot, last| {
        (
            Key::AffinityPick(web(), List::Cluster, slot),
            Value::Endpoint(pod(last)),
        )
    };
    let internal = Chain::Internal(pick(Via::ClusterIp, List::Cluster, Some(60)));
    add(
        &mut wanted,
        &[verdict(internal), sticky(0, 1), sticky(1, 2)],
    );
    let steps = plan(&mut in_force, &mut wanted);
    assert!(steps.new_sets[0].endpoints.sticky);
    assert_eq!(steps.targets[0].1.map(|target| target.affinity), Some(60));
}

#[test]
fn sets_of_a_process_that_died_go() {
    let orphan = Set {
        number: 4,
        endpoints: Endpoints {
            addresses: vec![pod(9)],
            sticky: false,
        },
    };
    let mut in_force = InForce::default();
    in_force.orphans.push(orphan.clone());
    in_force.note(4);
    let steps = plan(&mut in_force, &mut two_endpoints());
    assert_eq!(steps.old_sets, [orphan]);
    assert_eq!(steps.new_sets[0].number, 6, "even numbers are IPv4's");
}

#[test]
fn what_lies_in_memory_is_read_back() {
    let addresses = [
        (Family::V4, Address::Ip(web())),
        (Family::V4, Address::NodePort(30080)),
        (Family::V6, Address::Ip(frontend("fd00::1", 443))),
        (Family::V6, Address::NodePort(30080)),
    ];
    for (family, address) in addresses {
        let bytes = layout::address(family, &address);
        assert_eq!(bytes.len(), FRONTENDS.key);
        assert_eq!(layout::parse_address(&bytes), Some((family, address)));
    }
    let target = Target {
        service: web(),
        list: List::Local,
        affinity: 10_800,
    };
    let bytes = layout::target(Family::V4, &target);
    assert_eq!(
        (bytes.len(), layout::parse_target(&bytes)),
        (FRONTENDS.value, Some(target))
    );
    let lists = [(4, 2), (0, 0)];
    let bytes = layout::lists(lists);
    assert_eq!(
        (bytes.len(), layout::parse_lists(&bytes)),
        (SERVICES.value, Some(lists))
    );
    let bytes = layout::endpoint(&pod(1));
    assert_eq!(
        (bytes.len(), layout::parse_endpoint(&bytes)),
        (ENDPOINTS.value, Some(pod(1)))
    );
    assert_eq!(layout::parse_slot(&layout::slot(4, 1)), Some((4, 1)));
    assert_eq!(layout::member(4, &pod(1)).len(), MEMBERS.key);
}

#[test]
fn the_object_file_has_every_program() {
    let maps: Vec<_> = MAPS
        .iter()
        .map(|spec| Map::create(*spec).expect("make"))
        .collect();
    let object = Object::parse(OBJECT).expect("parse");
    for hook in HOOKS {
        Program::load(&object, hook, PREFIX, &maps).expect("load");
        let error = Program::load(&object, hook, PREFIX, &[]).expect_err("without maps");
        assert!(matches!(error, bpf::Error::UnknownMap { .. }), "{error}");
    }
}

proptest! {
    #[test]
    fn damaged_object_files_are_read_or_refused(at in 0..OBJECT.len(), byte: u8, len in 0..OBJECT.len()) {
        let mut file = OBJECT.to_vec();
        file[at] = byte;
        file.truncate(len.max(at));
        let _ = Object::parse(&file);
    }
}
