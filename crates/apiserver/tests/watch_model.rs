//! Watches against a model: whatever is written, every watcher sees each change of what it selects once and in order, in
//! every format, from whatever revision it begins.

mod served;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use karve_api::decode::protobuf;
use karve_api::schema::Schema;
use karve_apiserver::{Body, Identity};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::Service as _;

use served::Served;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LABELS: [&str; 2] = ["x", "y"];
const PATH: &str = "/api/v1/namespaces/default/configmaps";
/// Only a defect takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
enum Step {
    Put(usize, usize),
    Delete(usize),
    Compact(usize),
    Open {
        from: From,
        label: Option<usize>,
        form: usize,
    },
}

#[derive(Debug, Clone, Copy)]
enum From {
    State,
    Back(usize),
}

const FORMS: [&str; 5] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let from = prop_oneof![Just(From::State), (0..8usize).prop_map(From::Back)];
    let open = (from, proptest::option::of(0..LABELS.len()), 0..FORMS.len());
    prop::collection::vec(
        prop_oneof![
            6 => (0..NAMES.len(), 0..LABELS.len()).prop_map(|(name, label)| Step::Put(name, label)),
            3 => (0..NAMES.len()).prop_map(Step::Delete),
            1 => (0..6usize).prop_map(Step::Compact),
            3 => open.prop_map(|(from, label, form)| Step::Open { from, label, form }),
        ],
        1..30,
    )
}

/// One event: its type, the object's name and the revision that it shows.
type Seen = (String, String, u64);

/// Who watches what, and what it has to see.
struct Watcher {
    body: Body,
    form: usize,
    label: Option<&'static str>,
    /// The state that it knows, by name.
    wants: Vec<Seen>,
}

async fn send(served: &Served, request: Request<Full<Bytes>>) -> http::Response<Body> {
    let identity = Identity::authenticated("admin", ["system:masters".to_owned()]);
    let mut service = served.api.service(identity);
    service.call(request).await.expect("always answers")
}

async fn write(served: &Served, method: &str, path: &str, kind: &str, body: Value) -> Value {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(Full::from(body.to_string()))
        .expect("a request");
    let response = send(served, request).await;
    assert!(
        response.status().is_success(),
        "{method} {path}: {}",
        response.status()
    );
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|t| t.parse().ok()).expect("a revision")
}

/// The world as it should be.
#[derive(Default)]
struct Model {
    /// Revision, name, label before and after.
    history: Vec<(
        u64,
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
    )>,
    now: BTreeMap<&'static str, (u64, &'static str)>,
    floor: u64,
}

impl Model {
    /// What a watcher is told of a change.
    fn event(
        (at, name, before, after): &(
            u64,
            &'static str,
            Option<&'static str>,
            Option<&'static str>,
        ),
        wanted: Option<&str>,
    ) -> Option<Seen> {
        let matches = |label: &Option<&str>| label.is_some_and(|l| wanted.is_none_or(|w| w == l));
        let kind = match (matches(before), matches(after)) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some((kind.to_owned(), (*name).to_owned(), *at))
    }
}

async fn put(served: &Served, model: &mut Model, name: &'static str, label: &'static str) {
    let before = model.now.get(name).map(|(_, label)| *label);
    // The counter makes every write a change.
    let data = json!({"n": model.history.len().to_string()});
    let object = json!({"metadata": {"name": name, "labels": {"l": label}}, "data": data});
    let answer = match before {
        None => write(served, "POST", PATH, "application/json", object).await,
        Some(_) => {
            let path = format!("{PATH}/{name}");
            write(
                served,
                "PATCH",
                &path,
                "application/merge-patch+json",
                object,
            )
            .await
        }
    };
    let at = revision(&answer);
    model.history.push((at, name, before, Some(label)));
    model.now.insert(name, (at, label));
}

async fn delete(served: &Served, model: &mut Model, name: &'static str) {
    let Some((_, label)) = model.now.remove(name) else {
        return;
    };
    write(
        served,
        "DELETE",
        &format!("{PATH}/{name}"),
        "application/json",
        json!({}),
    )
    .await;
    // Nobody else writes: the deletion has the newest revision.
    model
        .history
        .push((served.store.revision(), name, Some(label), None));
}

async fn open(
    served: &Served,
    model: &Model,
    from: From,
    label: Option<usize>,
    form: usize,
) -> Watcher {
    let label = label.map(|i| LABELS[i]);
    let selector = label.map_or_else(String::new, |l| format!("&labelSelector=l%3D{l}"));
    let now = served.store.revision();
    let start = match from {
        From::State => 0,
        From::Back(n) => {
            let at = model.history.len().saturating_sub(n);
            model.history.get(at).map_or(now, |(at, ..)| at - 1)
        }
    };
    let request = Request::builder()
        .uri(format!(
            "{PATH}?watch=true&resourceVersion={start}{selector}"
        ))
        .header("accept", FORMS[form])
        .body(Full::default())
        .expect("a request");
    let response = send(served, request).await;
    assert_eq!(response.status(), 200);
    let wants = match from {
        _ if start > 0 && start < model.floor => vec![("ERROR".to_owned(), String::new(), 410)],
        From::Back(_) => {
            let later = model.history.iter().filter(|(at, ..)| *at > start);
            later
                .filter_map(|change| Model::event(change, label))
                .collect()
        }
        From::State => {
            let matching = model
                .now
                .iter()
                .filter(|(_, (_, l))| label.is_none_or(|w| w == *l));
            let added =
                |(name, (at, _)): (&&str, &(u64, &str))| ("ADDED".into(), (*name).to_owned(), *at);
            matching.map(added).collect()
        }
    };
    Watcher {
        body: response.into_body(),
        form,
        label,
        wants,
    }
}

/// The events in what was received so far, and what is left of the bytes.
fn events(bytes: &[u8], form: usize) -> (Vec<(String, Value)>, usize) {
    let (mut found, mut at) = (Vec::new(), 0);
    if !FORMS[form].contains("protobuf") {
        while let Some(end) = bytes[at..].iter().position(|b| *b == b'\n') {
            let line: Value = serde_json::from_slice(&bytes[at..at + end]).expect("JSON");
            found.push((
                line["type"].as_str().expect("a type").to_owned(),
                line["object"].clone(),
            ));
            at += end + 1;
        }
        return (found, at);
    }
    while let Some(head) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(head.try_into().expect("four bytes")) as usize;
        let Some(frame) = bytes.get(at + 4..at + 4 + length) else {
            break;
        };
        let kind_end = 2 + usize::from(frame[1]);
        let kind = String::from_utf8(frame[2..kind_end].to_vec()).expect("a type");
        let start = frame
            .windows(4)
            .position(|w| w == b"k8s\0")
            .expect("an envelope");
        let envelope = protobuf::open(&frame[start..]).expect("an envelope");
        let (group, version) = envelope
            .api_version
            .split_once('/')
            .unwrap_or(("", &envelope.api_version));
        let ty = Schema::builtin()
            .kind(group, version, &envelope.kind)
            .expect("a kind");
        found.push((
            kind,
            protobuf::message(envelope.raw, ty).expect("a message"),
        ));
        at += 4 + length;
    }
    (found, at)
}

fn seen((kind, object): (String, Value)) -> Seen {
    if kind == "ERROR" {
        return (
            kind,
            String::new(),
            object["code"].as_u64().expect("a code"),
        );
    }
    let object = match object.get("rows") {
        Some(rows) => &rows[0]["object"],
        None => &object,
    };
    let name = object["metadata"]["name"].as_str().expect("a name");
    (kind, name.to_owned(), revision(object))
}

/// Reads as many events as there should be.
async fn read(watcher: &mut Watcher) -> Vec<Seen> {
    let (mut found, mut bytes) = (Vec::new(), Vec::new());
    while found.len() < watcher.wants.len() {
        let frame = tokio::time::timeout(PATIENCE, watcher.body.frame())
            .await
            .expect("not lost");
        let frame = frame.expect("goes on").expect("no error");
        bytes.extend_from_slice(frame.data_ref().expect("data"));
        let (more, used) = events(&bytes, watcher.form);
        bytes.drain(..used);
        found.extend(more.into_iter().map(seen));
    }
    found
}

async fn run(steps: Vec<Step>) {
    let served = Served::start().await;
    let mut model = Model::default();
    let mut watchers: Vec<Watcher> = Vec::new();
    let tell = |watchers: &mut Vec<Watcher>, model: &Model, from: usize| {
        for watcher in watchers
            .iter_mut()
            .filter(|w| w.wants.first().is_none_or(|s| s.0 != "ERROR"))
        {
            let changes = model.history[from..].iter();
            watcher
                .wants
                .extend(changes.filter_map(|change| Model::event(change, watcher.label)));
        }
    };
    // At the end each selector sees one more change, behind which nothing may come that was not expected.
    let last = LABELS.iter().enumerate().map(|(i, _)| Step::Put(i, i));
    let last: Vec<Step> = (0..LABELS.len()).map(Step::Delete).chain(last).collect();
    for step in steps.into_iter().chain(last) {
        let known = model.history.len();
        match step {
            Step::Put(name, label) => put(&served, &mut model, NAMES[name], LABELS[label]).await,
            Step::Delete(name) => delete(&served, &mut model, NAMES[name]).await,
            Step::Compact(back) => {
                let at = model.history.len().saturating_sub(back + 1);
                if let Some((at, ..)) = model.history.get(at) {
                    served.store.compact(*at);
                    model.floor = model.floor.max(*at);
                }
            }
            Step::Open { from, label, form } => {
                watchers.push(open(&served, &model, from, label, form).await);
            }
        }
        tell(&mut watchers, &model, known);
    }
    for watcher in &mut watchers {
        assert_eq!(
            read(watcher).await,
            watcher.wants,
            "{}",
            FORMS[watcher.form]
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_sees_each_change_once_and_in_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(run(steps));
    }
}

/// Many writers at once: no watcher misses, doubles or reorders anything, whenever it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_among_many_writers_end_with_the_state_that_a_list_shows() {
    const WRITES: usize = 30;
    let served = std::sync::Arc::new(Served::start().await);
    let writers = NAMES.map(|name| {
        let served = served.clone();
        tokio::spawn(async move {
            let mut model = Model::default();
            for i in 0..WRITES {
                put(&served, &mut model, name, LABELS[i % 2]).await;
            }
        })
    });
    let mut watchers = Vec::new();
    for form in (0..FORMS.len()).cycle().take(10) {
        let request = Request::builder()
            .uri(format!("{PATH}?watch=true&labelSelector=l%3Dy"))
            .header("accept", FORMS[form])
            .body(Full::default())
            .expect("a request");
        watchers.push((form, send(&served, request).await.into_body()));
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.expect("writes");
    }
    // The last write of each gave it the label that is selected.
    let list = write(
        &served,
        "GET",
        &format!("{PATH}?labelSelector=l%3Dy"),
        "application/json",
        json!({}),
    )
    .await;
    let want: BTreeMap<String, u64> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            (
                item["metadata"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
                revision(item),
            )
        })
        .collect();
    assert_eq!(want.len(), NAMES.len());
    for (form, mut body) in watchers {
        let (mut state, mut bytes, mut newest, mut initial) =
            (BTreeMap::new(), Vec::new(), 0, true);
        while state != want {
            let frame = tokio::time::timeout(PATIENCE, body.frame())
                .await
                .expect("not lost");
            bytes.extend_from_slice(
                frame
                    .expect("goes on")
                    .expect("no error")
                    .data_ref()
                    .expect("data"),
            );
            let (found, used) = events(&bytes, form);
            bytes.drain(..used);
            for (kind, name, at) in found.into_iter().map(seen) {
                // The initial state comes in the order of names; what follows, in the order of revisions.
                initial &= kind == "ADDED" && state.keys().all(|known| *known < name);
                assert!(initial || at > newest, "{kind} {name} {at} after {newest}");
                newest = newest.max(at);
                match kind.as_str() {
                    "DELETED" => assert!(state.remove(&name).is_some(), "{name} was told"),
                    "ADDED" => assert!(state.insert(name, at).is_none(), "told once"),
                    _ => assert!(state.insert(name, at).is_some(), "was told"),
                }
            }
        }
    }
}
