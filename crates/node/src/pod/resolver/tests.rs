use serde_json::{Value, json};

use super::*;

fn pod(mut spec: Value) -> Pod {
    spec["containers"] = json!([]);
    let metadata = json!({"name": "plain", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
}

fn resolver() -> Resolver {
    Resolver {
        cluster_dns: vec!["10.96.0.10".parse().expect("ip")],
        cluster_domain: "cluster.local".to_owned(),
        resolv_conf: "/nowhere".into(),
    }
}

fn node() -> DnsConfig {
    parse_resolv_conf(
        "# c\nnameserver 192.168.64.53\nsearch lost\nsearch example.test.\noptions ndots:3\noptions ndots:1\n",
    )
}

fn formed(spec: Value, resolver: &Resolver) -> Formed {
    let pod = pod(spec);
    form(&pod, pod.spec.as_ref().expect("spec"), resolver, node())
}

fn text(config: &DnsConfig) -> String {
    let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
    format!(
        "{} | {} | {}",
        config.searches.join(" "),
        servers.join(" "),
        config.options.join(" ")
    )
}

const FIRST: &str = "ns.svc.cluster.local svc.cluster.local cluster.local example.test";

/// The recorded scenario net-dns-policies.
#[test]
fn each_policy_gives_the_recorded_resolv_conf() {
    let node = "example.test | 192.168.64.53 | ndots:1".to_owned();
    let rows = [
        (json!({}), format!("{FIRST} | 10.96.0.10 | ndots:5")),
        (json!({"dnsPolicy": "Default"}), node.clone()),
        (
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
            "a.b | 1.1.1.1 | edns0 ndots:2".to_owned(),
        ),
        (
            json!({"dnsConfig": {"nameservers": ["1.1.1.2"], "searches": ["x.y"],
            "options": [{"name": "ndots", "value": "3"}, {"name": "rotate"}]}}),
            format!("{FIRST} x.y | 10.96.0.10 1.1.1.2 | ndots:3 rotate"),
        ),
        (
            json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"}),
            node,
        ),
        (
            json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
            format!("{FIRST} | 10.96.0.10 | ndots:5"),
        ),
        (
            json!({"dnsConfig": {"nameservers": ["10.96.0.10"], "searches": ["svc.cluster.local", "."]}}),
            format!("{FIRST} . | 10.96.0.10 | ndots:5"),
        ),
    ];
    for (spec, want) in rows {
        let formed = formed(spec.clone(), &resolver());
        assert_eq!(text(&formed.config), want, "{spec}");
        assert_eq!(formed.notes, [], "{spec}");
    }
}

#[test]
fn what_exceeds_a_limit_is_left_out_and_told() {
    let many: Vec<String> = (0..40).map(|n| format!("s{n}.example")).collect();
    let got = formed(json!({"dnsConfig": {"searches": many}}), &resolver());
    assert_eq!(got.config.searches.len(), 32);
    let [(reason, told)] = &got.notes[..] else {
        panic!("{:?}", got.notes)
    };
    assert_eq!(*reason, "DNSConfigForming");
    assert_eq!(
        *told,
        format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            got.config.searches.join(" ")
        )
    );

    // 8 paths of 253 characters, with the blanks 2,031; one more path goes over the limit.
    let wide = |n: usize| {
        format!(
            "{n}{}.{}.{}.{}",
            "a".repeat(62),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61)
        )
    };
    let mut searches: Vec<String> = (0..8).map(wide).collect();
    searches.push("0123456789.abcde".to_owned());
    let spec = |searches: &[String]| json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": searches}});
    let exact = formed(spec(&searches), &resolver());
    assert_eq!(exact.config.searches.join(" ").len(), 2048);
    assert_eq!(exact.notes, []);
    searches[8].push('f');
    assert_eq!(
        formed(spec(&searches), &resolver()).config.searches.len(),
        8
    );

    let servers = json!({"dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3"]}});
    let got = formed(servers, &resolver());
    assert_eq!(
        got.notes,
        [(
            "DNSConfigForming",
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
             10.96.0.10 1.1.1.1 1.1.1.2"
                .to_owned()
        )]
    );
}

#[test]
fn without_a_cluster_dns_pods_get_the_node_s_and_are_told() {
    let none = Resolver {
        cluster_dns: Vec::new(),
        ..resolver()
    };
    let got = formed(json!({"dnsPolicy": "ClusterFirst"}), &none);
    assert_eq!(text(&got.config), "example.test | 192.168.64.53 | ndots:1");
    assert_eq!(got.notes[0].0, "MissingClusterDNS");
    assert!(
        got.notes[0]
            .1
            .starts_with("pod: \"plain_ns(u)\". kubelet does not have ClusterDNS IP")
    );
}
