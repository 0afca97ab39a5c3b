//! The metadata of every object of every kind: who owns whom.
//!
//! Kinds that others watch anyway are followed through their stores; of all
//! other kinds only metadata is watched, and of that only what ownership needs
//! is kept. Events are left out: nobody owns them, and they are many.
//!
//! Kinds are those that the server names when the control plane starts; kinds
//! that custom resource definitions add later are not followed yet.

mod graph;
mod resource;

use std::{fmt, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use karve_watch::Retry;
use kube::{
    Client, Resource as _,
    core::{DynamicObject, PartialObjectMeta},
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

pub(super) use self::{
    graph::{FOREGROUND, Graph, ORPHAN, Object},
    resource::Resource,
};
use crate::watch::{Kinds, Selection, Sink, Store, reflector};

/// One change of the inventory.
pub(super) struct Observed<'a> {
    pub(super) object: &'a Object,
    pub(super) gone: bool,
}

type Handler = Box<dyn Fn(&Graph, Observed<'_>) + Send + Sync>;

/// All kinds, and all objects of all kinds.
pub(super) struct Inventory {
    pub(super) resources: Vec<Resource>,
    pub(super) graph: Mutex<Graph>,
    handlers: Mutex<Vec<Handler>>,
    /// Kinds whose first list is not in yet.
    missing: watch::Sender<usize>,
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory")
            .field("kinds", &self.resources.len())
            .finish_non_exhaustive()
    }
}

impl Inventory {
    /// Asks the server for its kinds, until it answers.
    pub(super) async fn discover(client: &Client) -> Arc<Self> {
        let mut retry = Retry::default();
        let resources = loop {
            match resource::discover(client).await {
                Ok(resources) => break resources,
                Err(err) => {
                    tracing::debug!(err = &err as &dyn std::error::Error, "discovery failed");
                    sleep(retry.pause()).await;
                }
            }
        };
        Arc::new(Self {
            missing: watch::Sender::new(resources.len()),
            resources,
            graph: Mutex::default(),
            handlers: Mutex::default(),
        })
    }

    /// Calls `handler` on every later change, while the graph is locked.
    pub(super) fn subscribe(&self, handler: impl Fn(&Graph, Observed<'_>) + Send + Sync + 'static) {
        self.handlers.lock().push(Box::new(handler));
    }

    /// Follows all kinds.
    pub(super) fn start(
        self: &Arc<Self>,
        client: &Client,
        kinds: &Kinds,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        for (number, resource) in self.resources.iter().enumerate() {
            match (resource.group.as_str(), resource.kind.as_str()) {
                ("", "Pod") => self.follow(number, &kinds.pods),
                ("", "Service") => self.follow(number, &kinds.services),
                ("", "Endpoints") => self.follow(number, &kinds.endpoints),
                ("", "Node") => self.follow(number, &kinds.nodes),
                ("", "Namespace") => self.follow(number, &kinds.namespaces),
                ("apps", "ReplicaSet") => self.follow(number, &kinds.replica_sets),
                ("apps", "Deployment") => self.follow(number, &kinds.deployments),
                ("discovery.k8s.io", "EndpointSlice") => {
                    self.follow(number, &kinds.endpoint_slices)
                }
                _ => {
                    let sink = Arc::new(Follower {
                        inventory: Arc::clone(self),
                        resource: number,
                        synced: Mutex::new(false),
                    });
                    let selection = Selection {
                        path: resource.path(None),
                        fields: None,
                        metadata_only: true,
                    };
                    let sink: Arc<dyn Sink<PartialObjectMeta<DynamicObject>>> = sink;
                    let client = client.clone();
                    tasks.spawn(reflector::run(client, selection, sink, shutdown.clone()));
                }
            }
        }
    }

    /// Follows a store that has been filled.
    fn follow<K>(self: &Arc<Self>, resource: usize, store: &Arc<Store<K>>)
    where
        K: kube::Resource + Clone + Send + Sync + 'static,
    {
        let inventory = Arc::clone(self);
        store.subscribe(move |change| match (change.old, change.new) {
            (_, Some(new)) => inventory.apply(resource, new.meta()),
            (Some(old), None) => inventory.remove(old.meta()),
            (None, None) => {}
        });
        self.note_synced();
    }

    fn note_synced(&self) {
        self.missing.send_modify(|missing| *missing -= 1);
    }

    /// Returns once all kinds are known as far as their first list.
    pub(super) async fn synced(&self) {
        let mut missing = self.missing.subscribe();
        // The sender lives as long as `self`: the wait can only succeed.
        let _ = missing.wait_for(|missing| *missing == 0).await;
    }

    /// The kind that an owner reference names; any version of it will do.
    pub(super) fn resource_of(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let mut resources = self.resources.iter();
        resources.find(|resource| resource.group == group && resource.kind == kind)
    }

    fn apply(&self, resource: usize, meta: &ObjectMeta) {
        let mut graph = self.graph.lock();
        let before = meta.uid.as_deref().and_then(|uid| graph.get(uid));
        if before.is_some_and(|before| before.is_as(meta)) {
            return;
        }
        let object = Object::new(resource, meta);
        let handlers = self.handlers.lock();
        graph.insert(object.clone());
        for handler in handlers.iter() {
            let object = &object;
            handler(
                &graph,
                Observed {
                    object,
                    gone: false,
                },
            );
        }
    }

    fn remove(&self, meta: &ObjectMeta) {
        let mut graph = self.graph.lock();
        let uid = meta.uid.as_deref().unwrap_or_default();
        let Some(object) = graph.remove(uid) else {
            return;
        };
        for handler in self.handlers.lock().iter() {
            let object = &object;
            handler(&graph, Observed { object, gone: true });
        }
    }
}

/// Takes in the metadata of one kind.
struct Follower {
    inventory: Arc<Inventory>,
    resource: usize,
    synced: Mutex<bool>,
}

impl Sink<PartialObjectMeta<DynamicObject>> for Follower {
    fn replace(&self, objects: Vec<PartialObjectMeta<DynamicObject>>, _revision: u64) {
        let listed = objects
            .iter()
            .filter_map(|object| object.metadata.uid.clone())
            .collect();
        let gone = self.inventory.graph.lock().others(self.resource, &listed);
        for uid in gone {
            let meta = ObjectMeta {
                uid: Some(uid),
                ..ObjectMeta::default()
            };
            self.inventory.remove(&meta);
        }
        objects.into_iter().for_each(|object| self.apply(object));
        if !std::mem::replace(&mut *self.synced.lock(), true) {
            self.inventory.note_synced();
        }
    }

    fn apply(&self, object: PartialObjectMeta<DynamicObject>) {
        self.inventory.apply(self.resource, object.meta());
    }

    fn delete(&self, object: PartialObjectMeta<DynamicObject>) {
        self.inventory.remove(object.meta());
    }

    fn progress(&self, _revision: u64) {}
}

/// A graph of objects of one kind.
#[cfg(test)]
pub(super) fn graph_of(objects: &[ObjectMeta]) -> Graph {
    let mut graph = Graph::default();
    objects
        .iter()
        .for_each(|meta| graph.insert(Object::new(0, meta)));
    graph
}
