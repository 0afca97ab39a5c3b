use std::net::Ipv4Addr;

use super::*;
use crate::dataplane::Family;
use crate::objects::{Endpoint, Hint, SlicePort};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 50));
const EXTERNAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 64, 200));
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 64, 201));

/// An endpoint in a few letters: `r`eady, `s`erving, `t`erminating, `h`ere, `u`nknown place.
fn endpoint(last: u8, letters: &str) -> Endpoint {
    Endpoint {
        ip: Ipv4Addr::new(10, 244, 1, last).into(),
        ready: letters.contains('r'),
        serving: letters.contains('r') || letters.contains('s'),
        terminating: letters.contains('t'),
        place: match letters {
            letters if letters.contains('h') => Place::Here,
            letters if letters.contains('u') => Place::Unknown,
            _ => Place::Elsewhere,
        },
        zones: None,
        nodes: None,
    }
}

fn slice(endpoints: &[(u8, &str)]) -> Slice {
    let port = SlicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: 8080,
    };
    let endpoints = endpoints
        .iter()
        .map(|(last, letters)| endpoint(*last, letters))
        .collect();
    Slice {
        family: Family::V4,
        ports: vec![port],
        endpoints,
        triggered: None,
    }
}

fn site() -> Site {
    Site {
        node: "node1".into(),
        zone: Some("a".into()),
        addresses: vec![[192, 168, 64, 2].into()],
        leaving: false,
    }
}

/// A Service in a few words: `node-port`, `external`, `balancer`, `ranges`, `internal-local`,
/// `external-local`, `sticky`, `checked`.
fn service(words: &str) -> Service {
    let is = |word: &str| words.split(' ').any(|w| w == word);
    let port = ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: is("node-port").then_some(30080),
    };
    Service {
        cluster_ip: VIP,
        external_ips: is("external").then_some(EXTERNAL).into_iter().collect(),
        balancer_ips: is("balancer").then_some(BALANCER).into_iter().collect(),
        source_ranges: is("ranges")
            .then(|| "10.0.0.0/8".parse().expect("net"))
            .into_iter()
            .collect(),
        ports: vec![port],
        internal_local: is("internal-local"),
        external_local: is("external-local"),
        affinity: is("sticky").then_some(600),
        health_port: is("checked").then_some(32000),
    }
}

/// A plan as text, one element a line, in a fixed order.
fn show(plan: &Plan) -> String {
    let lines = plan.elements.iter().map(|(key, value)| {
        let key = match key {
            Key::ServiceIp(f) => format!("service-ips {}:{}", f.ip, f.port),
            Key::NodePort(_, port) => format!("service-nodeports {port}"),
            Key::ExternalIp(f) => format!("external-ips {}:{}", f.ip, f.port),
            Key::NodePortTarget(_, port) => format!("nodeports {port}"),
            Key::Endpoint(_, list, slot) => format!("endpoints {list:?} {slot}"),
            Key::AffinityPick(_, list, slot) => format!("affinity-picks {list:?} {slot}"),
            Key::AffinityEndpoint(_, list, address) => {
                format!("affinity-endpoints {list:?} {address}")
            }
            Key::ClusterIp(ip) => format!("cluster-ips {ip}"),
            Key::Hairpin(ip) => format!("hairpin {ip}"),
            Key::SourceRange(f, net) => format!("source-ranges {}:{} {net}", f.ip, f.port),
        };
        match value {
            Value::Drop => format!("{key}: drop"),
            Value::Goto(chain) => format!("{key}: {chain}"),
            Value::Service(f) => format!("{key}: {}:{}", f.ip, f.port),
            Value::Endpoint(address) => format!("{key}: {address}"),
            Value::Present => key,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(words: &str, endpoints: &[(u8, &str)], expected: &[&str]) {
    let slices = [slice(endpoints)];
    let plan = plan(&service(words), slices.iter(), &site(), &BTreeMap::new());
    assert_eq!(
        show(&plan).lines().collect::<Vec<_>>(),
        expected,
        "{words:?} {endpoints:?}"
    );
}

#[test]
fn a_cluster_ip_has_a_verdict_and_endpoints() {
    check(
        "",
        &[(1, "r"), (2, "rh")],
        &[
            "service-ips 10.96.0.50:80: internal-2",
            "endpoints Cluster 0: 10.244.1.1:8080",
            "endpoints Cluster 1: 10.244.1.2:8080",
            "cluster-ips 10.96.0.50",
            "hairpin 10.244.1.2",
        ],
    );
}

#[test]
fn endpoints_of_unknown_place_may_be_their_own_clients() {
    check(
        "",
        &[(1, "ru")],
        &[
            "service-ips 10.96.0.50:80: internal-1",
            "endpoints Cluster 0: 10.244.1.1:8080",
            "cluster-ips 10.96.0.50",
            "hairpin 10.244.1.1",
        ],
    );
}

#[test]
fn external_addresses_lead_to_the_service_port() {
    check(
        "node-port external",
        &[(1, "r")],
        &[
            "service-ips 10.96.0.50:80: internal-1",
            "service-ips 192.168.64.200:80: external-ip-1",
            "service-nodeports 30080: external-nodeport-1",
            "external-ips 192.168.64.200:80: 10.96.0.50:80",
            "nodeports 30080: 10.96.0.50:80",
            "endpoints Cluster 0: 10.244.1.1:8080",
            "cluster-ips 10.96.0.50",
        ],
    );
}

#[test]
fn nothing_to_serve_is_refused_everywhere() {
    for endpoints in [&[] as &[(u8, &str)], &[(1, "")], &[(1, "t")]] {
        check(
            "node-port external external-local",
            endpoints,
            &[
                "service-ips 10.96.0.50:80: refuse",
                "service-ips 192.168.64.200:80: refuse",
                "service-nodeports 30080: refuse",
                "external-ips 192.168.64.200:80: 10.96.0.50:80",
                "nodeports 30080: 10.96.0.50:80",
                "cluster-ips 10.96.0.50",
            ],
        );
    }
}

fn last(address: &SocketAddr) -> u8 {
    match address.ip() {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    }
}

/// KEP-1669, and section "choice of endpoints" of upstream's proxy.
#[test]
fn terminating_endpoints_serve_only_when_no_other_does() {
    type Row = (&'static str, &'static [(u8, &'static str)], &'static [u8]);
    let rows: &[Row] = &[
        ("ready ones", &[(1, "r"), (2, "r"), (3, "")], &[1, 2]),
        (
            "not the terminating while others are ready",
            &[(1, "r"), (2, "st")],
            &[1],
        ),
        (
            "the terminating when none is ready",
            &[(1, ""), (2, "st"), (3, "t")],
            &[2],
        ),
        ("serving alone is not enough", &[(1, "s")], &[]),
        (
            "publishNotReadyAddresses makes terminating ones ready",
            &[(1, "rt")],
            &[1],
        ),
    ];
    for (name, endpoints, expected) in rows {
        let slices = [slice(endpoints)];
        let plan = plan(&service(""), slices.iter(), &site(), &BTreeMap::new());
        let chosen: Vec<u8> = plan
            .elements
            .values()
            .filter_map(|value| match value {
                Value::Endpoint(address) => Some(last(address)),
                _ => None,
            })
            .collect();
        assert_eq!(chosen, *expected, "{name}");
    }
}

#[test]
fn local_policies_use_the_endpoints_of_this_node() {
    check(
        "internal-local",
        &[(1, "r"), (2, "rh")],
        &[
            "service-ips 10.96.0.50:80: internal-local-1",
            "endpoints Local 0: 10.244.1.2:8080",
            "cluster-ips 10.96.0.50",
            "hairpin 10.244.1.2",
        ],
    );
    check(
        "internal-local",
        &[(1, "r")],
        &["service-ips 10.96.0.50:80: drop", "cluster-ips 10.96.0.50"],
    );
    check(
        "node-port external-local",
        &[(1, "r"), (2, "rh")],
        &[
            "service-ips 10.96.0.50:80: internal-2",
            "service-nodeports 30080: external-local-1-of-nodeport-2",
            "nodeports 30080: 10.96.0.50:80",
            "endpoints Cluster 0: 10.244.1.1:8080",
            "endpoints Cluster 1: 10.244.1.2:8080",
            "endpoints Local 0: 10.244.1.2:8080",
            "cluster-ips 10.96.0.50",
            "hairpin 10.244.1.2",
        ],
    );
    check(
        "external external-local",
        &[(1, "r")],
        &[
            "service-ips 10.96.0.50:80: internal-1",
            "service-ips 192.168.64.200:80: external-local-0-of-ip-1",
            "external-ips 192.168.64.200:80: 10.96.0.50:80",
            "endpoints Cluster 0: 10.244.1.1:8080",
            "cluster-ips 10.96.0.50",
        ],
    );
    // The two lists fall back to terminating endpoints independently.
    check(
        "internal-local",
        &[(1, "r"), (2, "sth")],
        &[
            "service-ips 10.96.0.50:80: internal-local-1",
            "endpoints Local 0: 10.244.1.2:8080",
            "cluster-ips 10.96.0.50",
            "hairpin 10.244.1.2",
        ],
    );
}

#[test]
fn affinity_names_the_endpoints_to_stay_with() {
    check(
        "sticky",
        &[(1, "r"), (2, "r")],
        &[
            "service-ips 10.96.0.50:80: internal-2-affinity-600",
            "affinity-picks Cluster 0: 10.244.1.1:8080",
            "affinity-picks Cluster 1: 10.244.1.2:8080",
            "affinity-endpoints Cluster 10.244.1.1:8080",
            "affinity-endpoints Cluster 10.244.1.2:8080",
            "cluster-ips 10.96.0.50",
        ],
    );
}

#[test]
fn slices_are_merged_by_address() {
    let slices = [slice(&[(1, ""), (2, "r")]), slice(&[(1, "r"), (2, "")])];
    let merged = plan(&service(""), slices.iter(), &site(), &BTreeMap::new());
    let one = [slice(&[(1, "r"), (2, "r")])];
    assert_eq!(
        merged,
        plan(&service(""), one.iter(), &site(), &BTreeMap::new())
    );
}

#[test]
fn ports_are_told_apart_by_name_and_protocol() {
    let mut service = service("");
    service.ports = vec![
        ServicePort {
            name: "dns".into(),
            protocol: Protocol::Udp,
            port: 53,
            node_port: Some(30053),
        },
        ServicePort {
            name: "dns-tcp".into(),
            protocol: Protocol::Tcp,
            port: 53,
            node_port: None,
        },
    ];
    let mut slice = slice(&[(1, "r"), (2, "st")]);
    slice.ports = vec![
        SlicePort {
            name: "dns".into(),
            protocol: Protocol::Udp,
            port: 5300,
        },
        SlicePort {
            name: "dns-tcp".into(),
            protocol: Protocol::Tcp,
            port: 5301,
        },
        SlicePort {
            name: "dns".into(),
            protocol: Protocol::Tcp,
            port: 5302,
        },
    ];
    let plan = plan(&service, [slice].iter(), &site(), &BTreeMap::new());
    let target = |protocol, port| {
        let name = Frontend {
            ip: VIP,
            protocol,
            port: 53,
        };
        let value = Value::Endpoint(SocketAddr::from(([10, 244, 1, 1], port)));
        (Key::Endpoint(name, List::Cluster, 0), value)
    };
    let endpoints: Vec<_> = plan
        .elements
        .into_iter()
        .filter(|(key, _)| matches!(key, Key::Endpoint(..)))
        .collect();
    assert_eq!(
        endpoints,
        [target(Protocol::Tcp, 5301), target(Protocol::Udp, 5300)]
    );
    let serving = [1, 2].map(|last| SocketAddr::from(([10, 244, 1, last], 5300)));
    assert_eq!(
        plan.udp,
        [UdpPort {
            frontends: vec![SocketAddr::new(VIP, 53)],
            node_port: Some(30053),
            serving: serving.to_vec(),
        }]
    );
}

#[test]
fn source_ranges_guard_load_balancer_addresses_only() {
    check(
        "node-port external balancer ranges",
        &[(1, "r")],
        &[
            "service-ips 10.96.0.50:80: internal-1",
            "service-ips 192.168.64.200:80: external-ip-1",
            "service-ips 192.168.64.201:80: guarded-external-ip-1",
            "service-nodeports 30080: external-nodeport-1",
            "external-ips 192.168.64.200:80: 10.96.0.50:80",
            "external-ips 192.168.64.201:80: 10.96.0.50:80",
            "nodeports 30080: 10.96.0.50:80",
            "endpoints Cluster 0: 10.244.1.1:8080",
            "cluster-ips 10.96.0.50",
            "source-ranges 10.96.0.50:80 10.0.0.0/8",
        ],
    );
    // Strangers are dropped before clients are refused.
    check(
        "balancer ranges",
        &[],
        &[
            "service-ips 10.96.0.50:80: refuse",
            "service-ips 192.168.64.201:80: guarded-refuse",
            "external-ips 192.168.64.201:80: 10.96.0.50:80",
            "cluster-ips 10.96.0.50",
            "source-ranges 10.96.0.50:80 10.0.0.0/8",
        ],
    );
}

#[test]
fn ranges_that_take_in_the_node_take_in_the_address() {
    let mut near = site();
    near.addresses = vec![[10, 1, 2, 3].into()];
    let slices = [slice(&[(1, "r")])];
    let plan = plan(
        &service("balancer ranges"),
        slices.iter(),
        &near,
        &BTreeMap::new(),
    );
    let ranges = plan.elements.keys().filter_map(|key| match key {
        Key::SourceRange(_, net) => Some(net.to_string()),
        _ => None,
    });
    assert_eq!(
        ranges.collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.168.64.201/32"]
    );
}

/// Upstream's `topologyModeFromHints`.
#[test]
fn hints_narrow_the_choice_only_when_all_ready_endpoints_have_them() {
    // Endpoint, letters, zone hints, node hints.
    type Row = (
        u8,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );
    let rows: &[(&str, &[Row], &[u8])] = &[
        (
            "our zone",
            &[(1, "r", &["a"], &[]), (2, "r", &["b"], &[])],
            &[1],
        ),
        (
            "several zones",
            &[
                (1, "r", &["a", "b"], &[]),
                (2, "r", &["a"], &[]),
                (3, "r", &["b"], &[]),
            ],
            &[1, 2],
        ),
        (
            "one without a hint",
            &[(1, "r", &["a"], &[]), (2, "r", &[], &[])],
            &[1, 2],
        ),
        (
            "none for our zone",
            &[(1, "r", &["b"], &[]), (2, "r", &["c"], &[])],
            &[1, 2],
        ),
        (
            "unready ones do not matter",
            &[
                (1, "r", &["a"], &[]),
                (2, "r", &["b"], &[]),
                (3, "", &[], &[]),
            ],
            &[1],
        ),
        (
            "our node before our zone",
            &[(1, "r", &["a"], &["node1"]), (2, "r", &["a"], &["node2"])],
            &[1],
        ),
        (
            "no node hint for us: our zone",
            &[(1, "r", &["a"], &["node2"]), (2, "r", &["b"], &["node3"])],
            &[1],
        ),
        (
            "a node hint is missing: our zone",
            &[(1, "r", &["a"], &["node1"]), (2, "r", &["a"], &[])],
            &[1, 2],
        ),
        (
            "nothing ready: hints are off",
            &[(1, "st", &["b"], &[]), (2, "st", &["a"], &[])],
            &[1, 2],
        ),
    ];
    let hint = |names: &[&str]| -> Hint {
        (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect())
    };
    for (name, endpoints, expected) in rows {
        let mut slice = slice(&[]);
        slice.endpoints = endpoints
            .iter()
            .map(|(last, letters, zones, nodes)| Endpoint {
                zones: hint(zones),
                nodes: hint(nodes),
                ..endpoint(*last, letters)
            })
            .collect();
        let plan = plan(&service(""), [slice].iter(), &site(), &BTreeMap::new());
        let chosen: Vec<u8> = plan
            .elements
            .values()
            .filter_map(|value| match value {
                Value::Endpoint(address) => Some(last(address)),
                _ => None,
            })
            .collect();
        assert_eq!(chosen, *expected, "{name}");
    }
}

#[test]
fn hints_never_narrow_the_local_list() {
    let mut far = endpoint(1, "rh");
    far.zones = Some(["b".to_owned()].into());
    let mut near = endpoint(2, "r");
    near.zones = Some(["a".to_owned()].into());
    let mut slice = slice(&[]);
    slice.endpoints = vec![far, near];
    let service = service("node-port external-local");
    let plan = plan(&service, [slice].iter(), &site(), &BTreeMap::new());
    let lines = show(&plan);
    assert!(
        lines.contains("endpoints Cluster 0: 10.244.1.2:8080"),
        "{lines}"
    );
    assert!(
        lines.contains("endpoints Local 0: 10.244.1.1:8080"),
        "{lines}"
    );
}

#[test]
fn load_balancers_count_ready_local_addresses() {
    let slices = [slice(&[(1, "rh"), (2, "r"), (3, "sth")])];
    let mut service = service("balancer external-local checked");
    let mut second = service.ports[0].clone();
    (second.port, second.protocol) = (81, Protocol::Tcp);
    service.ports.push(second);
    let checked = plan(&service, slices.iter(), &site(), &BTreeMap::new());
    assert_eq!(
        checked.health,
        Some(HealthCheck {
            port: 32000,
            local: 1
        })
    );
    assert_eq!(checked.without_local, WithoutLocal::default());
    let elsewhere = [slice(&[(2, "r")])];
    let dropped = plan(&service, elsewhere.iter(), &site(), &BTreeMap::new());
    assert_eq!(
        dropped.health,
        Some(HealthCheck {
            port: 32000,
            local: 0
        })
    );
    assert_eq!(
        dropped.without_local,
        WithoutLocal {
            internal: 0,
            external: 2
        }
    );
}

#[test]
fn a_new_pod_counts_before_the_one_whose_address_it_has() {
    let slices = [
        slice(&[(1, "sth")]),
        slice(&[(1, "r")]),
        slice(&[(1, "rth")]),
    ];
    let plan = plan(&service(""), slices.iter(), &site(), &BTreeMap::new());
    assert!(
        !show(&plan).contains("hairpin"),
        "the one elsewhere: {}",
        show(&plan)
    );
}
