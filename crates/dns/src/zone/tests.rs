use domain::base::Name;
use serde_json::json;

use super::*;
use crate::corefile::Kubernetes;
use crate::corefile::plan::normalize;

fn view() -> View {
    view_of(Kubernetes::default())
}

fn view_of(mut options: Kubernetes) -> View {
    options.primary = normalize("cluster.local");
    options.ttl = 5;
    if options.pods == Pods::Disabled {
        options.pods = Pods::Insecure;
    }
    View::new(&options, &["10.96.0.10".parse().unwrap()]).unwrap()
}

impl Zone {
    fn ask(&self, name: &Lowered, want: Want) -> Verdict<'_> {
        self.look_up(&view(), name, want)
    }

    fn apply_service(&mut self, service: &k8s_openapi::api::core::v1::Service) {
        self.set_service(&ObjectName::of(service), Service::from_api(service));
    }

    fn apply_slice(&mut self, slice: &k8s_openapi::api::discovery::v1::EndpointSlice) {
        self.set_slice(&ObjectName::of(slice), Slice::from_api(slice));
    }
}

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
    let mut zone = Zone::default();
    for service in [
        service(
            "default",
            "redis",
            json!({"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"],
            "ports": [{"name": "Resp", "protocol": "TCP", "port": 6379}, {"port": 9, "protocol": "UDP"}]}),
        ),
        service(
            "default",
            "web",
            json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}),
        ),
        service("default", "empty", json!({"clusterIP": "None"})),
        service(
            "default",
            "out",
            json!({"type": "ExternalName", "externalName": "Example.org"}),
        ),
        service(
            "default",
            "in",
            json!({"type": "ExternalName", "externalName": "redis.default.svc.cluster.local."}),
        ),
        service(
            "default",
            "digits",
            json!({"type": "ExternalName", "externalName": "192.0.2.1"}),
        ),
        service("other", "9lives", json!({"clusterIP": "10.96.9.9"})),
    ] {
        zone.apply_service(&service);
    }
    for slice in [
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
    ] {
        zone.apply_slice(&slice);
    }
    zone.services_complete();
    zone.slices_complete();
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
            Verdict::Addresses(&["10.96.7.7".parse().unwrap()]),
        ),
        (
            "REDIS.Default.svc.Cluster.LOCAL",
            Want::A,
            Verdict::Addresses(&["10.96.7.7".parse().unwrap()]),
        ),
        (
            "redis.default.svc.cluster.local",
            Want::Aaaa,
            Verdict::NoData,
        ),
        (
            "9lives.other.svc.cluster.local",
            Want::A,
            Verdict::Addresses(&["10.96.9.9".parse().unwrap()]),
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
            Verdict::records(vec![address("10.244.1.9")]),
        ),
        (
            "digits.default.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "ns.dns.cluster.local",
            Want::A,
            Verdict::records(vec![address("10.96.0.10")]),
        ),
        ("*.default.svc.cluster.local", Want::A, Verdict::NoSuchName),
        (
            "empty.default.svc.cluster.local",
            Want::A,
            Verdict::NoSuchName,
        ),
        (
            "_tcp.redis.default.svc.cluster.local",
            Want::Srv,
            Verdict::NoData,
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
            Verdict::NoData,
        ),
        (
            "dns-version.cluster.local",
            Want::Txt,
            Verdict::records(vec![Data::Txt("1.1.0")]),
        ),
        ("cluster.local", Want::A, Verdict::NoData),
        ("svc.cluster.local", Want::A, Verdict::NoData),
        ("default.svc.cluster.local", Want::A, Verdict::NoData),
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
        ("8.1.244.10.in-addr.arpa", Want::Ptr, Verdict::Elsewhere),
        ("1.2.3.in-addr.arpa", Want::Ptr, Verdict::Elsewhere),
    ];
    for (name, want, verdict) in cases {
        assert_eq!(zone.ask(&lowered(name), *want), *verdict, "{name} {want:?}");
    }
}

#[test]
fn an_address_leads_back_to_its_name() {
    let zone = zone();
    for (address, name) in [
        ("7.7.96.10", "redis.default.svc.cluster.local"),
        ("5.1.244.10", "10-244-1-5.web.default.svc.cluster.local"),
        ("5.2.244.10", "web-0.web.default.svc.cluster.local"),
        ("9.1.244.10", "10-244-1-9.redis.default.svc.cluster.local"),
    ] {
        let asked = lowered(&format!("{address}.in-addr.arpa"));
        let name = Data::Ptr(Name::vec_from_str(name).unwrap());
        assert_eq!(
            zone.ask(&asked, Want::Ptr),
            Verdict::records(vec![name]),
            "{address}"
        );
    }
}

#[test]
fn a_headless_port_has_one_srv_for_each_ready_endpoint() {
    let zone = zone();
    let verdict = zone.ask(
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
        zone.ask(&asked, Want::A),
        Verdict::records(vec![address("10.244.1.6")])
    );
    web.spec.as_mut().unwrap().publish_not_ready_addresses = None;
    zone.apply_service(&web);
    assert_eq!(zone.ask(&asked, Want::A), Verdict::NoSuchName);
}

#[test]
fn a_removed_service_leaves_nothing() {
    let mut zone = zone();
    let name = |name| ObjectName::new("default", name);
    zone.set_service(&name("redis"), None);
    assert_eq!(
        zone.ask(&lowered("redis.default.svc.cluster.local"), Want::A),
        Verdict::NoSuchName
    );
    assert_eq!(
        zone.ask(&lowered("7.7.96.10.in-addr.arpa"), Want::Ptr),
        Verdict::Elsewhere
    );
    for service in ["web", "empty", "out", "in", "digits"] {
        zone.set_service(&name(service), None);
    }
    zone.set_service(&ObjectName::new("other", "9lives"), None);
    for slice in ["web-a", "web-b", "redis-a"] {
        zone.set_slice(&name(slice), None);
    }
    assert!(zone.namespaces.is_empty() && zone.reverse.is_empty());
}

#[test]
fn a_slice_that_changes_its_service_moves() {
    let mut zone = zone();
    let endpoints = json!([{"addresses": ["10.244.2.5"], "hostname": "web-0"}]);
    zone.apply_slice(&slice("empty", "web-b", endpoints));
    assert_eq!(
        zone.ask(&lowered("web-0.empty.default.svc.cluster.local"), Want::A),
        Verdict::records(vec![address("10.244.2.5")])
    );
    assert_eq!(
        zone.ask(&lowered("web-0.web.default.svc.cluster.local"), Want::A),
        Verdict::NoSuchName
    );
}

#[test]
fn nothing_is_said_before_both_lists_are_in() {
    let mut zone = Zone::default();
    let asked = lowered("redis.default.svc.cluster.local");
    assert_eq!(zone.ask(&asked, Want::A), Verdict::NotSynced);
    zone.services_complete();
    assert_eq!(zone.ask(&asked, Want::A), Verdict::NotSynced);
    zone.slices_complete();
    assert_eq!(zone.ask(&asked, Want::A), Verdict::NoSuchName);
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

#[test]
fn a_name_waits_for_the_proxy_and_goes_with_its_service() {
    let mut zone = zone();
    zone.wait_for_proxy();
    let asked = |name: &str| lowered(&format!("{name}.default.svc.cluster.local"));
    let redis = ObjectName::new("default", "redis");
    assert_eq!(zone.ask(&asked("redis"), Want::A), Verdict::NoSuchName);
    // Headless Services and aliases have nothing to program.
    assert_ne!(zone.ask(&asked("web"), Want::A), Verdict::NoSuchName);
    assert!(matches!(
        zone.ask(&asked("out"), Want::A),
        Verdict::Alias(_)
    ));
    zone.set_programmed(&redis, true);
    assert!(matches!(
        zone.ask(&asked("redis"), Want::A),
        Verdict::Addresses(_)
    ));
    zone.set_service(&redis, None);
    assert_eq!(zone.ask(&asked("redis"), Want::A), Verdict::NoSuchName);
    // A Service of the same name that comes later waits anew.
    zone.set_programmed(&redis, false);
    zone.apply_service(&service(
        "default",
        "redis",
        json!({"clusterIP": "10.96.7.8", "ports": [{"port": 1}]}),
    ));
    assert_eq!(zone.ask(&asked("redis"), Want::A), Verdict::NoSuchName);
    // One that another proxy serves does not.
    let mut foreign = service(
        "default",
        "redis",
        json!({"clusterIP": "10.96.7.8", "ports": [{"port": 1}]}),
    );
    let label = (
        "service.kubernetes.io/service-proxy-name".to_owned(),
        "other".to_owned(),
    );
    foreign.metadata.labels = Some([label].into());
    zone.apply_service(&foreign);
    assert!(matches!(
        zone.ask(&asked("redis"), Want::A),
        Verdict::Addresses(_)
    ));
}

#[test]
fn a_view_shows_what_its_plugin_says() {
    let mut zone = zone();
    zone.set_pod(
        &ObjectName::new("default", "p"),
        &["10.244.1.77".parse().unwrap()],
    );
    let only_other = view_of(Kubernetes {
        namespaces: vec!["other".to_owned()],
        ..Kubernetes::default()
    });
    let verified = view_of(Kubernetes {
        pods: Pods::Verified,
        ..Kubernetes::default()
    });
    let full = view_of(Kubernetes {
        ignore_empty_service: true,
        ..Kubernetes::default()
    });
    let cases = [
        (&only_other, "redis.default.svc", false),
        (&only_other, "9lives.other.svc", true),
        (&only_other, "10-244-1-77.default.pod", false),
        (&verified, "10-244-1-77.default.pod", true),
        (&verified, "10-244-1-77.other.pod", false),
        (&verified, "10-244-1-78.default.pod", false),
        (&full, "redis.default.svc", true),
        (&full, "9lives.other.svc", false),
    ];
    for (view, name, there) in cases {
        let asked = lowered(&format!("{name}.cluster.local"));
        let verdict = zone.look_up(view, &asked, Want::A);
        assert_eq!(verdict != Verdict::NoSuchName, there, "{name} {view:?}");
    }
}

#[test]
fn a_service_of_two_families_has_an_address_of_each() {
    let mut zone = zone();
    let both = json!({"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1", "fd00::1"], "ports": [{"name": "http", "port": 80}]});
    zone.apply_service(&service("default", "both", both));
    let asked = lowered("both.default.svc.cluster.local");
    for want in [Want::A, Want::Aaaa] {
        let Verdict::Addresses(addresses) = zone.ask(&asked, want) else {
            panic!("{want:?}")
        };
        assert_eq!(
            addresses.iter().filter(|ip| want.is_family(**ip)).count(),
            1
        );
    }
    let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    let name = Name::vec_from_str("both.default.svc.cluster.local").unwrap();
    assert_eq!(
        zone.ask(&lowered(nibbles), Want::Ptr),
        Verdict::records(vec![Data::Ptr(name)])
    );
}
