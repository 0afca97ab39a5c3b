use karve_watch::Notice;

use super::*;

pub fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 64, last)
}

/// A cluster with nodes `node1` … at .2 …, and a pool from .200 on.
pub fn cluster(nodes: u8) -> View {
    let mut view = View::default();
    let text =
        "address-pools: [{name: a, protocol: layer2, addresses: [192.168.64.2-192.168.64.250]}]";
    let name = ObjectName::new("metallb-system", "config");
    view.config_maps
        .take(Notice::Changed(name, Some(text.to_owned())));
    view.configured.follow(&view.config_maps).expect("pools");
    (1..=nodes).for_each(|number| set_node(&mut view, number, true));
    view
}

pub fn set_node(view: &mut View, number: u8, live: bool) {
    let facts = Node {
        live,
        ips: BTreeSet::from([ip(number + 1)]),
    };
    let name = ObjectName::new("", &format!("node{number}"));
    view.nodes.take(Notice::Changed(name, Some(facts)));
}

pub fn set_service(view: &mut View, name: &str, last: u8, local: bool) {
    let facts = Service {
        uid: String::new(),
        ips: BTreeSet::from([ip(last)]),
        local,
    };
    view.services.take(Notice::Changed(
        ObjectName::new("default", name),
        Some(facts),
    ));
}

/// Who answers for an address, by each node's own plan.
fn answering(view: &View, nodes: u8, last: u8) -> Vec<u8> {
    let answers = |number: &u8| plan(view, &format!("node{number}")).contains_key(&ip(last));
    (1..=nodes).filter(answers).collect()
}

#[test]
fn exactly_one_live_node_answers_and_another_takes_over() {
    let mut view = cluster(3);
    for last in 200..=250 {
        set_service(&mut view, &format!("web-{last}"), last, false);
    }
    let before: BTreeMap<u8, Vec<u8>> = (200..=250).map(|l| (l, answering(&view, 3, l))).collect();
    for number in 1..=3 {
        let share = before.values().filter(|nodes| **nodes == [number]).count();
        assert!(share >= 8, "node{number} has {share} of 51");
    }
    set_node(&mut view, 2, false);
    for (last, nodes) in before {
        let now = answering(&view, 3, last);
        assert_eq!(now.len(), 1, ".{last}");
        match nodes[..] {
            [2] => assert_ne!(now, [2]),
            _ => assert_eq!(now, nodes, "the others keep theirs"),
        }
    }
    set_node(&mut view, 1, false);
    set_node(&mut view, 3, false);
    assert!(answering(&view, 3, 200).is_empty(), "nobody is left");
}

#[test]
fn a_nodes_own_address_is_left_to_its_kernel() {
    let mut view = cluster(2);
    set_service(&mut view, "web", 2, false);
    assert!(answering(&view, 2, 2).is_empty());
    set_node(&mut view, 1, false);
    assert!(
        answering(&view, 2, 2).is_empty(),
        "not even when that node is away"
    );
}

#[test]
fn addresses_outside_of_the_pools_are_not_ours() {
    let mut view = cluster(1);
    set_service(&mut view, "web", 251, false);
    assert!(answering(&view, 1, 251).is_empty());
}

#[test]
fn a_local_policy_is_answered_for_where_endpoints_are() {
    let mut view = cluster(3);
    set_service(&mut view, "web", 200, true);
    assert!(view.needs_slices());
    assert!(answering(&view, 3, 200).is_empty(), "no endpoint anywhere");
    let slice = SliceNodes {
        service: ObjectName::new("default", "web"),
        nodes: BTreeSet::from(["node3".to_owned()]),
    };
    view.slices.take(Notice::Changed(
        ObjectName::new("default", "web-1"),
        Some(slice),
    ));
    assert_eq!(answering(&view, 3, 200), [3]);
    set_node(&mut view, 3, false);
    assert!(answering(&view, 3, 200).is_empty());
}

#[test]
fn services_that_share_an_address_are_answered_for_together() {
    let mut view = cluster(2);
    set_service(&mut view, "tcp", 200, false);
    set_service(&mut view, "udp", 200, false);
    let plans: Vec<_> = ["node1", "node2"]
        .iter()
        .filter_map(|n| plan(&view, n).remove(&ip(200)))
        .collect();
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].len(), 2);
}
