use domain::base::Name;
use serde_json::json;

use super::*;

fn lowered(name: &str) -> Lowered {
    Lowered::new(&Name::vec_from_str(name).unwrap())
}

fn service(
    namespace: &str,
    name: &str,
    spec: serde_json::Value,
) -> k8s_openapi::api::core::v1::Service {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }))
    .unwrap()
}

fn slice(
    service: &str,
    name: &str,
    endpoints: serde_json::Value,
) -> k8s_openapi::api::discovery::v1::EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": name,
                     "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

/// A ClusterIP Service, a headless one with a ready, a not-ready and a named endpoint, one with no
/// endpoint, an alias to the outside and one to the inside.
fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local").unwrap();
    zone.replace_services(&[
        service("default", "redis", json!({"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"],
            "ports": [{"name": "Resp", "protocol": "TCP", "port": 6379}, {"port": 9, "protocol": "UDP"}]})),
        service("default", "web", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]})),
        service("default", "empty", json!({"clusterIP": "None"})),
        service("default", "out", json!({"type": "ExternalName", "externalName": "Example.org"})),
        service("default", "in", json!({"type": "ExternalName", "externalName": "redis.default.svc.cluster.local."})),
        service("other", "9lives", json!({"clusterIP": "10.96.9.9"})),
    ]);
    zone.replace_slices(&[
        slice(
            "web",
            "web-a",
            json!([
            {"addresses": ["10.244.1.5"], "conditions": {"ready": true}},
            {"addresses": ["10.244.1.6"], "conditions": {"ready": false}}]),
        ),
        slice(
            "web",
            "web-b",
            json!([{"addresses": ["10.244.2.5"], "hostname": "Web-0"}]),
        ),
        slice("redis", "redis-a", json!([{"addresses": ["10.244.1.9"]}])),
    ]);
    zone
}

fn address(text: &str) -> Data {
    Data::Address(text.parse().unwrap())
}

#[test]
fn each_name_of_the_specification_is_answered() {
    let zone = zone();
    let cases: &[(&str, Want, Verdict)] = &[
        (
            "redis.default.svc.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.96.7.7")]),
        ),
        (
            "REDIS.Default.svc.Cluster.LOCAL",
            Want::A,
            Verdict::records(vec![address("10.96.7.7")]),
        ),
        (
            "redis.default.svc.cluster.local",
            Want::Aaaa,
            Verdict::nodata(),
        ),
        (
            "9lives.other.svc.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.96.9.9")]),
        ),
        (
            "redis.other.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "none.default.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "web.default.svc.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.244.1.5"), address("10.244.2.5")]),
        ),
        (
            "web-0.web.default.svc.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.244.2.5")]),
        ),
        (
            "10-244-1-5.web.default.svc.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.244.1.5")]),
        ),
        (
            "10-244-1-6.web.default.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "10-244-1-9.redis.default.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "empty.default.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "_tcp.redis.default.svc.cluster.local",
            Want::Srv,
            Verdict::nodata(),
        ),
        (
            "_udp.redis.default.svc.cluster.local",
            Want::Srv,
            Verdict::NoSuchName,
        ),
        (
            "_none._tcp.redis.default.svc.cluster.local",
            Want::Srv,
            Verdict::NoSuchName,
        ),
        (
            "_resp._tcp.redis.default.svc.cluster.local",
            Want::A,
            Verdict::nodata(),
        ),
        (
            "dns-version.cluster.local",
            Want::Txt,
            Verdict::records(vec![Data::Txt("1.1.0")]),
        ),
        ("cluster.local", Want::A, Verdict::nodata()),
        ("svc.cluster.local", Want::A, Verdict::nodata()),
        ("default.svc.cluster.local", Want::A, Verdict::nodata()),
        ("nowhere.svc.cluster.local", Want::A, Verdict::NoSuchName),
        (
            "10-244-1-77.default.pod.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.244.1.77")]),
        ),
        (
            "10-244-1-77.nowhere.pod.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "word.default.pod.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        ("example.org.cluster.local", Want::A, Verdict::NoSuchName),
        ("notcluster.local", Want::A, Verdict::Elsewhere),
        ("example.org", Want::A, Verdict::Elsewhere),
        (".", Want::A, Verdict::Elsewhere),
        ("9.1.244.10.in-addr.arpa", Want::Ptr, Verdict::Elsewhere),
        ("1.2.3.in-addr.arpa", Want::Ptr, Verdict::Elsewhere),
    ];
    for (name, want, verdict) in cases {
        assert_eq!(
            zone.look_up(&lowered(name), *want),
            *verdict,
            "{name} {want:?}"
        );
    }
}

#[test]
fn an_address_leads_back_to_its_name() {
    let zone = zone();
    for (address, name) in [
        ("7.7.96.10", "redis.default.svc.cluster.local"),
        ("5.1.244.10", "10-244-1-5.web.default.svc.cluster.local"),
        ("5.2.244.10", "web-0.web.default.svc.cluster.local"),
    ] {
        let asked = lowered(&format!("{address}.in-addr.arpa"));
        let name = Data::Ptr(Name::vec_from_str(name).unwrap());
        assert_eq!(
            zone.look_up(&asked, Want::Ptr),
            Verdict::records(vec![name]),
            "{address}"
        );
    }
}

#[test]
fn a_headless_port_has_one_srv_for_each_ready_endpoint() {
    let verdict = zone().look_up(
        &lowered("_http._tcp.web.default.svc.cluster.local"),
        Want::Srv,
    );
    let Verdict::Records {
        records,
        additional,
    } = verdict
    else {
        panic!("{verdict:?}")
    };
    let target =
        |host: &str| Name::vec_from_str(&format!("{host}.web.default.svc.cluster.local")).unwrap();
    let srv = |host| Data::Srv {
        port: 8080,
        weight: 50,
        target: target(host),
    };
    assert_eq!(records, [srv("10-244-1-5"), srv("web-0")]);
    let additional: Vec<String> = additional.iter().map(|(_, ip)| ip.to_string()).collect();
    assert_eq!(additional, ["10.244.1.5", "10.244.2.5"]);
}

#[test]
fn not_ready_endpoints_are_published_on_request() {
    let mut zone = zone();
    let mut web = service(
        "default",
        "web",
        json!({"clusterIP": "None", "publishNotReadyAddresses": true}),
    );
    zone.apply_service(&web);
    let asked = lowered("10-244-1-6.web.default.svc.cluster.local");
    assert_eq!(
        zone.look_up(&asked, Want::A),
        Verdict::records(vec![address("10.244.1.6")])
    );
    web.spec.as_mut().unwrap().publish_not_ready_addresses = None;
    zone.apply_service(&web);
    assert_eq!(zone.look_up(&asked, Want::A), Verdict::NoSuchName);
}

#[test]
fn a_removed_service_leaves_nothing() {
    let mut zone = zone();
    zone.remove_service(&service("default", "redis", json!({})));
    assert_eq!(
        zone.look_up(&lowered("redis.default.svc.cluster.local"), Want::A),
        Verdict::NoSuchName
    );
    assert_eq!(
        zone.look_up(&lowered("7.7.96.10.in-addr.arpa"), Want::Ptr),
        Verdict::Elsewhere
    );
    zone.replace_services(&[]);
    zone.replace_slices(&[]);
    assert!(zone.namespaces.is_empty() && zone.reverse.is_empty());
}

#[test]
fn a_slice_that_changes_its_service_moves() {
    let mut zone = zone();
    let endpoints = json!([{"addresses": ["10.244.2.5"], "hostname": "web-0"}]);
    zone.apply_slice(&slice("empty", "web-b", endpoints));
    assert_eq!(
        zone.look_up(&lowered("web-0.empty.default.svc.cluster.local"), Want::A),
        Verdict::records(vec![address("10.244.2.5")])
    );
    assert_eq!(
        zone.look_up(&lowered("web-0.web.default.svc.cluster.local"), Want::A),
        Verdict::NoSuchName
    );
}

#[test]
fn nothing_is_said_before_both_lists_are_in() {
    let mut zone = Zone::new("cluster.local.").unwrap();
    let asked = lowered("redis.default.svc.cluster.local");
    assert_eq!(zone.look_up(&asked, Want::A), Verdict::NotSynced);
    zone.replace_services(&[]);
    assert_eq!(zone.look_up(&asked, Want::A), Verdict::NotSynced);
    zone.replace_slices(&[]);
    assert_eq!(zone.look_up(&asked, Want::A), Verdict::NoSuchName);
}

#[test]
fn a_reverse_name_of_ipv6_is_read() {
    let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(
        lowered(nibbles).reverse_address(),
        Some("fd00:10:96::1".parse().unwrap())
    );
    assert_eq!(lowered(&nibbles[2..]).reverse_address(), None);
    assert_eq!(lowered(&format!("2.{nibbles}")).reverse_address(), None);
}
