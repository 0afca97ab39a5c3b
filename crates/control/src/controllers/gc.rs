//! The garbage collector: what nobody owns any more goes.
//!
//! An object whose owners are all gone is deleted. An object that is deleted in
//! the foreground waits for its dependents; one that is deleted with orphaning
//! first releases them. [`plan`] decides over the inventory's graph; an owner
//! that the graph does not have is looked up at the server before it counts as
//! gone, for watches of different kinds run at different speeds.

mod plan;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy, Request},
    core::{DynamicObject, PartialObjectMeta},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::plan::{Action, Owner};
use super::{
    Context,
    inventory::{Graph, Inventory, Object, Observed, Resource},
};
use crate::{
    event::{Kind, Recorder},
    queue::{Outcome, Queue},
    watch::Key,
};

/// Objects that are worked on at once.
const PARALLEL: usize = 32;
const DEADLINE: Duration = Duration::from_secs(10);
/// Owners that are remembered as gone; forgetting one costs a look-up.
const REMEMBERED: usize = 4096;

/// Why an object could not be dealt with.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{action} {path}/{name}")]
    Refused {
        action: &'static str,
        path: String,
        name: Arc<str>,
        #[source]
        source: kube::Error,
    },
    #[error("{action} {path}/{name}: no answer within {DEADLINE:?}")]
    Deadline {
        action: &'static str,
        path: String,
        name: Arc<str>,
    },
}

impl Error {
    fn code(&self) -> u16 {
        match self {
            Self::Refused {
                source: kube::Error::Api(status),
                ..
            } => status.code,
            _ => 0,
        }
    }
}

struct Collector {
    client: Client,
    inventory: Arc<Inventory>,
    queue: Queue<String>,
    /// UIDs that no object has any more.
    gone: Mutex<HashSet<String>>,
    /// Objects with owners of kinds that the server doesn't have, or not yet.
    puzzling: Mutex<HashSet<String>>,
    recorder: Recorder,
}

/// Runs the collector until shutdown. Keys are UIDs.
pub(super) async fn run(context: Context, inventory: Arc<Inventory>, shutdown: CancellationToken) {
    let queue: Queue<String> = Queue::new();
    let collector = Arc::new(Collector {
        client: context.client,
        inventory: Arc::clone(&inventory),
        queue: queue.clone(),
        gone: Mutex::default(),
        puzzling: Mutex::default(),
        recorder: context.recorder.component("garbage-collector-controller"),
    });
    let puzzled = Arc::clone(&collector);
    inventory.subscribe_to_kinds(move || {
        let again = std::mem::take(&mut *puzzled.puzzling.lock());
        puzzled.queue.add_all(again);
    });
    let observer = Arc::clone(&collector);
    inventory.subscribe(move |graph, observed| observer.observe(graph, &observed));
    if shutdown
        .run_until_cancelled(inventory.synced())
        .await
        .is_none()
    {
        return;
    }
    for object in inventory
        .graph
        .lock()
        .iter()
        .filter(|object| plan::concerns(object))
    {
        queue.add(object.uid.clone());
    }
    let reconcile = move |uid: String| {
        let collector = Arc::clone(&collector);
        async move { collector.reconcile(&uid).await }
    };
    queue
        .run("garbage-collector", PARALLEL, shutdown, reconcile)
        .await;
}

impl Collector {
    fn observe(&self, graph: &Graph, observed: &Observed<'_>) {
        if observed.gone {
            self.remember_gone(&observed.object.uid);
        }
        self.queue.add_all(plan::affected(graph, observed));
    }

    fn remember_gone(&self, uid: &str) {
        let mut gone = self.gone.lock();
        if gone.len() >= REMEMBERED {
            gone.clear();
        }
        gone.insert(uid.to_owned());
    }

    async fn reconcile(&self, uid: &str) -> Result<Outcome, Error> {
        let object = self.inventory.graph.lock().get(uid).cloned();
        let Some(object) = object.filter(plan::concerns) else {
            return Ok(Outcome::Settled);
        };
        let found = match object.deleting {
            true => BTreeMap::new(),
            false => self.find_owners(&object).await?,
        };
        if found.values().any(|owner| *owner == Owner::Unknown) {
            // Nothing can be said of such an owner; a new kind asks again.
            self.puzzling.lock().insert(uid.to_owned());
            return Ok(Outcome::Settled);
        }
        let action = {
            let graph = self.inventory.graph.lock();
            self.tell_of_strangers(&object, &graph);
            plan::plan(&object, &graph, &found)
        };
        self.carry_out(&object, action).await?;
        Ok(Outcome::Settled)
    }

    /// Tells people of owners in other namespaces, which own nothing.
    fn tell_of_strangers(&self, object: &Object, graph: &Graph) {
        for owner in plan::strangers(object, graph) {
            let namespace = &object.key.namespace;
            let message = format!(
                "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace \"{namespace}\"",
                owner.api_version, owner.kind, owner.name, owner.uid
            );
            let regarding = self.reference(object);
            self.recorder.send(
                regarding,
                Kind::Warning,
                "OwnerRefInvalidNamespace",
                message,
                None,
            );
        }
    }

    fn reference(&self, object: &Object) -> ObjectReference {
        let resource = self.inventory.resource(object.resource);
        let group = Some(resource.group.as_str()).filter(|group| !group.is_empty());
        ObjectReference {
            api_version: Some(group.map_or(resource.version.clone(), |group| {
                format!("{group}/{}", resource.version)
            })),
            kind: Some(resource.kind.clone()),
            namespace: object.key.scope().map(str::to_owned),
            name: Some(object.key.name.to_string()),
            uid: Some(object.uid.clone()),
            ..ObjectReference::default()
        }
    }

    /// Looks up owners that the graph does not have.
    async fn find_owners(&self, object: &Object) -> Result<BTreeMap<String, Owner>, Error> {
        let mut found = BTreeMap::new();
        for owner in &object.owners {
            if self.inventory.graph.lock().get(&owner.uid).is_some() {
                continue;
            }
            let known_gone = self.gone.lock().contains(&owner.uid);
            let state = match known_gone {
                true => Owner::Gone,
                false => self.look_up(object, owner).await?,
            };
            if state == Owner::Gone {
                self.remember_gone(&owner.uid);
            }
            found.insert(owner.uid.clone(), state);
        }
        Ok(found)
    }

    async fn look_up(&self, object: &Object, owner: &OwnerReference) -> Result<Owner, Error> {
        let Some(resource) = self.inventory.resource_of(&owner.api_version, &owner.kind) else {
            return Ok(Owner::Unknown);
        };
        if resource.namespaced && object.key.scope().is_none() {
            // A namespaced owner of a cluster-scoped object can't be found.
            return Ok(Owner::Gone);
        }
        let key = Key::new(&object.key.namespace, &owner.name);
        let meta = self.read(&resource, &key).await?;
        Ok(
            match meta.filter(|meta| meta.uid.as_ref() == Some(&owner.uid)) {
                None => Owner::Gone,
                Some(_) => Owner::Lives,
            },
        )
    }

    async fn carry_out(&self, object: &Object, action: Action) -> Result<(), Error> {
        let resource = self.inventory.resource(object.resource);
        let resource = &*resource;
        match action {
            Action::Nothing => Ok(()),
            Action::Delete(policy) => self.delete(resource, object, policy).await,
            Action::UnblockAndDelete => {
                self.unblock_owners(resource, object).await?;
                self.delete(resource, object, PropagationPolicy::Foreground)
                    .await
            }
            Action::DropOwners(uids) => self.drop_owners(resource, object, &uids).await,
            Action::Look(dependents) => {
                dependents.into_iter().for_each(|uid| self.queue.add(uid));
                Ok(())
            }
            Action::Orphan { dependents } => {
                for dependent in &dependents {
                    let resource = self.inventory.resource(dependent.resource);
                    let owner = std::slice::from_ref(&object.uid);
                    self.drop_owners(&resource, dependent, owner).await?;
                }
                self.drop_finalizer(resource, object, super::inventory::ORPHAN)
                    .await
            }
            Action::DropForeground => {
                self.drop_finalizer(resource, object, super::inventory::FOREGROUND)
                    .await
            }
        }
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        action: &'static str,
        resource: &Resource,
        key: &Key,
        request: impl FnOnce(Request) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Option<T>, Error> {
        let path = resource.path(key.scope());
        let answer = async {
            let request = request(Request::new(path.clone())).map_err(kube::Error::BuildRequest)?;
            self.client.request::<T>(request).await
        };
        let name = Arc::clone(&key.name);
        match timeout(DEADLINE, answer).await {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(source)) => Err(Error::Refused {
                action,
                path,
                name,
                source,
            }),
            Err(_) => Err(Error::Deadline { action, path, name }),
        }
    }

    async fn read(&self, resource: &Resource, key: &Key) -> Result<Option<ObjectMeta>, Error> {
        let read = self.call("get", resource, key, |request| {
            request.get_metadata(&key.name, &Default::default())
        });
        let object: Option<PartialObjectMeta<DynamicObject>> = read.await?;
        Ok(object.map(|object| object.metadata))
    }

    async fn delete(
        &self,
        resource: &Resource,
        object: &Object,
        policy: PropagationPolicy,
    ) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(object.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = self.call::<Value>("delete", resource, &object.key, |request| {
            request.delete(&object.key.name, &params)
        });
        match deleted.await {
            // A namesake has taken its place: the object itself is gone.
            Err(err) if err.code() == 409 => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Removes owners from an object; one that is gone needs no change.
    async fn drop_owners(
        &self,
        resource: &Resource,
        object: &Object,
        uids: &[String],
    ) -> Result<(), Error> {
        let removals: Vec<Value> = uids
            .iter()
            .map(|uid| json!({"$patch": "delete", "uid": uid}))
            .collect();
        let patch = json!({"metadata": {"uid": object.uid, "ownerReferences": removals}});
        let patch = Patch::Strategic(patch);
        match self.patch(resource, &object.key, &patch).await {
            // Custom resources know no strategic merge.
            Err(err) if err.code() == 415 => {
                let drop = |owners: &mut Vec<OwnerReference>| {
                    owners.retain(|owner| !uids.contains(&owner.uid))
                };
                self.change_owners(resource, object, drop).await
            }
            Err(err) if err.code() == 409 => Ok(()),
            patched => patched,
        }
    }

    /// Makes an object block the deletion of none of its owners.
    async fn unblock_owners(&self, resource: &Resource, object: &Object) -> Result<(), Error> {
        let owners: Vec<Value> = object
            .owners
            .iter()
            .map(|owner| json!({"uid": owner.uid, "blockOwnerDeletion": false}))
            .collect();
        let patch = json!({"metadata": {"uid": object.uid, "ownerReferences": owners}});
        let patch = Patch::Strategic(patch);
        match self.patch(resource, &object.key, &patch).await {
            // Custom resources know no strategic merge.
            Err(err) if err.code() == 415 => {
                let unblock = |owners: &mut Vec<OwnerReference>| {
                    owners
                        .iter_mut()
                        .for_each(|owner| owner.block_owner_deletion = Some(false));
                };
                self.change_owners(resource, object, unblock).await
            }
            Err(err) if err.code() == 409 => Ok(()),
            patched => patched,
        }
    }

    async fn change_owners(
        &self,
        resource: &Resource,
        object: &Object,
        change: impl FnOnce(&mut Vec<OwnerReference>),
    ) -> Result<(), Error> {
        let meta = self.read(resource, &object.key).await?;
        let Some(meta) = meta.filter(|meta| meta.uid.as_ref() == Some(&object.uid)) else {
            return Ok(());
        };
        let mut owners = meta.owner_references.unwrap_or_default();
        change(&mut owners);
        let owners = (!owners.is_empty()).then_some(owners);
        let patch = json!({"metadata": {
            "resourceVersion": meta.resource_version,
            "ownerReferences": owners,
        }});
        self.patch(resource, &object.key, &Patch::Merge(patch))
            .await
    }

    async fn drop_finalizer(
        &self,
        resource: &Resource,
        object: &Object,
        name: &str,
    ) -> Result<(), Error> {
        let meta = self.read(resource, &object.key).await?;
        let Some(meta) = meta.filter(|meta| meta.uid.as_ref() == Some(&object.uid)) else {
            return Ok(());
        };
        let mut finalizers = meta.finalizers.unwrap_or_default();
        finalizers.retain(|one| one != name);
        let finalizers = (!finalizers.is_empty()).then_some(finalizers);
        let patch = json!({"metadata": {
            "resourceVersion": meta.resource_version,
            "finalizers": finalizers,
        }});
        self.patch(resource, &object.key, &Patch::Merge(patch))
            .await
    }

    async fn patch(
        &self,
        resource: &Resource,
        key: &Key,
        patch: &Patch<Value>,
    ) -> Result<(), Error> {
        let patched = self.call::<Value>("patch", resource, key, |request| {
            request.patch(&key.name, &PatchParams::default(), patch)
        });
        patched.await.map(drop)
    }
}
