//! Typed clients, inside the process and by TLS: watches, nodes, presence, allocation.

mod served;

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::resource::v1::DeviceClass;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use served::Served;

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of the kind")
}

fn config_map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "b"}}))
}

fn code(err: kube::Error) -> (u16, String) {
    match err {
        kube::Error::Api(status) => (status.code, status.message),
        other => panic!("{other} is no answer"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_tells_each_change_once_and_selectors_move_objects_in_and_out() {
    let served = Served::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    let version = maps
        .list(&ListParams::default())
        .await
        .expect("list")
        .metadata
        .resource_version
        .expect("set");
    let params = WatchParams::default().labels("app=a");
    let mut events = maps.watch(&params, &version).await.expect("watch").boxed();
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .expect("created");
    maps.create(&PostParams::default(), &config_map("b"))
        .await
        .expect("created");
    let patch = |label: &str| Patch::Merge(json!({"metadata": {"labels": {"app": label}}}));
    maps.patch("a", &PatchParams::default(), &patch("x"))
        .await
        .expect("patched");
    maps.patch("b", &PatchParams::default(), &patch("a"))
        .await
        .expect("patched");
    maps.delete("b", &DeleteParams::default())
        .await
        .expect("deleted");
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(
            match events.try_next().await.expect("event").expect("open") {
                WatchEvent::Added(map) => ("added", map.metadata.name.expect("named")),
                WatchEvent::Modified(map) => ("modified", map.metadata.name.expect("named")),
                WatchEvent::Deleted(map) => ("deleted", map.metadata.name.expect("named")),
                other => panic!("{other:?}"),
            },
        );
    }
    let want = [
        ("added", "a"),
        ("deleted", "a"),
        ("added", "b"),
        ("deleted", "b"),
    ];
    assert_eq!(seen, want.map(|(kind, name)| (kind, name.to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_given_once_and_come_back() {
    let served = Served::start().await;
    let services: Api<Service> = Api::namespaced(served.admin(), "default");
    let service = |i: usize| -> Service {
        object(
            json!({"metadata": {"name": format!("s{i}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
        )
    };
    let made = futures::future::try_join_all((0..100).map(|i| {
        let services = services.clone();
        async move { services.create(&PostParams::default(), &service(i)).await }
    }));
    let made = made.await.expect("all are made");
    let spec = |s: &Service| s.spec.clone().expect("set");
    let addresses: BTreeSet<String> = made
        .iter()
        .map(|s| spec(s).cluster_ip.expect("given"))
        .collect();
    let ports: BTreeSet<i32> = made
        .iter()
        .map(|s| spec(s).ports.expect("set")[0].node_port.expect("given"))
        .collect();
    assert_eq!((addresses.len(), ports.len()), (100, 100));
    let address = spec(&made[0]).cluster_ip.expect("given");
    let again: Service = object(
        json!({"metadata": {"name": "again"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}),
    );
    let (status, message) = code(
        services
            .create(&PostParams::default(), &again)
            .await
            .expect_err("taken"),
    );
    assert_eq!(status, 422, "{message}");
    assert!(
        message.contains("provided IP is already allocated"),
        "{message}"
    );
    services
        .delete("s0", &DeleteParams::default())
        .await
        .expect("deleted");
    services
        .create(&PostParams::default(), &again)
        .await
        .expect("free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_patches_would_make_too_deep_stays_as_it_was() {
    let served = Served::start().await;
    let classes: Api<DeviceClass> = Api::all(served.admin());
    let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"a": inner}));
    let opaque = json!({"driver": "example.com", "parameters": nested(90)});
    let class = json!({"metadata": {"name": "deep"}, "spec": {"config": [{"opaque": opaque}]}});
    classes
        .create(&PostParams::default(), &object(class))
        .await
        .expect("created");
    let inside = "/a".repeat(90);
    let path = format!("/spec/config/0/opaque/parameters{inside}/b");
    let patch = serde_json::from_value(json!([{"op": "add", "path": path, "value": nested(90)}]))
        .expect("a patch");
    let patch = Patch::Json::<()>(patch);
    let (status, _) = code(
        classes
            .patch("deep", &PatchParams::default(), &patch)
            .await
            .expect_err("too deep"),
    );
    assert_eq!(status, 422);
    classes
        .delete("deep", &DeleteParams::default())
        .await
        .expect("it can still be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_of_the_server_comes_back() {
    let served = Served::start().await;
    let services: Api<Service> = Api::namespaced(served.admin(), "default");
    let listed = services.list(&ListParams::default()).await.expect("list");
    let version = listed.metadata.resource_version.expect("set");
    let params = WatchParams::default().fields("metadata.name=kubernetes");
    let mut events = services
        .watch(&params, &version)
        .await
        .expect("watch")
        .boxed();
    services
        .delete("kubernetes", &DeleteParams::default())
        .await
        .expect("deleted");
    let event = events.try_next().await.expect("event").expect("open");
    assert!(matches!(event, WatchEvent::Deleted(_)), "{event:?}");
    let event = events.try_next().await.expect("event").expect("open");
    let WatchEvent::Added(again) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        again.spec.expect("set").cluster_ip.as_deref(),
        Some("10.96.0.1")
    );
}

fn pod(name: &str, node: &str) -> Pod {
    object(
        json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}}),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_writes_only_what_is_its_own() {
    let served = Served::start().await;
    let admin = served.admin();
    let account: ServiceAccount = object(json!({"metadata": {"name": "default"}}));
    Api::namespaced(admin.clone(), "default")
        .create(&PostParams::default(), &account)
        .await
        .expect("created");
    let pods: Api<Pod> = Api::namespaced(admin, "default");
    pods.create(&PostParams::default(), &pod("mine", "node1"))
        .await
        .expect("created");
    pods.create(&PostParams::default(), &pod("other", "node2"))
        .await
        .expect("created");

    let client = served.client("system:node:node1", "system:nodes").await;
    let nodes: Api<Node> = Api::all(client.clone());
    let node = |name: &str| -> Node { object(json!({"metadata": {"name": name}})) };
    nodes
        .create(&PostParams::default(), &node("node1"))
        .await
        .expect("its own");
    let (status, _) = code(
        nodes
            .create(&PostParams::default(), &node("node2"))
            .await
            .expect_err("another's"),
    );
    assert_eq!(status, 403);

    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let running = Patch::Merge(json!({"status": {"phase": "Running"}}));
    pods.patch_status("mine", &PatchParams::default(), &running)
        .await
        .expect("its own");
    let (status, message) = code(
        pods.patch_status("other", &PatchParams::default(), &running)
            .await
            .expect_err("another's"),
    );
    assert_eq!(status, 403);
    assert!(
        message.contains("can only update pod status for pods with spec.nodeName set to itself"),
        "{message}"
    );
    let (status, _) = code(
        pods.create(&PostParams::default(), &pod("new", "node1"))
            .await
            .expect_err("not a mirror"),
    );
    assert_eq!(status, 403);
    let secrets = Api::<Namespace>::all(client);
    let (status, _) = code(
        secrets
            .delete("default", &DeleteParams::default())
            .await
            .expect_err("not a node's"),
    );
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_is_released_when_the_last_connection_of_a_node_ends() {
    let served = Served::start().await;
    let leases: Api<Lease> = Api::namespaced(served.admin(), "kube-node-lease");
    let lease = object(
        json!({"metadata": {"name": "node1"}, "spec": {"holderIdentity": "node1", "leaseDurationSeconds": 40}}),
    );
    let client = served.client("system:node:node1", "system:nodes").await;
    let own: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let made = own
        .create(&PostParams::default(), &lease)
        .await
        .expect("created");
    let version = made.metadata.resource_version.expect("set");
    let mut events = leases
        .watch(&WatchParams::default(), &version)
        .await
        .expect("watch")
        .boxed();
    drop(own);
    let event = events.try_next().await.expect("event").expect("open");
    let WatchEvent::Modified(lease) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        lease.spec.expect("set").holder_identity.as_deref(),
        Some("")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_ends_when_its_finalizer_is_taken() {
    let served = Served::start().await;
    let client = served.admin();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = object(json!({"metadata": {"name": "n"}}));
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("created");
    namespaces
        .delete("n", &DeleteParams::default())
        .await
        .expect("marked");
    let marked = namespaces.get("n").await.expect("still there");
    assert_eq!(
        marked.status.expect("set").phase.as_deref(),
        Some("Terminating")
    );
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    let (status, message) = code(
        maps.create(&PostParams::default(), &config_map("a"))
            .await
            .expect_err("ending"),
    );
    assert_eq!(status, 403);
    assert!(
        message.contains("because it is being terminated"),
        "{message}"
    );
    let empty = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "spec": {"finalizers": []}});
    let request = http::Request::put("/api/v1/namespaces/n/finalize")
        .header("content-type", "application/json");
    let request = request
        .body(serde_json::to_vec(&empty).expect("JSON"))
        .expect("a request");
    client.request::<Value>(request).await.expect("finalized");
    assert!(namespaces.get_opt("n").await.expect("answer").is_none());
}
