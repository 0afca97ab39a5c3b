use karve_watch::Notice;
use serde_json::json;

use super::*;

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

/// A Service made at second `created`, with `ip` in its status.
fn request(service: &str, created: u32, ip: Option<&str>) -> Request {
    let ingress = ip.map(|ip| json!([{"ip": ip, "ipMode": "VIP"}]));
    let object = json!({
        "metadata": {
            "name": service, "namespace": "default", "uid": format!("uid-{service}"),
            "creationTimestamp": format!("2026-11-24T00:00:{created:02}Z"),
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    Request::parse(&serde_json::from_value(object).expect("a service")).expect("asks")
}

#[derive(Default)]
struct Cluster {
    services: Objects<Request>,
    controller: Controller,
}

impl Cluster {
    fn set(&mut self, service: &str, created: u32, ip: Option<&str>) {
        let facts = Some(request(service, created, ip));
        let changed = self.services.take(Notice::Changed(name(service), facts));
        self.controller.mark(changed);
    }

    fn delete(&mut self, service: &str) {
        let changed = self.services.take(Notice::Changed(name(service), None));
        self.controller.mark(changed);
    }

    fn set_pool(&mut self, range: &str) {
        let text = format!("address-pools: [{{name: a, protocol: layer2, addresses: [{range}]}}]");
        self.controller
            .set_pools(Pools::parse(&text).expect("pools"));
    }

    /// What is to be done, as `service: address` and `service: reason: message`.
    fn converge(&mut self) -> Vec<String> {
        let show = |action: Action| match action {
            Action::Publish {
                service,
                ip: Some(ip),
            } => format!("{}: {ip}", service.name),
            Action::Publish { service, ip: None } => format!("{}: none", service.name),
            Action::Tell(event) => {
                assert_eq!(event.uid, format!("uid-{}", event.service.name));
                assert_eq!(event.warning, event.reason == "AllocationFailed");
                format!(
                    "{}: {}: {}",
                    event.service.name, event.reason, event.message
                )
            }
        };
        self.controller
            .converge(&self.services)
            .into_iter()
            .map(show)
            .collect()
    }
}

#[test]
fn without_pools_services_wait_in_silence() {
    let mut cluster = Cluster::default();
    cluster.set("web", 1, None);
    assert!(cluster.converge().is_empty());
    cluster.set_pool("10.0.0.2-10.0.0.2");
    let allocated = r#"web: IPAllocated: Assigned IP ["10.0.0.2"]"#;
    assert_eq!(cluster.converge(), ["web: 10.0.0.2", allocated]);
    cluster.set("web", 1, Some("10.0.0.2"));
    assert!(cluster.converge().is_empty(), "the answer to our own write");
}

#[test]
fn addresses_in_use_are_known_before_new_ones_are_given() {
    let mut cluster = Cluster::default();
    cluster.set_pool("10.0.0.1-10.0.0.9");
    cluster.set("young", 3, None);
    cluster.set("elder", 2, None);
    cluster.set("settled", 9, Some("10.0.0.1"));
    assert_eq!(
        cluster.converge(),
        [
            "elder: 10.0.0.2",
            r#"elder: IPAllocated: Assigned IP ["10.0.0.2"]"#,
            "young: 10.0.0.3",
            r#"young: IPAllocated: Assigned IP ["10.0.0.3"]"#,
        ]
    );
}

#[test]
fn a_refusal_is_told_once_and_made_good_when_an_address_is_free() {
    let mut cluster = Cluster::default();
    cluster.set_pool("10.0.0.1-10.0.0.1");
    cluster.set("first", 1, Some("10.0.0.1"));
    cluster.set("third", 3, None);
    cluster.set("second", 2, None);
    assert_eq!(
        cluster.converge(),
        [
            r#"second: AllocationFailed: Failed to allocate IP for "default/second": no available IPs"#,
            r#"third: AllocationFailed: Failed to allocate IP for "default/third": no available IPs"#,
        ]
    );
    cluster.controller.mark([name("second")]);
    assert!(cluster.converge().is_empty(), "told already");
    cluster.delete("first");
    assert_eq!(
        cluster.converge(),
        [
            "second: 10.0.0.1",
            r#"second: IPAllocated: Assigned IP ["10.0.0.1"]"#,
        ]
    );
}

#[test]
fn changed_pools_are_followed() {
    let mut cluster = Cluster::default();
    cluster.set_pool("10.0.0.1-10.0.0.9");
    cluster.set("web", 1, Some("10.0.0.1"));
    assert!(cluster.converge().is_empty());
    cluster.set_pool("10.0.0.20-10.0.0.29");
    assert_eq!(
        cluster.converge(),
        [
            "web: 10.0.0.20",
            r#"web: IPAllocated: Assigned IP ["10.0.0.20"]"#,
        ]
    );
    cluster.set("web", 1, Some("10.0.0.20"));
    cluster.controller.set_pools(Pools::default());
    assert_eq!(cluster.converge(), ["web: none"]);
    cluster.set("foreign", 1, Some("192.0.2.1"));
    assert!(
        cluster.converge().is_empty(),
        "without pools others are in charge"
    );
}

#[test]
fn a_failed_write_is_done_again_and_told_once() {
    let mut cluster = Cluster::default();
    cluster.set_pool("10.0.0.1-10.0.0.9");
    cluster.set("web", 1, None);
    assert_eq!(cluster.converge().len(), 2);
    cluster.controller.mark([name("web")]);
    assert_eq!(cluster.converge(), ["web: 10.0.0.1"]);
}

#[test]
fn a_foreign_status_is_put_right() {
    let mut cluster = Cluster::default();
    cluster.set_pool("10.0.0.1-10.0.0.9");
    let mut odd = request("web", 1, Some("10.0.0.5"));
    odd.published = false;
    let changed = cluster
        .services
        .take(Notice::Changed(name("web"), Some(odd)));
    cluster.controller.mark(changed);
    assert_eq!(cluster.converge(), ["web: 10.0.0.5"]);
}
