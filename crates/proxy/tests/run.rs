//! The whole proxy, from an API server to the kernel, in a network namespace of its own.

use std::time::Duration;

use karve_proxy::{Family as Ip, Options, run};
use karve_sys::link::Netlink;
use karve_sys::netns::NetNs;
use karve_sys::nft::{Batch, Data, Family, Nft};
use karve_testkit::stub_api::StubApi;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

fn service(name: &str, cluster_ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": cluster_ip, "ports": [{"port": 80, "protocol": "TCP"}]},
    })
}

fn slice(service: &str, endpoint: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [endpoint], "nodeName": "node1"}],
    })
}

/// The addresses of the endpoints in the kernel, sorted; none when there is no table.
fn endpoints() -> Vec<[u8; 4]> {
    let elements = Nft::open()
        .expect("open")
        .elements(Family::Ip, "karve-proxy", "endpoints");
    let mut found: Vec<_> = elements
        .into_iter()
        .flatten()
        .filter_map(|element| match element.data {
            Some(Data::Value(value)) => value.first_chunk::<4>().copied(),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

async fn until_endpoints_are(expected: &[[u8; 4]]) {
    let reached = timeout(PATIENCE, async {
        while endpoints() != expected {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(
        reached.await.is_ok(),
        "{:?} instead of {expected:?}",
        endpoints()
    );
}

async fn follow_an_api_server() {
    Netlink::open().expect("open").set_up("lo").expect("up");
    let (api, _writes) = StubApi::new();
    api.set(SERVICES, service("a", "10.96.0.11"));
    api.set(SERVICES, service("b", "10.96.0.12"));
    api.set(SLICES, slice("a", "10.244.1.1"));
    api.set(SLICES, slice("b", "10.244.1.2"));
    let shutdown = CancellationToken::new();
    let options = Options {
        node_name: "node1".to_owned(),
        families: vec![Ip::V4, Ip::V6],
        cluster_cidrs: vec!["10.244.0.0/16".parse().expect("net")],
        service_cidrs: vec!["10.96.0.0/16".parse().expect("net")],
        node_port_addresses: Vec::new(),
        healthz: None,
        metrics: None,
        programmed: None,
        sockets: None,
    };
    let proxy = tokio::spawn(run(api.client(), options.clone(), shutdown.clone()));
    until_endpoints_are(&[[10, 244, 1, 1], [10, 244, 1, 2]]).await;

    api.set(SLICES, slice("a", "10.244.1.3"));
    until_endpoints_are(&[[10, 244, 1, 2], [10, 244, 1, 3]]).await;

    // Somebody flushes the node's rules.
    let mut batch = Batch::new(Family::Ip);
    batch.delete_table("karve-proxy");
    Nft::open().expect("open").commit(batch).expect("flush");
    until_endpoints_are(&[[10, 244, 1, 2], [10, 244, 1, 3]]).await;

    // The server goes away and comes back.
    api.end_watches();
    api.delete(SERVICES, "default", "b");
    until_endpoints_are(&[[10, 244, 1, 3]]).await;

    shutdown.cancel();
    timeout(PATIENCE, proxy)
        .await
        .expect("ends")
        .expect("no panic")
        .expect("no failure");
    assert_eq!(endpoints(), [[10, 244, 1, 3]], "the kernel goes on serving");

    // Another process takes over what it finds.
    let shutdown = CancellationToken::new();
    let proxy = tokio::spawn(run(api.client(), options, shutdown.clone()));
    api.set(SLICES, slice("a", "10.244.1.4"));
    until_endpoints_are(&[[10, 244, 1, 4]]).await;
    shutdown.cancel();
    timeout(PATIENCE, proxy)
        .await
        .expect("ends")
        .expect("no panic")
        .expect("no failure");
}

#[test]
fn the_kernel_follows_the_api_server() {
    let netns = NetNs::anonymous().expect("namespace");
    // The runtime's threads are started inside and stay there.
    netns
        .run_in(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("runtime").block_on(follow_an_api_server());
        })
        .expect("enter namespace");
}
