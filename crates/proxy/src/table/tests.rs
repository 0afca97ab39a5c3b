use std::process::Command;

use karve_sys::netns::NetNs;
use karve_sys::nft::Nft;

use super::*;
use crate::dataplane::Guarded;

fn layout(family: Family) -> Layout {
    let nets = |v4: &str, v6: &str| match family {
        Family::V4 => vec![v4.parse().expect("net")],
        Family::V6 => vec![v6.parse().expect("net")],
    };
    Layout {
        family,
        cluster_cidrs: nets("10.244.0.0/16", "fd00:244::/48"),
        service_cidrs: nets("10.96.0.0/16", "fd00:96::/112"),
        node_port_addresses: Vec::new(),
    }
}

/// The frame and one chain of each kind, as `nft` reads them.
#[track_caller]
fn check_printed(family: Family, golden: &str, expected: &str) {
    let layout = layout(family);
    let mut batch = Batch::new(nft_family(family));
    add_frame(&mut batch, &layout);
    let pick = |via, affinity| Pick {
        via,
        list: List::Cluster,
        count: 3,
        affinity,
    };
    let node_port = pick(Via::NodePort, None);
    let external = pick(Via::ExternalIp, None);
    let chains = [
        Chain::Direct(node_port),
        Chain::External(node_port),
        Chain::Internal(pick(Via::ClusterIp, None)),
        Chain::Internal(pick(Via::ClusterIp, Some(10_800))),
        Chain::External(pick(Via::NodePort, Some(10_800))),
        Chain::External(external),
        Chain::ExternalLocal {
            pick: node_port,
            local: 1,
        },
        Chain::ExternalLocal {
            pick: node_port,
            local: 0,
        },
        Chain::Guarded(Guarded::External(external)),
    ];
    chains
        .iter()
        .for_each(|chain| add_chain(&mut batch, *chain));
    chains
        .iter()
        .for_each(|chain| add_rules(&mut batch, &layout, *chain));
    let range = |net: &str| {
        let name = Frontend {
            ip: layout.service_cidrs[0].addr(),
            protocol: Protocol::Tcp,
            port: 80,
        };
        element(
            &Key::SourceRange(name, net.parse().expect("net")),
            &Value::Present,
        )
    };
    let ranges = match family {
        Family::V4 => [range("192.0.2.0/24"), range("198.51.100.7/32")],
        Family::V6 => [range("2001:db8::/64"), range("2001:db8:1::7/128")],
    };
    batch.add_elements(TABLE, Map::SourceRanges.name(), ranges);
    let netns = NetNs::anonymous().expect("namespace");
    Nft::open_in(&netns)
        .expect("open")
        .commit(batch)
        .expect("commit");
    let nft = |arguments: &[&str]| {
        let run = || {
            Command::new("nft")
                .args(arguments)
                .output()
                .expect("run nft")
        };
        let output = netns.run_in(run).expect("enter namespace");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).expect("text")
    };
    // Others on the node read tables as JSON, and `nft` aborts on what it does not understand.
    nft(&["-j", "list", "ruleset"]);
    let printed = nft(&["list", "ruleset"]);
    if std::env::var_os("KARVE_BLESS").is_some() {
        let path = format!("{}/src/testdata/{golden}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &printed).expect("write golden file");
    } else {
        assert_eq!(
            printed, expected,
            "run with KARVE_BLESS=1 after a deliberate change"
        );
    }
}

#[test]
fn the_ipv4_table_is_as_documented() {
    check_printed(
        Family::V4,
        "table.nft",
        include_str!("../testdata/table.nft"),
    );
}

#[test]
fn the_ipv6_table_is_as_documented() {
    check_printed(
        Family::V6,
        "table6.nft",
        include_str!("../testdata/table6.nft"),
    );
}

#[test]
fn endpoints_read_back_as_they_were_written() {
    let rows = [
        (Family::V4, "10.96.0.50", "10.244.1.5:5353"),
        (Family::V6, "fd00:96::50", "[fd00:244::1:5]:5353"),
    ];
    for (family, ip, endpoint) in rows {
        let endpoint = Value::Endpoint(endpoint.parse().expect("address"));
        let slots = [
            (List::Cluster, 0),
            (List::Cluster, u16::MAX),
            (List::Local, 7),
        ];
        for (list, slot) in slots {
            let name = Frontend {
                ip: ip.parse().expect("ip"),
                protocol: Protocol::Udp,
                port: 53,
            };
            for key in [
                Key::Endpoint(name, list, slot),
                Key::AffinityPick(name, list, slot),
            ] {
                let read = parse_endpoint(family, &element(&key, &endpoint));
                assert_eq!(read, Some((key, endpoint)));
            }
        }
    }
}

#[test]
fn other_settings_make_another_table() {
    let usual = layout(Family::V4);
    let mut other = usual.clone();
    other.cluster_cidrs = vec!["10.245.0.0/16".parse().expect("net")];
    let mut limited = usual.clone();
    limited.node_port_addresses = vec!["192.168.64.0/24".parse().expect("net")];
    assert_eq!(fingerprint(&usual), fingerprint(&usual));
    assert_ne!(fingerprint(&usual), fingerprint(&other));
    assert_ne!(fingerprint(&usual), fingerprint(&limited));
    assert_ne!(fingerprint(&usual), fingerprint(&layout(Family::V6)));
}
