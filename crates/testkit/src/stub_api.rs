//! An API server for tests of clients: collections that a test fills, lists and watches of them, and
//! every write handed to the test. It validates nothing and selects nothing.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A write that a client sent.
#[derive(Debug)]
pub struct Write {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
}

type Frames = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<(String, String), Value>,
    /// All changes with their revisions, so that a watch gets what came after its list.
    log: Vec<(u64, Bytes)>,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
}

#[derive(Debug, Default)]
struct Collections {
    revision: u64,
    by_path: HashMap<String, Collection>,
}

/// The server. Clones are the same server.
#[derive(Debug, Clone)]
pub struct StubApi {
    collections: Arc<Mutex<Collections>>,
    writes: mpsc::UnboundedSender<Write>,
}

impl StubApi {
    /// An empty server, and where the writes of its clients come out.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Write>) {
        let (writes, written) = mpsc::unbounded_channel();
        (
            Self {
                collections: Arc::default(),
                writes,
            },
            written,
        )
    }

    /// A client of the server, without a socket.
    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Makes or replaces an object of the collection at `path`, such as `/api/v1/services`.
    pub fn set(&self, path: &str, mut object: Value) {
        let mut collections = self.lock();
        collections.revision += 1;
        let revision = collections.revision;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let collection = collections.by_path.entry(path.to_owned()).or_default();
        let known = collection.objects.insert(key(&object), object.clone());
        collection.tell(
            revision,
            if known.is_some() { "MODIFIED" } else { "ADDED" },
            &object,
        );
    }

    /// Deletes an object.
    pub fn delete(&self, path: &str, namespace: &str, name: &str) {
        let mut collections = self.lock();
        collections.revision += 1;
        let revision = collections.revision;
        let collection = collections.by_path.entry(path.to_owned()).or_default();
        if let Some(mut object) = collection
            .objects
            .remove(&(namespace.to_owned(), name.to_owned()))
        {
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
            collection.tell(revision, "DELETED", &object);
        }
    }

    /// Ends all watches, as a server does that goes away.
    pub fn end_watches(&self) {
        self.lock()
            .by_path
            .values_mut()
            .for_each(|collection| collection.watches.clear());
    }

    fn lock(&self) -> MutexGuard<'_, Collections> {
        self.collections
            .lock()
            .expect("no test panics while it holds the lock")
    }

    async fn answer(
        &self,
        request: Request<Body>,
    ) -> Result<Response<StreamBody<Frames>>, kube::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        if head.method != Method::GET {
            let bytes = body.collect().await?.to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let answer = once(body.to_string());
            // A test that ended no longer listens.
            let _ = self.writes.send(Write {
                method: head.method,
                path,
                body,
            });
            return Ok(Response::new(answer));
        }
        let query = head.uri.query().unwrap_or_default();
        let mut collections = self.lock();
        let revision = collections.revision;
        let collection = collections.by_path.entry(path).or_default();
        if query.contains("watch=true") {
            let (events, told) = mpsc::unbounded_channel();
            let since = parameter(query, "resourceVersion")
                .and_then(|r| r.parse().ok())
                .unwrap_or(0);
            for (_, line) in collection
                .log
                .iter()
                .filter(|(revision, _)| *revision > since)
            {
                events
                    .send(line.clone())
                    .expect("the receiver is right here");
            }
            collection.watches.push(events);
            let told = stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) });
            return Ok(Response::new(StreamBody::new(
                told.map(Frame::data).map(Ok).boxed(),
            )));
        }
        let items: Vec<_> = collection.objects.values().collect();
        let metadata = json!({"resourceVersion": revision.to_string()});
        let list =
            json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
        Ok(Response::new(once(list.to_string())))
    }
}

impl Collection {
    fn tell(&mut self, revision: u64, kind: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({"type": kind, "object": object})));
        self.log.push((revision, line.clone()));
        self.watches
            .retain(|watch| watch.send(line.clone()).is_ok());
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, v)| v)
}

fn key(object: &Value) -> (String, String) {
    let part = |name: &str| {
        object["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (part("namespace"), part("name"))
}

fn once(text: String) -> StreamBody<Frames> {
    let frame = Frame::data(Bytes::from(text));
    StreamBody::new(stream::once(async { Ok(frame) }).boxed())
}
