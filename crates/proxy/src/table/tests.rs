use std::process::Command;

use karve_sys::netns::NetNs;
use karve_sys::nft::Nft;

use super::*;

/// The frame and one chain of each kind, as `nft` reads them.
#[test]
fn the_table_is_as_documented() {
    let layout = Layout {
        cluster_cidr: "10.244.0.0/16".parse().expect("net"),
        service_cidrs: vec!["10.96.0.0/16".parse().expect("net")],
    };
    let mut batch = Batch::new(FAMILY);
    add_frame(&mut batch, &layout);
    let pick = |via, affinity| Pick {
        via,
        list: List::Cluster,
        count: 3,
        affinity,
    };
    let node_port = pick(Via::NodePort, None);
    let chains = [
        Chain::Direct(node_port),
        Chain::External(node_port),
        Chain::Internal(pick(Via::ClusterIp, None)),
        Chain::Internal(pick(Via::ClusterIp, Some(10_800))),
        Chain::External(pick(Via::NodePort, Some(10_800))),
        Chain::External(pick(Via::ExternalIp, None)),
        Chain::ExternalLocal {
            pick: node_port,
            local: 1,
        },
        Chain::ExternalLocal {
            pick: node_port,
            local: 0,
        },
    ];
    chains
        .iter()
        .for_each(|chain| add_chain(&mut batch, *chain));
    chains
        .iter()
        .for_each(|chain| add_rules(&mut batch, &layout, *chain));
    let netns = NetNs::anonymous().expect("namespace");
    Nft::open_in(&netns)
        .expect("open")
        .commit(batch)
        .expect("commit");
    // Others on the node read tables as JSON, and `nft` aborts on what it does not understand.
    let json = netns
        .run_in(|| {
            Command::new("nft")
                .args(["-j", "list", "ruleset"])
                .output()
                .expect("run nft")
        })
        .expect("enter namespace");
    assert!(
        json.status.success(),
        "{}",
        String::from_utf8_lossy(&json.stderr)
    );
    let output = netns
        .run_in(|| {
            Command::new("nft")
                .args(["list", "table", TABLE])
                .output()
                .expect("run nft")
        })
        .expect("enter namespace");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).expect("text");
    let expected = include_str!("../testdata/table.nft");
    if std::env::var_os("KARVE_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/testdata/table.nft");
        std::fs::write(path, &printed).expect("write golden file");
    } else {
        assert_eq!(
            printed, expected,
            "run with KARVE_BLESS=1 after a deliberate change"
        );
    }
}

#[test]
fn endpoints_read_back_as_they_were_written() {
    let endpoint = Value::Endpoint(SocketAddrV4::new([10, 244, 1, 5].into(), 5353));
    for (list, slot) in [
        (List::Cluster, 0),
        (List::Cluster, u16::MAX),
        (List::Local, 7),
    ] {
        let name = Frontend {
            ip: [10, 96, 0, 50].into(),
            protocol: Protocol::Udp,
            port: 53,
        };
        for key in [
            Key::Endpoint(name, list, slot),
            Key::AffinityPick(name, list, slot),
        ] {
            assert_eq!(
                parse_endpoint(&element(&key, &endpoint)),
                Some((key, endpoint))
            );
        }
    }
}

#[test]
fn other_settings_make_another_table() {
    let layout = |cidr: &str| Layout {
        cluster_cidr: cidr.parse().expect("net"),
        service_cidrs: vec![],
    };
    let (a, b) = (layout("10.244.0.0/16"), layout("10.245.0.0/16"));
    assert_eq!(fingerprint(&a), fingerprint(&a));
    assert_ne!(fingerprint(&a), fingerprint(&b));
}
