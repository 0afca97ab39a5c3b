//! ReplicaSets, and ReplicationControllers, their older form: as many pods as asked for.
//!
//! One engine serves both: a ReplicationController is read as a ReplicaSet ([`kind`]).
//! [`plan`] decides, [`reconcile`] does it. Pods are made in batches that
//! double (1, 2, 4, …), each batch at once, so that a quota or a webhook that
//! refuses pods is asked a few times only, not hundreds of times.

mod kind;
mod plan;
mod status;
#[cfg(test)]
mod tests;
mod victims;

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Pod, ReplicationController},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::api::DeleteParams;
use tokio_util::sync::CancellationToken;

use self::{
    kind::Replicated,
    plan::{Plan, Scale},
    status::Failure,
};
use super::Context;
use crate::{
    event::{Kind, Recorder},
    ownership::{adopt_patch, controller_of, controller_reference, release_patch},
    queue::{Outcome, Queue},
    watch::{Key, Store, index},
    write::{self, Part, Writer},
};

/// ReplicaSets that are worked on at once.
const PARALLEL: usize = 16;

struct Controller<K> {
    context: Context,
    sets: Writer<K>,
    pods: Writer<Pod>,
    recorder: Recorder,
}

/// Runs the controller of ReplicaSets until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    run_for::<ReplicaSet>(context, shutdown).await;
}

/// Runs the controller of ReplicationControllers until shutdown.
pub(super) async fn run_older(context: Context, shutdown: CancellationToken) {
    run_for::<ReplicationController>(context, shutdown).await;
}

async fn run_for<K: Replicated>(context: Context, shutdown: CancellationToken) {
    let queue = Queue::new();
    subscribe::<K>(&context, &queue);
    let controller = Arc::new(Controller::<K> {
        sets: Writer::new(&context.client, K::store(&context.kinds)),
        pods: Writer::new(&context.client, &context.kinds.pods),
        recorder: context.recorder.component(K::COMPONENT),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run(K::NAME, PARALLEL, shutdown, reconcile).await;
}

fn subscribe<K: Replicated>(context: &Context, queue: &Queue<Key>) {
    let kinds = &context.kinds;
    let sets = K::store(kinds);
    let changed = queue.clone();
    sets.subscribe(move |change| {
        if let Some(set) = change.latest() {
            changed.add(Key::of(&**set));
        }
    });
    let (changed, sets) = (queue.clone(), Arc::clone(sets));
    kinds.pods.subscribe(move |change| {
        for pod in change.sides() {
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == K::kind(&()) => {
                    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                    changed.add(Key::new(namespace, &owner.name));
                }
                Some(_) => {}
                None => wanting(&sets, &pod.metadata).for_each(|key| changed.add(key)),
            }
        }
    });
}

/// The sets that would adopt a pod with this metadata.
fn wanting<K: Replicated>(sets: &Store<K>, pod: &ObjectMeta) -> impl Iterator<Item = Key> + use<K> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let sets = sets.indexed(index::namespace(namespace));
    let labels = pod.labels.clone();
    let wants = move |set: &Arc<K>| set.selects(labels.as_ref());
    sets.into_iter().filter(wants).map(|set| Key::of(&*set))
}

impl<K: Replicated> Controller<K> {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let Some(object) = K::store(&self.context.kinds).get(&key) else {
            return Ok(Outcome::Settled);
        };
        let set = K::as_set(&object);
        let mut plan = self.plan(&set);
        if plan.has_claims() {
            self.claim(&object, &plan).await?;
            plan = self.plan(&set);
        }
        let failure = match &plan.scale {
            Scale::Fits => None,
            Scale::Create(count) => {
                let created = self.create(&object, &set, *count).await;
                created.err().map(|err| (Failure::create(&err), err))
            }
            Scale::Delete(victims) => {
                let deleted = self.delete(&object, victims).await;
                deleted.err().map(|err| (Failure::delete(&err), err))
            }
        };
        if plan.scale != Scale::Fits {
            plan = self.plan(&set);
        }
        let (failure, err) = failure.unzip();
        self.write_status(&object, &set, &plan, failure).await?;
        match (err, plan.next_check) {
            (Some(err), _) => Err(err),
            (None, Some(delay)) => Ok(Outcome::After(delay)),
            (None, None) => Ok(Outcome::Settled),
        }
    }

    fn plan(&self, set: &ReplicaSet) -> Plan {
        let pods = &self.context.kinds.pods;
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let mut candidates = pods.indexed(index::owner(uid));
        candidates.extend(pods.indexed(index::orphan(namespace)));
        plan::plan(set, candidates, || self.related(set), Timestamp::now())
    }

    /// Pods of all ReplicaSets with the same owner: those of a Deployment.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let pods = &self.context.kinds.pods;
        let of =
            |uid: &Option<String>| pods.indexed(index::owner(uid.as_deref().unwrap_or_default()));
        let Some(owner) = controller_of(&set.metadata) else {
            return of(&set.metadata.uid);
        };
        let siblings = self
            .context
            .kinds
            .replica_sets
            .indexed(index::owner(&owner.uid));
        let pods = siblings
            .iter()
            .flat_map(|sibling| of(&sibling.metadata.uid));
        pods.collect()
    }

    async fn claim(&self, set: &K, plan: &Plan) -> Result<(), write::Error> {
        let reference = controller_reference(set);
        if !plan.adopt.is_empty() {
            // The cache may not know yet that the set is being deleted.
            let current = self.sets.read(&Key::of(set)).await?;
            let ours = current.is_some_and(|current| {
                current.meta().uid == set.meta().uid && current.meta().deletion_timestamp.is_none()
            });
            if !ours {
                return Ok(());
            }
        }
        for pod in &plan.adopt {
            let patch = adopt_patch(&pod.metadata, &reference);
            self.patch_pod(pod, patch).await?;
        }
        for pod in &plan.release {
            let patch = release_patch(&pod.metadata, &reference.uid);
            self.patch_pod(pod, patch).await?;
        }
        Ok(())
    }

    /// A pod that is gone, or was replaced by a namesake, needs no patch.
    async fn patch_pod(&self, pod: &Pod, patch: serde_json::Value) -> Result<(), write::Error> {
        match self.pods.strategic(&Key::of(pod), Part::Main, patch).await {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }

    async fn create(&self, object: &K, set: &ReplicaSet, count: usize) -> Result<(), write::Error> {
        let pod = plan::pod_of(set, controller_reference(object));
        let mut left = count;
        let mut batch = 1;
        while left > 0 {
            let size = batch.min(left);
            let created = (0..size).map(|_| self.pods.create(&pod));
            let mut refused = None;
            for result in join_all(created).await {
                match result {
                    Ok(pod) => {
                        let name = pod.metadata.name.as_deref().unwrap_or_default();
                        let message = format!("Created pod: {name}");
                        self.recorder
                            .record(object, Kind::Normal, "SuccessfulCreate", message);
                    }
                    // Nothing more will be made there: not an error.
                    Err(err) if err.is_namespace_terminating() => return Ok(()),
                    Err(err) => {
                        let message = format!("Error creating: {}", err.message());
                        self.recorder
                            .record(object, Kind::Warning, "FailedCreate", message);
                        refused = Some(err);
                    }
                }
            }
            if let Some(err) = refused {
                return Err(err);
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, set: &K, victims: &[Arc<Pod>]) -> Result<(), write::Error> {
        let deleted = victims.iter().map(|pod| async move {
            let uid = pod.metadata.uid.as_deref();
            let key = Key::of(&**pod);
            let result = self.pods.delete(&key, uid, DeleteParams::default()).await;
            match &result {
                Ok(()) => {
                    let message = format!("Deleted pod: {}", key.name);
                    self.recorder
                        .record(set, Kind::Normal, "SuccessfulDelete", message);
                }
                Err(err) => {
                    let message = format!("Error deleting: {}", err.message());
                    self.recorder
                        .record(set, Kind::Warning, "FailedDelete", message);
                }
            }
            result
        });
        join_all(deleted).await.into_iter().collect()
    }

    async fn write_status(
        &self,
        object: &K,
        set: &ReplicaSet,
        plan: &Plan,
        failure: Option<Failure>,
    ) -> Result<(), write::Error> {
        let new = status::status(set, plan, failure, Timestamp::now());
        let Some(patch) = object.status_patch(&new) else {
            return Ok(());
        };
        match self.sets.merge(&Key::of(object), Part::Status, patch).await {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }
}
