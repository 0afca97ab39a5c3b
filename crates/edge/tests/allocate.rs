//! The allocator against an API server.

use std::time::Duration;

use karve_edge::allocate::{Options, run};
use karve_testkit::stub_api::{StubApi, Write};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const SERVICES: &str = "/api/v1/services";
const CONFIG_MAPS: &str = "/api/v1/namespaces/metallb-system/configmaps";

fn service(ip: Option<&str>) -> Value {
    let ingress = ip.map(|ip| json!([{"ip": ip, "ipMode": "VIP"}]));
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "5e1f"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.50", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": ingress}},
    })
}

fn pools(range: &str) -> Value {
    let config =
        format!("address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - {range}\n");
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "config", "namespace": "metallb-system"},
        "data": {"config": config},
    })
}

async fn next(writes: &mut UnboundedReceiver<Write>) -> (String, String, Value) {
    let write = timeout(PATIENCE, writes.recv())
        .await
        .expect("a write")
        .expect("the server runs");
    (write.method.to_string(), write.path, write.body)
}

/// The two writes by which a Service gets an address.
async fn expect_address(writes: &mut UnboundedReceiver<Write>, ip: &str) {
    let (method, path, body) = next(writes).await;
    assert_eq!(
        (method.as_str(), path.as_str()),
        ("PATCH", "/api/v1/namespaces/default/services/web/status")
    );
    let ingress = json!([{"ip": ip, "ipMode": "VIP"}]);
    assert_eq!(
        body,
        json!({"status": {"loadBalancer": {"ingress": ingress}}})
    );
    let (method, path, body) = next(writes).await;
    assert_eq!(
        (method.as_str(), path.as_str()),
        ("POST", "/api/v1/namespaces/default/events")
    );
    assert_eq!(body["reason"], "IPAllocated");
    assert_eq!(body["type"], "Normal");
    assert_eq!(body["message"], format!("Assigned IP [\"{ip}\"]"));
    assert_eq!(body["source"]["component"], "metallb-controller");
    let about = &body["involvedObject"];
    assert_eq!(
        (&about["kind"], &about["name"], &about["uid"]),
        (&json!("Service"), &json!("web"), &json!("5e1f"))
    );
}

#[tokio::test]
async fn a_pending_service_gets_an_address_when_there_is_a_pool() {
    let (api, mut writes) = StubApi::new();
    api.set(SERVICES, service(None));
    let shutdown = CancellationToken::new();
    let allocator = tokio::spawn(run(api.client(), Options::default(), shutdown.clone()));

    api.set(CONFIG_MAPS, pools("192.168.64.2-192.168.64.2"));
    expect_address(&mut writes, "192.168.64.2").await;
    api.set(SERVICES, service(Some("192.168.64.2")));

    // A broken file changes nothing; another pool moves the Service.
    api.set(CONFIG_MAPS, pools("nonsense"));
    api.set(CONFIG_MAPS, pools("192.168.64.200-192.168.64.250"));
    expect_address(&mut writes, "192.168.64.200").await;

    shutdown.cancel();
    timeout(PATIENCE, allocator)
        .await
        .expect("ends")
        .expect("no panic")
        .expect("no failure");
    drop(api);
    assert!(writes.recv().await.is_none(), "nothing else was written");
}
