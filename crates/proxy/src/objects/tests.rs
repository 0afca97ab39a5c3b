use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::json;

use super::*;

fn service(spec: serde_json::Value, status: serde_json::Value) -> core::Service {
    let object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec, "status": status});
    serde_json::from_value(object).expect("a service")
}

fn both(service: &core::Service) -> [Option<Service>; 2] {
    Family::BOTH.map(|family| Service::parse(service, family))
}

#[test]
fn each_family_takes_its_own_addresses() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50", "fd00:96::50"],
        "externalIPs": ["192.0.2.1", "2001:db8::1"],
        "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "10.1.0.0/16", "2001:db8::/64", "::/0", "nonsense"],
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
        "ports": [{"port": 80}, {"port": 70000}, {"port": 81, "protocol": "QUIC"}],
    });
    let status = json!({"loadBalancer": {"ingress": [
        {"ip": "192.0.2.2"}, {"ip": "2001:db8::2", "ipMode": "VIP"},
        {"ip": "192.0.2.3", "ipMode": "Proxy"}, {"hostname": "lb.example.com"},
    ]}});
    let [v4, v6] = both(&service(spec, status)).map(|service| service.expect("proxied"));
    assert_eq!(v4.cluster_ip, Ipv4Addr::new(10, 96, 0, 50));
    assert_eq!(v4.external_ips, [Ipv4Addr::new(192, 0, 2, 1)]);
    assert_eq!(
        v4.balancer_ips,
        [Ipv4Addr::new(192, 0, 2, 2)],
        "not ipMode Proxy"
    );
    let ranges: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("net")];
    assert_eq!(v4.source_ranges, ranges, "without spaces and overlaps");
    assert_eq!(v4.ports.len(), 1, "what cannot be read is left out");
    assert_eq!((v4.external_local, v4.health_port), (true, Some(32000)));
    assert_eq!(
        v6.cluster_ip,
        "fd00:96::50".parse::<Ipv6Addr>().expect("ip")
    );
    assert_eq!(
        v6.balancer_ips,
        ["2001:db8::2".parse::<Ipv6Addr>().expect("ip")]
    );
    assert_eq!(v6.source_ranges, [], "the whole family is no restriction");
}

#[test]
fn what_is_not_proxied() {
    let port = json!([{"port": 80}]);
    let rows = [
        ("headless", json!({"clusterIP": "None", "ports": port})),
        (
            "ExternalName",
            json!({"type": "ExternalName", "externalName": "a.example.com"}),
        ),
        ("without an address", json!({"ports": port})),
    ];
    for (name, spec) in rows {
        assert_eq!(both(&service(spec, json!({}))), [None, None], "{name}");
    }
    let single = service(json!({"clusterIP": "fd00:96::1", "ports": port}), json!({}));
    assert!(matches!(both(&single), [None, Some(_)]));
    for label in [SERVICE_PROXY_NAME, HEADLESS] {
        let mut other = single.clone();
        other.metadata.labels = Some([(label.to_owned(), String::new())].into());
        assert_eq!(both(&other), [None, None], "{label}");
    }
}

#[test]
fn policies_count_only_where_they_may() {
    let spec = |kind: &str, more: &str| {
        let ips: Vec<&str> = more.split_whitespace().collect();
        json!({
            "type": kind, "clusterIP": "10.96.0.1", "externalIPs": ips, "healthCheckNodePort": 32000,
            "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30080}],
        })
    };
    let rows = [
        ("ClusterIP", "", false, None, None),
        ("ClusterIP", "192.0.2.1", true, None, None),
        ("NodePort", "", true, None, Some(30080)),
        ("LoadBalancer", "", true, Some(32000), Some(30080)),
    ];
    for (kind, ips, local, health, node_port) in rows {
        let parsed =
            Service::parse(&service(spec(kind, ips), json!({})), Family::V4).expect("proxied");
        assert_eq!(parsed.external_local, local, "{kind} {ips}");
        assert_eq!(parsed.health_port, health, "{kind} {ips}");
        assert_eq!(parsed.ports[0].node_port, node_port, "{kind} {ips}");
    }
}

#[test]
fn endpoints_have_conditions_places_and_hints() {
    let slice: discovery::EndpointSlice = serde_json::from_value(json!({
        "metadata": {
            "name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-25T01:02:03.5Z"},
        },
        "addressType": "IPv6",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}, {"name": "all"}],
        "endpoints": [
            {"addresses": ["fd00::1", "fd00::2"], "nodeName": "node1", "hints": {"forZones": [{"name": "a"}]}},
            {"addresses": ["fd00::3"], "conditions": {"ready": false, "terminating": true},
             "nodeName": "node2", "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "node2"}]}},
            {"addresses": ["10.0.0.1"]}, {"addresses": ["nonsense"]}, {"addresses": []},
        ],
    }))
    .expect("a slice");
    let (service, parsed) = Slice::parse(&slice, "node1").expect("proxied");
    assert_eq!(service, ObjectName::new("default", "web"));
    assert_eq!((parsed.family, parsed.ports.len()), (Family::V6, 1));
    assert_eq!(
        parsed.triggered.expect("a time").to_string(),
        "2026-11-25T01:02:03.5Z"
    );
    let [here, gone] = &parsed.endpoints[..] else {
        panic!("{:?}", parsed.endpoints)
    };
    assert_eq!(
        (here.ready, here.serving, here.terminating, here.place),
        (true, true, false, Place::Here)
    );
    assert_eq!(
        (gone.ready, gone.serving, gone.terminating, gone.place),
        (false, true, true, Place::Elsewhere)
    );
    let (zones, again) = (
        here.zones.as_ref().expect("a hint"),
        gone.zones.as_ref().expect("a hint"),
    );
    assert!(Arc::ptr_eq(zones, again), "kept once");
    assert_eq!(
        (here.nodes.is_none(), gone.nodes.as_deref()),
        (true, Some(&["node2".to_owned()][..]))
    );
}

#[test]
fn a_node_that_leaves_is_not_for_load_balancers() {
    let node = |meta: serde_json::Value, taints: serde_json::Value| -> Site {
        let object = json!({
            "metadata": meta, "spec": {"taints": taints},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.168.64.2"}, {"type": "Hostname", "address": "node1"},
            ]},
        });
        Site::parse(&serde_json::from_value(object).expect("a node"))
    };
    let zone = json!({"name": "node1", "labels": {"topology.kubernetes.io/zone": "a"}});
    let plain = node(zone, json!([]));
    assert_eq!((plain.zone.as_deref(), plain.leaving), (Some("a"), false));
    assert_eq!(plain.addresses, [Ipv4Addr::new(192, 168, 64, 2)]);
    let deleted = json!({"name": "node1", "deletionTimestamp": "2026-11-25T01:02:03Z"});
    assert!(node(deleted, json!([])).leaving);
    let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    assert!(node(json!({"name": "node1"}), taint).leaving);
}
