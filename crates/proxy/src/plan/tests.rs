use super::*;
use crate::objects::{Endpoint, SlicePort};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 200);

/// An endpoint in a few letters: `r`eady, `s`erving, `t`erminating, `h`ere, `u`nknown place.
fn endpoint(last: u8, letters: &str) -> Endpoint {
    Endpoint {
        ip: Ipv4Addr::new(10, 244, 1, last),
        ready: letters.contains('r'),
        serving: letters.contains('r') || letters.contains('s'),
        terminating: letters.contains('t'),
        place: match letters {
            letters if letters.contains('h') => Place::Here,
            letters if letters.contains('u') => Place::Unknown,
            _ => Place::Elsewhere,
        },
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
        ports: vec![port],
        endpoints,
    }
}

/// A Service in a few words: `node-port`, `external`, `internal-local`, `external-local`, `sticky`.
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
        ports: vec![port],
        internal_local: is("internal-local"),
        external_local: is("external-local"),
        affinity: is("sticky").then_some(600),
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
    let plan = plan(&service(words), slices.iter(), &BTreeMap::new());
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
        let plan = plan(&service(""), slices.iter(), &BTreeMap::new());
        let chosen: Vec<u8> = plan
            .elements
            .values()
            .filter_map(|value| match value {
                Value::Endpoint(address) => Some(address.ip().octets()[3]),
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
    let merged = plan(&service(""), slices.iter(), &BTreeMap::new());
    let one = [slice(&[(1, "r"), (2, "r")])];
    assert_eq!(merged, plan(&service(""), one.iter(), &BTreeMap::new()));
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
    let plan = plan(&service, [slice].iter(), &BTreeMap::new());
    let target = |protocol, port| {
        let name = Frontend {
            ip: VIP,
            protocol,
            port: 53,
        };
        let value = Value::Endpoint(SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 1), port));
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
    let serving = [1, 2].map(|last| SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, last), 5300));
    assert_eq!(
        plan.udp,
        [UdpPort {
            frontends: vec![SocketAddrV4::new(VIP, 53)],
            node_port: Some(30053),
            serving: serving.to_vec(),
        }]
    );
}
