//! What nodes read: questions about names, answers of other servers, Corefiles, and the kernel's messages.

use std::sync::LazyLock;

use karve_dns::corefile;
use karve_dns::engine::{Around, Asker, Engine, Step};
use karve_dns::stored::{Aged, Stored};
use karve_dns::wire::{Lookup, Query, Transport};
use karve_dns::zone::{Service, Slice, Zone};
use karve_watch::ObjectName;
use serde_json::json;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let engine = Engine::new(zone(), Around::default());
    let text = "cluster.local in-addr.arpa {\n kubernetes\n}\n. {\n cache\n}";
    let plan = corefile::read(text, &|_| None).expect("a Corefile");
    engine.set(engine.prepare(&plan, &|_| Vec::new(), &|_| None).into());
    engine
});

fn zone() -> Zone {
    let mut zone = Zone::default();
    let mut service = |name: &str, spec: serde_json::Value| {
        let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
        let object = serde_json::from_value(object).expect("a Service");
        zone.set_service(
            &ObjectName::new("default", name),
            Service::from_api(&object),
        );
    };
    let alias = |to: &str| json!({"type": "ExternalName", "externalName": to});
    service(
        "a",
        json!({"clusterIP": "10.96.7.7", "ports": [{"name": "p", "port": 6379}]}),
    );
    service("many", json!({"clusterIP": "None"}));
    service("out", alias("example.org"));
    service("in", alias("a.default.svc.cluster.local"));
    service("ring", alias("ring.default.svc.cluster.local"));
    let endpoints: Vec<_> = (1..=200)
        .map(|n| json!({"addresses": [format!("10.244.1.{n}")]}))
        .collect();
    let slice = json!({
        "metadata": {"namespace": "default", "name": "many-a", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "ports": [], "endpoints": endpoints,
    });
    let slice = serde_json::from_value(slice).expect("an EndpointSlice");
    zone.set_slice(
        &ObjectName::new("default", "many-a"),
        Slice::from_api(&slice),
    );
    zone.services_complete();
    zone.slices_complete();
    zone
}

/// A query, and what an upstream says to it.
pub fn dns(input: &[u8]) {
    let mut parts = crate::parts(input);
    let (asked, said) = (parts.next().unwrap_or_default(), parts.next());
    let config = ENGINE.config();
    for (transport, most) in [(Transport::Udp, 4096), (Transport::Tcp, 65_535)] {
        let asker = Asker {
            address: ([127, 0, 0, 1], 9).into(),
            transport,
            port: 53,
        };
        let mut out = Vec::new();
        let zone = ENGINE.zone.read();
        if let Step::Reply = ENGINE.quick(&config, &zone, asked, &asker, &mut out) {
            assert!(out.len() <= most, "{}", out.len());
        }
        let Ok(query) = Query::read(asked) else {
            continue;
        };
        // The second message is from elsewhere; the first one, too, may come back as its own answer.
        for message in said.into_iter().chain([asked]) {
            let Some(stored) = Stored::take(message, &Lookup::of(&query)) else {
                continue;
            };
            let _said = (stored.kind(), stored.ttl(), stored.size());
            stored.write(&mut out, &query, transport, Aged::default());
            assert!(out.len() <= most, "{}", out.len());
        }
    }
}

/// A Corefile, which is text of whoever may write the ConfigMap.
pub fn corefile(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // References to the environment may make more of them.
    let _refused = corefile::read(&text, &|name| Some(format!("{{${name}}}")));
}

/// A datagram of the kernel.
pub fn netlink(input: &[u8]) {
    let _found = karve_sys::decode::objects(input);
}
