//! What the cluster showed: every state of every object of the watched kinds, in the order of its watches.
//!
//! Invariant: one watch per kind for the whole run, opened before the first scenario; waiting for something is waiting
//! for the journal to grow. A watch that ends ends the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, bail};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;

use super::kinds::{KINDS, Kind};
use crate::recorded::client::Client;

/// An object, from its creation to its end.
#[derive(Debug, Clone)]
pub struct Life {
    /// The kind's name.
    pub kind: &'static str,
    /// Empty for cluster objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// All states, oldest first.
    pub states: Vec<Value>,
    /// Whether it is gone.
    pub deleted: bool,
    /// Its place in the order of creation.
    pub number: usize,
}

impl Life {
    /// The newest state.
    pub fn last(&self) -> &Value {
        self.states.last().unwrap_or(&Value::Null)
    }
}

#[derive(Default)]
struct Lives {
    by_namespace: BTreeMap<String, Vec<Life>>,
    count: usize,
}

/// The journal; clones share it.
#[derive(Clone)]
pub struct Journal {
    lives: Arc<Mutex<Lives>>,
    grown: Arc<watch::Sender<u64>>,
}

impl Journal {
    /// Opens the watches. The journal is complete from the state of now on.
    pub async fn open(
        client: &Client,
        request: impl Fn(&str) -> Result<Request<Full<bytes::Bytes>>>,
    ) -> Result<Self> {
        let journal = Self::new();
        for kind in KINDS {
            let path = format!("{}?watch=true&timeoutSeconds=36000", kind.path("", ""));
            let response = client.open(request(&path)?).await?;
            let status = response.status();
            if !status.is_success() {
                bail!("watch {}: {status}", kind.plural);
            }
            let (journal, body) = (journal.clone(), response.into_body());
            tokio::spawn(async move { journal.follow(kind, body).await });
        }
        Ok(journal)
    }

    fn new() -> Self {
        Self {
            lives: Arc::default(),
            grown: Arc::new(watch::Sender::new(0)),
        }
    }

    async fn follow(self, kind: Kind, mut body: Incoming) {
        let mut text: Vec<u8> = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                match serde_json::from_slice::<Value>(&line) {
                    Ok(mut event) => {
                        let object = event["object"].take();
                        self.note(kind, event["type"].as_str().unwrap_or_default(), object);
                    }
                    Err(error) => eprintln!("xtask: watch of {}: {error}", kind.plural),
                }
            }
        }
        // Nobody waits any more when the run is over.
        eprintln!("xtask: the watch of {} ended", kind.plural);
    }

    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().expect("nothing panics with it")
    }

    fn note(&self, kind: Kind, change: &str, mut object: Value) {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        self.lives().note(kind, change, object);
        self.grown.send_modify(|count| *count += 1);
    }

    /// What is in a Namespace, or among the cluster's objects, in order of creation.
    pub fn within(&self, namespace: &str) -> Vec<Life> {
        self.lives()
            .by_namespace
            .get(namespace)
            .cloned()
            .unwrap_or_default()
    }

    /// Looks at a Namespace each time that something changes, until the answer is one.
    pub async fn until<T>(
        &self,
        namespace: &str,
        mut look: impl FnMut(&[Life]) -> Option<T>,
    ) -> Result<T> {
        let mut grown = self.grown.subscribe();
        loop {
            grown.borrow_and_update();
            let found = {
                let lives = self.lives();
                look(
                    lives
                        .by_namespace
                        .get(namespace)
                        .map(Vec::as_slice)
                        .unwrap_or_default(),
                )
            };
            match found {
                Some(found) => return Ok(found),
                None => grown.changed().await.context("follow the watches")?,
            }
        }
    }
}

impl Lives {
    fn note(&mut self, kind: Kind, change: &str, object: Value) {
        let text = |name: &str| {
            object["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let (namespace, name, uid) = (text("namespace"), text("name"), text("uid"));
        let lives = self.by_namespace.entry(namespace.clone()).or_default();
        let same = |life: &&mut Life| {
            life.kind == kind.name && life.name == name && life.last()["metadata"]["uid"] == *uid
        };
        let known = lives.iter_mut().find(same);
        let life = match (known, change) {
            (Some(life), _) => life,
            (None, "ADDED" | "MODIFIED") => {
                self.count += 1;
                lives.push(Life {
                    kind: kind.name,
                    namespace,
                    name,
                    states: Vec::new(),
                    deleted: false,
                    number: self.count,
                });
                lives.last_mut().expect("one was added")
            }
            // A bookmark, or the end of what was never seen.
            (None, _) => return,
        };
        match change {
            "ADDED" | "MODIFIED" => life.states.push(object),
            "DELETED" => {
                // As a watch shows it: the last state may be new, too.
                life.states.push(object);
                life.deleted = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_comes_back_is_another_life() {
        let journal = Journal::new();
        let kind = Kind::of("ConfigMap").unwrap();
        let object = |uid: &str, data: &str| json!({"metadata": {"name": "c", "namespace": "ns", "uid": uid}, "data": data});
        journal.note(kind, "ADDED", object("1", "a"));
        journal.note(kind, "MODIFIED", object("1", "b"));
        journal.note(kind, "DELETED", object("1", "b"));
        journal.note(kind, "ADDED", object("2", "c"));
        let lives = journal.within("ns");
        let shown: Vec<_> = lives
            .iter()
            .map(|life| (life.states.len(), life.deleted))
            .collect();
        assert_eq!(shown, [(3, true), (1, false)]);
        assert!(journal.within("other").is_empty());
    }
}
