//! Fills a store by list and watch, for ever.
//!
//! A watch that ends is taken up again where it stopped; only a revision that
//! the server no longer has (410 Gone) costs a new list. When the server is
//! away the first retry comes after 50 ms, later ones after up to 1 s.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::StreamExt;
use karve_watch::Retry;
use kube::{
    Client, Resource,
    api::{ListParams, ObjectList, Request, WatchEvent, WatchParams},
    core::watch::Bookmark,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const LIST_DEADLINE: Duration = Duration::from_secs(30);
const LIST_PAGE: u32 = 500;
/// The server ends a watch after this time, the client a little later.
const WATCH_SECONDS: u32 = 290;

/// Where a reflector puts what it sees.
pub(crate) trait Sink<K>: Send + Sync {
    /// The whole state at `revision`.
    fn replace(&self, objects: Vec<K>, revision: u64);
    /// An object was added or changed.
    fn apply(&self, object: K);
    /// An object is gone; its resource version is that of the deletion.
    fn delete(&self, object: K);
    /// Nothing else happened up to `revision`.
    fn progress(&self, revision: u64);
}

/// Which objects to watch, and how much of each.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The collection, such as `/api/v1/pods`.
    pub(crate) path: String,
    pub(crate) fields: Option<String>,
    /// Ask for metadata only (`PartialObjectMetadata`).
    pub(crate) metadata_only: bool,
}

impl Selection {
    /// All objects of a kind.
    pub(crate) fn all<K: Resource<DynamicType = ()>>() -> Self {
        Self::within::<K>(None)
    }

    /// All objects of a kind in one namespace.
    pub(crate) fn within<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> Self {
        Self {
            path: K::url_path(&(), namespace),
            fields: None,
            metadata_only: false,
        }
    }

    /// Only objects of this name.
    pub(crate) fn named(self, name: &str) -> Self {
        self.with("metadata.name", name)
    }

    /// Only objects with this value of a selectable field.
    pub(crate) fn with(mut self, field: &str, value: &str) -> Self {
        self.fields = Some(format!("{field}={value}"));
        self
    }
}

/// Runs until shutdown.
pub(crate) async fn run<K>(
    client: Client,
    selection: Selection,
    sink: Arc<dyn Sink<K>>,
    shutdown: CancellationToken,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let follow = follow(&client, &selection, &*sink);
    shutdown.run_until_cancelled(follow).await;
}

async fn follow<K>(client: &Client, selection: &Selection, sink: &dyn Sink<K>)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut retry = Retry::default();
    loop {
        match list(client, selection).await {
            Ok((objects, version)) => {
                retry = Retry::default();
                sink.replace(objects, revision(&version));
                watch_from(client, selection, sink, version).await;
            }
            Err(err) => {
                tracing::debug!(
                    path = selection.path,
                    err = &err as &dyn std::error::Error,
                    "list failed"
                );
                sleep(retry.pause()).await;
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("list {path}")]
    List {
        path: String,
        #[source]
        source: kube::Error,
    },
    #[error("list {path}: no answer within {LIST_DEADLINE:?}")]
    ListDeadline { path: String },
}

async fn list<K>(client: &Client, selection: &Selection) -> Result<(Vec<K>, String), Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let path = || selection.path.clone();
    let mut params = ListParams {
        field_selector: selection.fields.clone(),
        limit: Some(LIST_PAGE),
        ..ListParams::default()
    };
    let mut objects = Vec::new();
    loop {
        let request = Request::new(path());
        let request = match selection.metadata_only {
            true => request.list_metadata(&params),
            false => request.list(&params),
        };
        let request = request.map_err(|err| Error::List {
            path: path(),
            source: kube::Error::BuildRequest(err),
        })?;
        let answer = timeout(LIST_DEADLINE, client.request::<ObjectList<K>>(request));
        let page = answer
            .await
            .map_err(|_| Error::ListDeadline { path: path() })?
            .map_err(|source| Error::List {
                path: path(),
                source,
            })?;
        objects.extend(page.items);
        let version = page.metadata.resource_version.unwrap_or_default();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok((objects, version)),
        }
    }
}

/// Follows the changes after `version`; returns when a new list is needed.
async fn watch_from<K>(
    client: &Client,
    selection: &Selection,
    sink: &dyn Sink<K>,
    mut version: String,
) where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut retry = Retry::default();
    loop {
        let started = Instant::now();
        match watch_once(client, selection, sink, &mut version).await {
            Ended::Gone => return,
            Ended::Lost(err) => {
                tracing::debug!(
                    path = selection.path,
                    err = &err as &dyn std::error::Error,
                    "watch lost"
                );
            }
            Ended::Closed => {}
        }
        if started.elapsed() > Retry::LONGEST {
            retry = Retry::default();
        }
        sleep(retry.pause()).await;
    }
}

enum Ended {
    /// The server no longer knows the revision.
    Gone,
    /// The time of the watch was over.
    Closed,
    Lost(kube::Error),
}

async fn watch_once<K>(
    client: &Client,
    selection: &Selection,
    sink: &dyn Sink<K>,
    version: &mut String,
) -> Ended
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let params = WatchParams {
        field_selector: selection.fields.clone(),
        timeout: Some(WATCH_SECONDS),
        bookmarks: true,
        ..WatchParams::default()
    };
    let request = Request::new(selection.path.clone());
    let request = match selection.metadata_only {
        true => request.watch_metadata(&params, version),
        false => request.watch(&params, version),
    };
    let request = match request {
        Ok(request) => request,
        Err(err) => return Ended::Lost(kube::Error::BuildRequest(err)),
    };
    let events = match client.request_events::<K>(request).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) if status.code == 410 => return Ended::Gone,
        Err(err) => return Ended::Lost(err),
    };
    let mut events = std::pin::pin!(events);
    let patience = Duration::from_secs(u64::from(WATCH_SECONDS) + 30);
    loop {
        let event = match timeout(patience, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(err))) => return Ended::Lost(err),
            Ok(None) | Err(_) => return Ended::Closed,
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                advance(version, &object);
                sink.apply(object);
            }
            WatchEvent::Deleted(object) => {
                advance(version, &object);
                sink.delete(object);
            }
            WatchEvent::Bookmark(Bookmark { metadata, .. }) => {
                *version = metadata.resource_version;
                sink.progress(revision(version));
            }
            WatchEvent::Error(status) if status.code == 410 => return Ended::Gone,
            WatchEvent::Error(status) => return Ended::Lost(kube::Error::Api(status)),
        }
    }
}

fn revision(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

fn advance<K: Resource>(version: &mut String, object: &K) {
    if let Some(newer) = &object.meta().resource_version {
        version.clone_from(newer);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use http::{Request as HttpRequest, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    use super::*;

    /// Notes what it is told, in short.
    struct Notes(mpsc::UnboundedSender<String>);

    impl Sink<ConfigMap> for Notes {
        fn replace(&self, objects: Vec<ConfigMap>, revision: u64) {
            let names: Vec<_> = objects
                .into_iter()
                .filter_map(|one| one.metadata.name)
                .collect();
            let _ = self.0.send(format!("list {} @{revision}", names.join(",")));
        }

        fn apply(&self, object: ConfigMap) {
            let _ = self
                .0
                .send(format!("apply {}", object.metadata.name.unwrap()));
        }

        fn delete(&self, object: ConfigMap) {
            let _ = self
                .0
                .send(format!("delete {}", object.metadata.name.unwrap()));
        }

        fn progress(&self, revision: u64) {
            let _ = self.0.send(format!("progress @{revision}"));
        }
    }

    fn map(name: &str, revision: u64) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": revision.to_string()}})
    }

    fn list(names: &[(&str, u64)], revision: u64, more: &str) -> (u16, Value) {
        let items: Vec<_> = names
            .iter()
            .map(|(name, revision)| map(name, *revision))
            .collect();
        let meta = json!({"resourceVersion": revision.to_string(), "continue": more});
        (
            200,
            json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": meta, "items": items}),
        )
    }

    fn event(kind: &str, object: Value) -> Value {
        json!({"type": kind, "object": object})
    }

    fn gone() -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old"})
    }

    /// A server that gives these answers in order, then no more; returns what
    /// it was asked for.
    fn server(answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let query = request.uri().query().unwrap_or_default();
            let part = |name: &str| {
                let mut parts = query.split('&');
                parts
                    .find(|part| part.starts_with(name))
                    .unwrap_or_default()
                    .to_owned()
            };
            let short = [part("watch"), part("resourceVersion"), part("continue")].concat();
            log.lock().push(short);
            let answer = answers.lock().pop_front();
            async move {
                let Some((status, value)) = answer else {
                    std::future::pending::<()>().await;
                    unreachable!("it waits for ever");
                };
                let lines = match value {
                    Value::Array(events) => events.iter().map(|one| format!("{one}\n")).collect(),
                    value => value.to_string(),
                };
                let body = Body::from(lines.into_bytes());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        (Client::new(service, "default"), asked)
    }

    async fn follow_answers(answers: Vec<(u16, Value)>, told: usize) -> (Vec<String>, Vec<String>) {
        let requests = answers.len() + 1;
        let (client, asked) = server(answers);
        let (notes, mut heard) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let selection = Selection::all::<ConfigMap>();
        let running = tokio::spawn(run(
            client,
            selection,
            Arc::new(Notes(notes)),
            shutdown.clone(),
        ));
        let mut notes = Vec::new();
        for _ in 0..told {
            notes.push(heard.recv().await.unwrap());
        }
        while asked.lock().len() < requests {
            sleep(Duration::from_millis(1)).await;
        }
        shutdown.cancel();
        running.await.unwrap();
        let asked = asked.lock().clone();
        (notes, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_is_taken_up_where_it_stopped() {
        let bookmark = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"resourceVersion": "9"}});
        let answers = vec![
            list(&[("a", 3)], 5, ""),
            (
                200,
                json!([event("ADDED", map("b", 6)), event("DELETED", map("a", 7))]),
            ),
            (200, json!([event("BOOKMARK", bookmark)])),
        ];
        let (notes, asked) = follow_answers(answers, 4).await;
        assert_eq!(notes, ["list a @5", "apply b", "delete a", "progress @9"]);
        let versions = [
            "resourceVersion=5",
            "resourceVersion=7",
            "resourceVersion=9",
        ];
        assert_eq!(
            asked[1..],
            versions.map(|version| format!("watch=true{version}"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_that_is_gone_costs_a_new_list() {
        let answers = vec![
            list(&[("a", 3)], 5, ""),
            (200, json!([event("ERROR", gone())])),
            list(&[("b", 8)], 8, ""),
            (410, gone()),
            list(&[("c", 9)], 9, ""),
        ];
        let (notes, _) = follow_answers(answers, 3).await;
        assert_eq!(notes, ["list a @5", "list b @8", "list c @9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_list_is_read_in_pages_and_a_failed_one_again() {
        let unavailable = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": 503, "reason": "ServiceUnavailable", "message": "not now"});
        let answers = vec![
            (503, unavailable),
            list(&[("a", 3)], 5, "next"),
            list(&[("b", 4)], 5, ""),
        ];
        let (notes, asked) = follow_answers(answers, 1).await;
        assert_eq!(notes, ["list a,b @5"]);
        assert_eq!(asked[2], "continue=next");
    }
}
