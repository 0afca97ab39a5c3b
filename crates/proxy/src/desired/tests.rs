use std::net::Ipv4Addr;

use super::*;
use crate::dataplane::{List, Pick, Via};

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn hairpin(last: u8) -> (Key, Value) {
    (
        Key::Hairpin(Ipv4Addr::new(10, 244, 1, last).into()),
        Value::Present,
    )
}

fn port(number: u16, chain: Chain) -> (Key, Value) {
    (
        Key::NodePort(crate::dataplane::Protocol::Tcp, number),
        Value::Goto(chain),
    )
}

fn external(count: u16) -> Chain {
    Chain::External(Pick {
        via: Via::NodePort,
        list: List::Cluster,
        count,
        affinity: None,
    })
}

fn wants(elements: &[(Key, Value)]) -> Option<Plan> {
    Some(Plan {
        elements: elements.iter().copied().collect(),
        ..Plan::default()
    })
}

#[test]
fn a_change_is_the_difference_and_nothing_else() {
    let mut desired = Desired::default();
    desired.set(&name("a"), wants(&[hairpin(1), port(1, external(2))]));
    let first = desired.take_changes();
    assert_eq!(first.add, [port(1, external(2)), hairpin(1)]);
    assert_eq!(first.new_chains, [external(2)]);
    assert!(desired.take_changes().is_empty(), "taken once");

    desired.set(&name("a"), wants(&[hairpin(2), port(1, external(3))]));
    let changed = desired.take_changes();
    assert_eq!(changed.delete, [port(1, external(2)), hairpin(1)]);
    assert_eq!(changed.add, [port(1, external(3)), hairpin(2)]);
    assert_eq!(
        (changed.new_chains, changed.old_chains),
        (vec![external(3)], vec![external(2)])
    );

    desired.set(&name("a"), None);
    desired.set(&name("a"), wants(&[hairpin(2), port(1, external(3))]));
    assert!(
        desired.take_changes().is_empty(),
        "gone and back between two transactions"
    );
}

#[test]
fn an_element_stays_while_somebody_wants_it() {
    let mut desired = Desired::default();
    for service in ["a", "b", "c"] {
        desired.set(&name(service), wants(&[hairpin(1)]));
    }
    assert_eq!(desired.take_changes().add, [hairpin(1)]);
    desired.set(&name("b"), None);
    desired.set(&name("a"), None);
    assert!(desired.take_changes().is_empty());
    desired.set(&name("c"), None);
    assert_eq!(desired.take_changes().delete, [hairpin(1)]);
}

#[test]
fn the_first_by_name_has_a_contested_element() {
    let mut desired = Desired::default();
    desired.set(&name("b"), wants(&[port(1, external(2))]));
    desired.take_changes();
    desired.set(&name("a"), wants(&[port(1, external(1))]));
    let taken = desired.take_changes();
    assert_eq!(
        (taken.delete, taken.add),
        (vec![port(1, external(2))], vec![port(1, external(1))])
    );
    desired.set(&name("a"), None);
    let given_back = desired.take_changes();
    assert_eq!(given_back.add, [port(1, external(2))]);
    assert_eq!(given_back.old_chains, [external(1)]);
}

#[test]
fn chains_that_a_chain_goes_to_come_and_go_with_it() {
    let pick = Pick {
        via: Via::NodePort,
        list: List::Cluster,
        count: 2,
        affinity: None,
    };
    let local = Chain::ExternalLocal { pick, local: 1 };
    let mut desired = Desired::default();
    desired.set(&name("a"), wants(&[port(1, local)]));
    desired.set(&name("b"), wants(&[port(2, Chain::External(pick))]));
    let made = desired.take_changes();
    assert_eq!(
        made.new_chains,
        [Chain::Direct(pick), Chain::External(pick), local]
    );
    desired.set(&name("a"), None);
    let unused = desired.take_changes();
    assert_eq!(
        unused.old_chains,
        [Chain::Direct(pick), local],
        "the other Service's chain stays"
    );
}

#[test]
fn a_cluster_ip_is_nobody_elses() {
    let frontend = |ip: [u8; 4]| crate::dataplane::Frontend {
        ip: ip.into(),
        protocol: crate::dataplane::Protocol::Tcp,
        port: 443,
    };
    let (taken, own) = ([10, 96, 0, 1], [10, 96, 0, 2]);
    let owner = [
        (Key::ClusterIp(taken.into()), Value::Present),
        (Key::ServiceIp(frontend(taken)), Value::Goto(external(1))),
    ];
    let thief = [
        (Key::ClusterIp(own.into()), Value::Present),
        (Key::ServiceIp(frontend(taken)), Value::Goto(external(2))),
    ];
    let mut desired = Desired::default();
    desired.set(&name("a-thief"), wants(&thief));
    desired.set(&name("kubernetes"), wants(&owner));
    let found: HashMap<_, _> = desired.elements().collect();
    assert_eq!(
        found[&Key::ServiceIp(frontend(taken))],
        Value::Goto(external(1))
    );
    let [contest] = &desired.take_contests()[..] else {
        panic!("one contest")
    };
    assert_eq!(
        (&contest.winner, &contest.loser),
        (&name("kubernetes"), &name("a-thief"))
    );
}
