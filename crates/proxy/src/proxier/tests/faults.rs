//! A kernel that refuses, and tables that others change.

use super::*;
use crate::kernel::{Error, Spoil};

/// The elements of all maps, in text.
fn contents(net: &Net) -> String {
    let list = || {
        std::process::Command::new("nft")
            .args(["list", "table", TABLE])
            .output()
    };
    let output = net.node.run_in(list).expect("enter").expect("run nft");
    // Elements and chains come in an order that depends on when they were made.
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<_> = text.split(['\n', ',']).map(str::trim).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn three_endpoints(proxier: &mut Proxier) {
    let endpoints = PODS.map(|pod| (pod, true));
    set_endpoints(proxier, "web", "TCP", &endpoints);
}

#[test]
fn a_transaction_that_is_refused_anywhere_changes_nothing_and_says_where() {
    let (net, mut proxier) = two_endpoints(node_port("LoadBalancer"));
    let before = contents(&net);
    for message in 0.. {
        three_endpoints(&mut proxier);
        let changes = proxier.state.replan().changes;
        proxier.kernel.spoil = Some(Spoil::Message(message));
        let result = proxier.kernel.apply(&changes);
        let back = [(PODS[0], true), (PODS[1], true)];
        set_endpoints(&mut proxier, "web", "TCP", &back);
        proxier.state.replan();
        let Err(err) = result else {
            assert!(message > 5, "all messages had their turn: {message}");
            return;
        };
        let Error::Nft(refusal) = &err else {
            panic!("{err:?}")
        };
        let told = refusal.to_string();
        assert!(told.contains(TABLE), "names the object: {told}");
        assert_eq!(contents(&net), before, "{message}: {told}");
    }
}

#[test]
fn a_refused_transaction_is_made_good_at_once() {
    for message in 0..8 {
        let (net, mut proxier) = two_endpoints(node_port("NodePort"));
        three_endpoints(&mut proxier);
        proxier.kernel.spoil = Some(Spoil::Message(message));
        proxier.sync().expect("the second try");
        assert!(proxier.in_step());
        let mut all = both();
        all.insert(format!("{}:8080", PODS[2]));
        serve_tcp(&net.pods[2], &format!("{}:8080", PODS[2]));
        assert_eq!(answers(&net.client, &format!("{NODE_IP}:30080")).0, all);
    }
}

#[test]
fn one_bad_element_keeps_no_other_out() {
    let (net, mut proxier) = two_endpoints(json!({}));
    // The kernel takes no element with the address 10.96.0.66.
    proxier.kernel.spoil = Some(Spoil::Containing(vec![10, 96, 0, 66]));
    set_service(&mut proxier, "bad", "10.96.0.66", json!({}));
    set_service(&mut proxier, "good", "10.96.0.67", json!({}));
    set_endpoints(&mut proxier, "good", "TCP", &[(PODS[0], true)]);
    let err = proxier.sync().expect_err("refused in part");
    let Error::Partly { refused, what, .. } = &err else {
        panic!("{err:?}")
    };
    assert_eq!(*refused, 2, "verdict and cluster IP: {err}");
    assert!(what.contains("10.96.0.66"), "{what}");
    connect(&net.pods[2], "10.96.0.67:80").expect("the rest is programmed");
    assert_eq!(
        answers(&net.pods[2], &format!("{VIP}:80")).0,
        both(),
        "as before"
    );

    // Others go on meanwhile, and what was refused is tried again.
    assert!(proxier.is_partly() && proxier.in_step());
    set_endpoints(&mut proxier, "good", "TCP", &[(PODS[1], true)]);
    proxier.sync().expect("in step but for the bad one");
    let good = answers(&net.pods[2], "10.96.0.67:80").0;
    assert_eq!(good, only(format!("{}:8080", PODS[1])));
    proxier.retry();
    proxier.sync().expect_err("still refused");
    proxier.kernel.spoil = None;
    proxier.retry();
    proxier.sync().expect("taken");
    assert!(!proxier.is_partly());
    let error = connect(&net.pods[2], "10.96.0.66:80").expect_err("no endpoints");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_others_change_is_mended_element_by_element() {
    let (net, mut proxier) = two_endpoints(node_port("NodePort"));
    let before = contents(&net);
    let mut nft = Nft::open_in(&net.node).expect("open");
    let family = nft::Family::Ip;
    for map in crate::table::Map::ALL {
        for element in nft.elements(family, TABLE, map.name()).expect("elements") {
            let mut batch = Batch::new(family);
            batch.delete_elements(
                TABLE,
                map.name(),
                [nft::Element {
                    data: None,
                    ..element
                }],
            );
            nft.commit(batch).expect("delete");
            proxier.doubt();
            let mended = proxier.sync().expect("sync").expect("something");
            assert_eq!((mended.messages, mended.elements), (1, 1), "{}", map.name());
        }
    }
    for chain in nft.chains(family, TABLE).expect("chains") {
        let mut batch = Batch::new(family);
        batch.flush_chain(TABLE, &chain.name);
        nft.commit(batch).expect("flush");
        proxier.doubt();
        proxier.sync().expect("sync").expect("something");
        assert_eq!(contents(&net), before, "{}", chain.name);
    }
    // Additions of others go.
    let mut batch = Batch::new(family);
    batch.add_chain(
        TABLE,
        &nft::Chain {
            name: "foreign",
            hook: None,
        },
    );
    let foreign = nft::Value::EMPTY.ip(std::net::Ipv4Addr::new(10, 96, 0, 99));
    batch.add_elements(TABLE, "cluster-ips", [nft::Element::key(foreign)]);
    nft.commit(batch).expect("add");
    proxier.doubt();
    proxier.sync().expect("sync");
    assert_eq!(contents(&net), before);
}

#[test]
fn a_restart_sends_no_transaction() {
    let (net, proxier) = two_endpoints(node_port("LoadBalancer"));
    let state = proxier.state;
    let monitor = net
        .node
        .run_in(nft::Monitor::open)
        .expect("enter")
        .expect("open");
    let mut restarted = proxy(&net.node);
    restarted.state = state.restarted();
    assert_eq!(restarted.sync().expect("sync"), None);
    let quiet = monitor.receive().expect_err("no transaction");
    assert_eq!(quiet.kind(), ErrorKind::WouldBlock);
}
