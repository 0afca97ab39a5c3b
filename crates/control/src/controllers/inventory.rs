//! The metadata of every object of every kind: who owns whom.
//!
//! Kinds that others watch anyway are followed through their stores; of all
//! other kinds only metadata is watched, and of that only what ownership needs
//! is kept. Events are left out: nobody owns them, and they are many.
//!
//! Kinds come and go: whenever a CustomResourceDefinition or an APIService changes, the server is asked again
//! for what it has. A kind that is gone takes its objects along.

mod change;
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
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::change::{Followed, change};
pub(super) use self::{
    graph::{FOREGROUND, Graph, ORPHAN, Object},
    resource::{Discovered, Resource, discover},
};
use crate::watch::{Kinds, Selection, Sink, Store, reflector};

/// One change of the inventory.
pub(super) struct Observed<'a> {
    pub(super) object: &'a Object,
    /// What it was before, if it was.
    pub(super) before: Option<&'a Object>,
    pub(super) gone: bool,
}

type Handler = Box<dyn Fn(&Graph, Observed<'_>) + Send + Sync>;

/// All kinds, and all objects of all kinds.
pub(super) struct Inventory {
    /// By number; numbers of kinds that are gone are not used again.
    kinds: Mutex<Vec<Followed>>,
    pub(super) graph: Mutex<Graph>,
    handlers: Mutex<Vec<Handler>>,
    newcomers: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    /// Kinds whose first list is not in yet.
    missing: watch::Sender<usize>,
    /// The server may have other kinds now.
    stale: Notify,
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory")
            .field("kinds", &self.kinds.lock().len())
            .finish_non_exhaustive()
    }
}

impl Inventory {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            kinds: Mutex::default(),
            graph: Mutex::default(),
            handlers: Mutex::default(),
            newcomers: Mutex::default(),
            missing: watch::Sender::new(0),
            stale: Notify::new(),
        })
    }

    /// Calls `handler` whenever there are new kinds.
    pub(super) fn subscribe_to_kinds(&self, handler: impl Fn() + Send + Sync + 'static) {
        self.newcomers.lock().push(Box::new(handler));
    }

    /// Calls `handler` on every later change, while the graph is locked.
    pub(super) fn subscribe(&self, handler: impl Fn(&Graph, Observed<'_>) + Send + Sync + 'static) {
        self.handlers.lock().push(Box::new(handler));
    }

    /// Follows the kinds that the server has now. Returns when these are known; the first lists come later.
    pub(super) async fn start(
        self: &Arc<Self>,
        client: &Client,
        shared: &Kinds,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let found = ask(client).await;
        self.follow_all(found, client, shared, tasks, shutdown);
    }

    /// Keeps up with the kinds that the server has, until shutdown.
    pub(super) async fn keep_up(
        self: Arc<Self>,
        client: Client,
        shared: Kinds,
        shutdown: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = self.stale.notified() => {
                    let asked = shutdown.run_until_cancelled(ask(&client)).await;
                    let Some(found) = asked else { return };
                    self.follow_all(found, &client, &shared, &mut tasks, &shutdown);
                }
                Some(ended) = tasks.join_next() => if let Err(err) = ended {
                    std::panic::resume_unwind(err.into_panic());
                },
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn follow_all(
        self: &Arc<Self>,
        found: Discovered,
        client: &Client,
        shared: &Kinds,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let followable = found
            .resources
            .into_iter()
            .filter(Resource::is_followed)
            .collect();
        let change = change(&self.kinds.lock(), followable, &found.failed);
        for number in change.gone {
            self.forget(number);
        }
        let came = !change.new.is_empty();
        for resource in change.new {
            let stop = shutdown.child_token();
            let followed = Followed::new(resource, stop);
            let number = {
                let mut kinds = self.kinds.lock();
                kinds.push(followed.clone());
                kinds.len() - 1
            };
            self.missing.send_modify(|missing| *missing += 1);
            self.follow_kind(number, &followed, client, shared, tasks);
        }
        if came {
            self.newcomers.lock().iter().for_each(|handler| handler());
        }
    }

    /// Stops following a kind that the server no longer has.
    fn forget(&self, number: usize) {
        let followed = self.kinds.lock()[number].clone();
        followed.stop.cancel();
        self.note_synced(&followed);
        let objects = self.graph.lock().others(number, &Default::default());
        objects.iter().for_each(|uid| self.remove(&uid_only(uid)));
    }

    fn follow_kind(
        self: &Arc<Self>,
        number: usize,
        followed: &Followed,
        client: &Client,
        shared: &Kinds,
        tasks: &mut JoinSet<()>,
    ) {
        let resource = &followed.resource;
        match (resource.group.as_str(), resource.kind.as_str()) {
            ("", "Pod") => self.follow(number, &shared.pods),
            ("", "Service") => self.follow(number, &shared.services),
            ("", "Endpoints") => self.follow(number, &shared.endpoints),
            ("", "Node") => self.follow(number, &shared.nodes),
            ("", "Namespace") => self.follow(number, &shared.namespaces),
            ("", "ReplicationController") => self.follow(number, &shared.replication_controllers),
            ("", "ResourceQuota") => self.follow(number, &shared.resource_quotas),
            ("policy", "PodDisruptionBudget") => self.follow(number, &shared.disruption_budgets),
            ("apps", "ReplicaSet") => self.follow(number, &shared.replica_sets),
            ("apps", "Deployment") => self.follow(number, &shared.deployments),
            ("discovery.k8s.io", "EndpointSlice") => self.follow(number, &shared.endpoint_slices),
            _ => {
                let selection = Selection {
                    path: resource.path(None),
                    fields: None,
                    metadata_only: true,
                };
                let sink = Arc::new(Follower {
                    inventory: Arc::clone(self),
                    number,
                    followed: followed.clone(),
                });
                let sink: Arc<dyn Sink<PartialObjectMeta<DynamicObject>>> = sink;
                tasks.spawn(reflector::run(
                    client.clone(),
                    selection,
                    sink,
                    followed.stop.clone(),
                ));
            }
        }
    }

    /// Follows a store that has been filled. Such kinds are built in and never go.
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
        let followed = self.kinds.lock()[resource].clone();
        self.note_synced(&followed);
    }

    fn note_synced(&self, followed: &Followed) {
        if followed.note_synced() {
            self.missing.send_modify(|missing| *missing -= 1);
        }
    }

    /// Returns once all kinds are known as far as their first list.
    pub(super) async fn synced(&self) {
        let mut missing = self.missing.subscribe();
        // The sender lives as long as `self`: the wait can only succeed.
        let _ = missing.wait_for(|missing| *missing == 0).await;
    }

    /// The kind with this number.
    pub(super) fn resource(&self, number: usize) -> Arc<Resource> {
        Arc::clone(&self.kinds.lock()[number].resource)
    }

    /// The kind that an owner reference names; any version of it will do.
    pub(super) fn resource_of(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let kinds = self.kinds.lock();
        let mut living = kinds
            .iter()
            .filter(|followed| !followed.stop.is_cancelled());
        let found = living
            .find(|followed| followed.resource.group == group && followed.resource.kind == kind);
        found.map(|followed| Arc::clone(&followed.resource))
    }

    /// The kind of that name; any version of it will do.
    pub(super) fn resource_named(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        let kinds = self.kinds.lock();
        let mut living = kinds
            .iter()
            .filter(|followed| !followed.stop.is_cancelled());
        let found = living.find(|followed| {
            followed.resource.group == group && followed.resource.plural == plural
        });
        found.map(|followed| Arc::clone(&followed.resource))
    }

    /// True if all changes of objects of this kind are told.
    pub(super) fn follows(&self, resource: &Resource) -> bool {
        let kinds = self.kinds.lock();
        kinds.iter().any(|followed| {
            let known = &followed.resource;
            (&known.group, &known.plural) == (&resource.group, &resource.plural)
                && !followed.stop.is_cancelled()
        })
    }

    fn apply(&self, resource: usize, meta: &ObjectMeta) {
        let mut graph = self.graph.lock();
        let before = meta.uid.as_deref().and_then(|uid| graph.get(uid)).cloned();
        if before.as_ref().is_some_and(|before| before.is_as(meta)) {
            return;
        }
        let object = Object::new(resource, meta);
        graph.insert(object.clone());
        for handler in self.handlers.lock().iter() {
            let observed = Observed {
                object: &object,
                before: before.as_ref(),
                gone: false,
            };
            handler(&graph, observed);
        }
    }

    fn remove(&self, meta: &ObjectMeta) {
        let mut graph = self.graph.lock();
        let uid = meta.uid.as_deref().unwrap_or_default();
        let Some(object) = graph.remove(uid) else {
            return;
        };
        for handler in self.handlers.lock().iter() {
            let observed = Observed {
                object: &object,
                before: Some(&object),
                gone: true,
            };
            handler(&graph, observed);
        }
    }
}

/// Asks the server for its kinds, until it answers.
async fn ask(client: &Client) -> Discovered {
    let mut retry = Retry::default();
    loop {
        match discover(client).await {
            Ok(found) => return found,
            Err(err) => {
                tracing::debug!(err = &err as &dyn std::error::Error, "discovery failed");
                sleep(retry.pause()).await;
            }
        }
    }
}

fn uid_only(uid: &str) -> ObjectMeta {
    ObjectMeta {
        uid: Some(uid.to_owned()),
        ..ObjectMeta::default()
    }
}

/// Takes in the metadata of one kind.
struct Follower {
    inventory: Arc<Inventory>,
    number: usize,
    followed: Followed,
}

impl Follower {
    /// Kinds come from objects of two kinds.
    fn note_kinds(&self) {
        if self.followed.resource.makes_kinds() {
            self.inventory.stale.notify_one();
        }
    }
}

impl Sink<PartialObjectMeta<DynamicObject>> for Follower {
    fn replace(&self, objects: Vec<PartialObjectMeta<DynamicObject>>, _revision: u64) {
        let listed = objects
            .iter()
            .filter_map(|object| object.metadata.uid.clone())
            .collect();
        let gone = self.inventory.graph.lock().others(self.number, &listed);
        gone.iter()
            .for_each(|uid| self.inventory.remove(&uid_only(uid)));
        for object in objects {
            self.inventory.apply(self.number, object.meta());
        }
        self.inventory.note_synced(&self.followed);
        self.note_kinds();
    }

    fn apply(&self, object: PartialObjectMeta<DynamicObject>) {
        self.inventory.apply(self.number, object.meta());
        self.note_kinds();
    }

    fn delete(&self, object: PartialObjectMeta<DynamicObject>) {
        self.inventory.remove(object.meta());
        self.note_kinds();
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
