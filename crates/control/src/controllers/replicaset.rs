//! ReplicaSets: as many pods as asked for.
//!
//! [`plan`] decides, [`reconcile`] does it. Pods are made in batches that
//! double (1, 2, 4, …), each batch at once, so that a quota or a webhook that
//! refuses pods is asked a few times only, not hundreds of times.

mod plan;
mod status;
#[cfg(test)]
mod tests;
mod victims;

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::api::DeleteParams;
use tokio_util::sync::CancellationToken;

use self::{
    plan::{Plan, Scale},
    status::Failure,
};
use super::Context;
use crate::{
    event::{Kind, Recorder},
    ownership::{adopt_patch, controller_of, controller_reference, release_patch},
    queue::{Outcome, Queue},
    selector,
    watch::{Key, index},
    write::{self, Part, Writer, status_patch},
};

/// ReplicaSets that are worked on at once.
const PARALLEL: usize = 16;

struct Controller {
    context: Context,
    sets: Writer<ReplicaSet>,
    pods: Writer<Pod>,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue = Queue::new();
    subscribe(&context, &queue);
    let controller = Arc::new(Controller {
        sets: Writer::new(&context.client, &context.kinds.replica_sets),
        pods: Writer::new(&context.client, &context.kinds.pods),
        recorder: context.recorder.component("replicaset-controller"),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run("replicaset", PARALLEL, shutdown, reconcile).await;
}

fn subscribe(context: &Context, queue: &Queue<Key>) {
    let kinds = &context.kinds;
    let changed = queue.clone();
    kinds.replica_sets.subscribe(move |change| {
        if let Some(set) = change.latest() {
            changed.add(Key::of(&**set));
        }
    });
    let (changed, sets) = (queue.clone(), Arc::clone(&kinds.replica_sets));
    kinds.pods.subscribe(move |change| {
        for pod in change.sides() {
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == "ReplicaSet" => {
                    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                    changed.add(Key::new(namespace, &owner.name));
                }
                Some(_) => {}
                None => wanting(&sets, &pod.metadata).for_each(|key| changed.add(key)),
            }
        }
    });
}

/// The ReplicaSets that would adopt a pod with this metadata.
fn wanting(sets: &crate::watch::Store<ReplicaSet>, pod: &ObjectMeta) -> impl Iterator<Item = Key> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let sets = sets.indexed(index::namespace(namespace));
    let labels = pod.labels.clone();
    let wants = move |set: &Arc<ReplicaSet>| selector::matches(&set.spec.selector, labels.as_ref());
    sets.into_iter().filter(wants).map(|set| Key::of(&*set))
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let Some(set) = self.context.kinds.replica_sets.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let mut plan = self.plan(&set);
        if plan.has_claims() {
            self.claim(&set, &plan).await?;
            plan = self.plan(&set);
        }
        let failure = match &plan.scale {
            Scale::Fits => None,
            Scale::Create(count) => {
                let created = self.create(&set, *count).await;
                created.err().map(|err| (Failure::create(&err), err))
            }
            Scale::Delete(victims) => {
                let deleted = self.delete(&set, victims).await;
                deleted.err().map(|err| (Failure::delete(&err), err))
            }
        };
        if plan.scale != Scale::Fits {
            plan = self.plan(&set);
        }
        let (failure, err) = failure.unzip();
        self.write_status(&set, &plan, failure).await?;
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

    async fn claim(&self, set: &ReplicaSet, plan: &Plan) -> Result<(), write::Error> {
        let reference = controller_reference(set);
        if !plan.adopt.is_empty() {
            // The cache may not know yet that the set is being deleted.
            let current = self.sets.read(&Key::of(set)).await?;
            let ours = current.is_some_and(|current| {
                current.metadata.uid == set.metadata.uid
                    && current.metadata.deletion_timestamp.is_none()
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

    async fn create(&self, set: &ReplicaSet, count: usize) -> Result<(), write::Error> {
        let pod = plan::pod_of(set);
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
                            .record(set, Kind::Normal, "SuccessfulCreate", message);
                    }
                    // Nothing more will be made there: not an error.
                    Err(err) if err.is_namespace_terminating() => return Ok(()),
                    Err(err) => {
                        let message = format!("Error creating: {}", err.message());
                        self.recorder
                            .record(set, Kind::Warning, "FailedCreate", message);
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

    async fn delete(&self, set: &ReplicaSet, victims: &[Arc<Pod>]) -> Result<(), write::Error> {
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
        set: &ReplicaSet,
        plan: &Plan,
        failure: Option<Failure>,
    ) -> Result<(), write::Error> {
        let old = set.status.clone().unwrap_or_default();
        let new = status::status(set, plan, failure, Timestamp::now());
        let Some(patch) = status_patch(set, &old, &new) else {
            return Ok(());
        };
        match self.sets.merge(&Key::of(set), Part::Status, patch).await {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }
}
