use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::{Body, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;

fn map(name: &str, value: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": "7"},
        "data": value.map(|value| json!({"value": value})),
    })
}

fn object(name: &str, value: Option<&str>) -> ConfigMap {
    serde_json::from_value(map(name, value)).expect("a ConfigMap")
}

/// Only ConfigMaps with a value concern us.
fn value(object: &ConfigMap) -> Option<String> {
    object.data.as_ref()?.get("value").cloned()
}

/// Notices as `name=value`, `-name` and `.`, in order of names.
fn show(notices: impl IntoIterator<Item = Notice<String>>) -> Vec<String> {
    let mut shown: Vec<_> = notices
        .into_iter()
        .map(|notice| match notice {
            Notice::Changed(name, Some(value)) => format!("{name}={value}"),
            Notice::Changed(name, None) => format!("-{name}"),
            Notice::Complete => ".".to_owned(),
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn a_new_list_takes_away_what_it_lacks_at_its_end() {
    let mut listing = Listing::default();
    let mut take = |events: Vec<Event<ConfigMap>>| {
        let notices = events
            .into_iter()
            .flat_map(|event| listing.take(event, value));
        show(notices.collect::<Vec<_>>())
    };
    let first = take(vec![
        Event::Init,
        Event::InitApply(object("a", Some("1"))),
        Event::InitApply(object("b", Some("2"))),
        Event::InitApply(object("x", None)),
        Event::InitDone,
        Event::Apply(object("c", Some("3"))),
    ]);
    assert_eq!(first, [".", "default/a=1", "default/b=2", "default/c=3"]);
    // The watch was lost, and the first attempt to list anew as well; meanwhile a and c were deleted
    // and d was made.
    let while_listing = take(vec![
        Event::Init,
        Event::Init,
        Event::InitApply(object("b", Some("2"))),
    ]);
    assert_eq!(while_listing, ["default/b=2"], "nobody is known to be gone");
    let after = take(vec![
        Event::InitApply(object("d", Some("4"))),
        Event::InitDone,
    ]);
    assert_eq!(after, ["-default/a", "-default/c", ".", "default/d=4"]);
    let deleted = take(vec![Event::Delete(object("b", Some("2")))]);
    assert_eq!(deleted, ["-default/b"]);
    let unconcerned = take(vec![Event::Apply(object("d", None))]);
    assert_eq!(unconcerned, ["-default/d"]);
    let never_told = take(vec![
        Event::Apply(object("d", None)),
        Event::Delete(object("x", None)),
    ]);
    assert!(never_told.is_empty());
}

#[test]
fn what_ceases_to_concern_us_during_a_list_is_told_at_once() {
    let mut listing = Listing::default();
    listing.take(Event::Init, value);
    listing.take(Event::InitApply(object("a", Some("1"))), value);
    listing.take(Event::InitDone::<ConfigMap>, value);
    listing.take(Event::Init, value);
    let told = listing.take(Event::InitApply(object("a", None)), value);
    assert_eq!(show(told), ["-default/a"]);
    assert_eq!(show(listing.take(Event::InitDone, value)), ["."]);
}

/// A server that gives these answers in order, then no more.
fn server(answers: Vec<(u16, Value)>) -> Client {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let service = tower::service_fn(move |_: Request<Body>| {
        let answer = answers.lock().pop_front();
        async move {
            let Some((status, value)) = answer else {
                return future::pending().await;
            };
            let body = Body::from(format!("{value}\n").into_bytes());
            let response = Response::builder().status(status).body(body);
            Ok::<_, Infallible>(response.expect("a response"))
        }
    });
    Client::new(service, "default")
}

fn list(items: &[Value]) -> (u16, Value) {
    let meta = json!({"resourceVersion": "5"});
    let list =
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": meta, "items": items});
    (200, list)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_asked_again_and_the_reader_sees_objects_only() {
    let unavailable = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
        "reason": "ServiceUnavailable", "message": "not now"});
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old"});
    let client = server(vec![
        (503, unavailable.clone()),
        list(&[map("a", Some("1")), map("b", Some("2"))]),
        (
            200,
            json!({"type": "MODIFIED", "object": map("a", Some("3"))}),
        ),
        (503, unavailable),
        (200, json!({"type": "ERROR", "object": gone})),
        list(&[map("b", Some("2"))]),
    ]);
    let woken = Arc::new(Notify::new());
    let outages = Outages::waking(woken.clone());
    let notices = notices(
        Api::<ConfigMap>::all(client),
        watcher::Config::default(),
        &outages,
        value,
    );
    let told: Vec<_> = notices.take(7).collect().await;
    let told: Vec<_> = told
        .into_iter()
        .map(|notice| show([notice]).concat())
        .collect();
    assert_eq!(
        told,
        [
            "default/a=1",
            "default/b=2",
            ".",
            "default/a=3",
            "default/b=2",
            "-default/a",
            "."
        ]
    );
    woken.notified().await;
}
