//! Against an API server without a socket.

use k8s_openapi::api::core::v1::ConfigMap;
use karve_testkit::stub_api::StubApi;
use serde_json::json;

use super::*;

const MAPS: &str = "/api/v1/namespaces/ns/configmaps";

fn map(value: &str, immutable: bool) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns"},
        "data": {"k": value}, "immutable": immutable})
}

/// What it holds, once that is as `want` says.
async fn until(watched: &mut Watched<One<ConfigMap>>, want: Option<&str>) {
    loop {
        let seen = match &*watched.look() {
            Seen::Unknown => None,
            Seen::Missing => Some(None),
            Seen::There(map) => Some(map.data.as_ref().and_then(|data| data.get("k").cloned())),
        };
        if seen.is_some_and(|seen| seen.as_deref() == want) {
            return;
        }
        watched.changed().await;
    }
}

#[tokio::test]
async fn an_object_is_known_as_the_api_has_it_from_its_absence_to_its_end() {
    let (api, _writes) = StubApi::new();
    let shared = Shared::new(api.client(), Outages::default());
    let mut watched = shared.watch(&One::new("ns", "a"));
    until(&mut watched, None).await;
    api.set(MAPS, map("1", false));
    until(&mut watched, Some("1")).await;
    api.set(MAPS, map("2", false));
    until(&mut watched, Some("2")).await;
    api.end_watches();
    api.delete(MAPS, "ns", "a");
    until(&mut watched, None).await;
}

#[tokio::test]
async fn a_watch_is_shared_and_ends_with_its_last_reader() {
    let (api, _writes) = StubApi::new();
    api.set(MAPS, map("1", false));
    let shared = Shared::new(api.client(), Outages::default());
    let subject = One::<ConfigMap>::new("ns", "a");
    let (mut first, mut second) = (shared.watch(&subject), shared.watch(&subject));
    until(&mut first, Some("1")).await;
    assert!(
        Arc::ptr_eq(&first._followed, &second._followed),
        "one watch for both"
    );
    drop(first);
    api.set(MAPS, map("2", false));
    until(&mut second, Some("2")).await;
    let task = second._followed._task.abort_handle();
    drop(second);
    assert!(shared.known.lock().is_empty());
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_immutable_object_is_not_watched_on() {
    let (api, _writes) = StubApi::new();
    api.set(MAPS, map("1", true));
    let shared = Shared::new(api.client(), Outages::default());
    let mut watched = shared.watch(&One::new("ns", "a"));
    until(&mut watched, Some("1")).await;
    while !watched._followed._task.is_finished() {
        tokio::task::yield_now().await;
    }
    until(&mut watched, Some("1")).await;
}
