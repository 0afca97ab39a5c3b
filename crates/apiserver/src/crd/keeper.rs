//! The task that follows the definitions.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use karve_api::apply::{self, FieldSet, Writer};
use karve_api::crd::conditions;
use karve_api::crd::definition::is_condition_true;
use karve_api::schema::tidy;
use karve_store::{Event, Op, Range, Store, Watch};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Definitions, FINALIZER, PREFIX, finalize, name_of, resource};
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write;

/// Follows the definitions and serves their resources.
pub struct Keeper {
    definitions: Definitions,
    watch: Watch,
    /// The definitions whose status may not be what it should be.
    dirty: BTreeSet<String>,
    /// Definitions that are being emptied.
    ending: BTreeSet<String>,
}

impl Keeper {
    /// Reads the definitions, so that what they define is served at once.
    pub fn new(server: &Server) -> Keeper {
        let (definitions, watch) = read(&server.store);
        server.serve_table(definitions.table());
        Keeper {
            dirty: definitions.0.keys().cloned().collect(),
            ending: BTreeSet::new(),
            definitions,
            watch,
        }
    }

    /// Goes on until the server ends.
    pub async fn run(mut self, server: Arc<Server>) {
        let shutdown = server.options.shutdown.clone();
        let mut tasks = JoinSet::new();
        loop {
            self.settle(&server, &mut tasks).await;
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = tasks.join_next() => {
                    if let Ok(name) = ended {
                        self.ending.remove(&name);
                        // What could not be emptied now is tried again at its next change.
                    }
                    continue;
                }
                change = self.watch.next() => change,
            };
            match change {
                Ok(Some(event)) => self.take_in_all(&server, &event),
                Ok(None) => return,
                Err(karve_store::Lagged) => {
                    let ending = std::mem::take(&mut self.ending);
                    self = Keeper::new(&server);
                    self.ending = ending;
                }
            }
        }
    }

    fn take_in_all(&mut self, server: &Server, first: &Event) {
        self.take_in(first);
        while let Some(event) = self.watch.ready() {
            self.take_in(&event);
        }
        server.serve_table(self.definitions.table());
    }

    fn take_in(&mut self, event: &Event) {
        let name = name_of(event.key()).to_owned();
        let group = name
            .split_once('.')
            .map_or("", |(_, group)| group)
            .to_owned();
        match event.current() {
            Some(entry) => {
                self.definitions.put(entry);
                self.dirty.insert(name);
            }
            None => {
                self.definitions.0.remove(&name);
            }
        }
        // Others may have waited for names that are free now.
        let waiting = self.definitions.0.iter().filter(|(_, known)| {
            known.object["spec"]["group"] == group
                && !is_condition_true(&known.object, "NamesAccepted")
        });
        let waiting: Vec<String> = waiting.map(|(name, _)| name.clone()).collect();
        self.dirty.extend(waiting);
    }

    /// Brings every status to what it should be.
    async fn settle(&mut self, server: &Arc<Server>, tasks: &mut JoinSet<String>) {
        while let Some(name) = self.dirty.pop_first() {
            let Some(known) = self.definitions.0.get(&name) else {
                continue;
            };
            if known.object.is_deleting() {
                let ours = known.object.finalizers().contains(&FINALIZER);
                if ours && self.ending.insert(name.clone()) {
                    tasks.spawn(finalize::run(server.clone(), name));
                }
                continue;
            }
            let group = &known.object["spec"]["group"];
            let others = self.definitions.0.iter();
            let others = others.filter(|(n, k)| **n != name && k.object["spec"]["group"] == *group);
            let others = others.map(|(_, known)| &known.object);
            if let Some(status) = conditions::status(&known.object, others, Timestamp::now()) {
                self.write(server, &name, status).await;
            }
        }
    }

    /// Writes a status; a definition that somebody else changed meanwhile comes again by itself.
    async fn write(&mut self, server: &Server, name: &str, status: Value) {
        let Some(known) = self.definitions.0.get_mut(name) else {
            return;
        };
        let next = with_status(&known.object, status);
        let key = format!("{PREFIX}{name}");
        let op = Op::update(key, known.revision, object::encode(&next, resource()));
        match server.store.commit(vec![op]).await {
            // Names that are taken now are taken for those that come next.
            Ok(_) => known.object["status"] = next["status"].clone(),
            Err(karve_store::Error::Conflict { .. }) => {}
            Err(err) => {
                let err: &dyn std::error::Error = &err;
                tracing::warn!(definition = name, err, "status not written");
            }
        }
    }
}

fn read(store: &Store) -> (Definitions, Watch) {
    let range = Range {
        prefix: PREFIX,
        ..Range::default()
    };
    let (page, watch) = store
        .range_and_watch(&range)
        .expect("the present is always readable");
    let mut definitions = Definitions::default();
    page.entries.iter().for_each(|entry| definitions.put(entry));
    (definitions, watch)
}

/// A definition with another status, written as upstream's controllers write it.
pub(super) fn with_status(definition: &Value, status: Value) -> Value {
    let mut next = definition.clone();
    next["status"] = status;
    let Some(ty) = resource().stored_type() else {
        return next;
    };
    tidy::tidy(&mut next, ty);
    let reset = FieldSet::of_names(&[&["spec"]]);
    let time = write::now();
    let writer = Writer {
        manager: "kube-apiserver",
        api_version: "apiextensions.k8s.io/v1",
        subresource: "status",
        time: &time,
        reset: &reset,
    };
    apply::update_managers(Some(definition), &mut next, ty, &writer);
    next
}
