//! What nodes read: questions about names, and the kernel's messages.

use std::sync::LazyLock;

use domain::base::iana::Rcode;
use karve_dns::message::{Step, Transport, fail, finish_alias, query_for, respond};
use karve_dns::zone::Zone;
use serde_json::json;

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let mut zone = Zone::new("cluster.local").expect("a name");
    let service = |name: &str, spec: serde_json::Value| {
        let meta = json!({"namespace": "default", "name": name});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a Service")
    };
    zone.replace_services(&[
        service(
            "a",
            json!({"clusterIP": "10.96.7.7", "ports": [{"name": "p", "port": 6379}]}),
        ),
        service("many", json!({"clusterIP": "None"})),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "example.org"}),
        ),
        service(
            "in",
            json!({"type": "ExternalName", "externalName": "a.default.svc.cluster.local"}),
        ),
        service(
            "ring",
            json!({"type": "ExternalName", "externalName": "ring.default.svc.cluster.local"}),
        ),
    ]);
    let endpoints: Vec<_> = (1..=200)
        .map(|n| json!({"addresses": [format!("10.244.1.{n}")]}))
        .collect();
    let slice = json!({
        "metadata": {"namespace": "default", "name": "many-a", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "ports": [], "endpoints": endpoints,
    });
    zone.replace_slices(&[serde_json::from_value(slice).expect("an EndpointSlice")]);
    zone
});

/// A query, and what an upstream says of an alias that leads outside.
pub fn dns(input: &[u8]) {
    let mut parts = crate::parts(input);
    let (query, upstream) = (parts.next().unwrap_or_default(), parts.next());
    for (transport, most) in [(Transport::Udp, 4096), (Transport::Tcp, 65_535)] {
        let bounded = |reply: &[u8]| assert!(reply.len() <= most, "{}", reply.len());
        match respond(query, &ZONE, transport) {
            Step::Reply(reply) => bounded(&reply),
            Step::Forward | Step::Drop => {}
            Step::Chase(target) => {
                let _onward = query_for(query, &target, 9);
                for said in [None, upstream] {
                    if let Some(reply) = finish_alias(query, &target, said, transport) {
                        bounded(&reply);
                    }
                }
            }
        }
        if let Some(reply) = fail(query, transport, Rcode::SERVFAIL) {
            bounded(&reply);
        }
    }
}

/// A datagram of the kernel.
pub fn netlink(input: &[u8]) {
    let _found = karve_sys::decode::objects(input);
}
