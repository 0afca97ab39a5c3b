//! Deployments: one ReplicaSet per template, and the way from one to the next.
//!
//! [`plan`] looks at a Deployment and its ReplicaSets and names the next steps;
//! this module takes them. Each write comes back as a change of state, which
//! asks for the next plan, until there is nothing left to do.

mod conditions;
mod plan;
mod revision;
mod rollout;
mod scale;
mod sets;
mod status;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::{plan::Step, sets::View};
use super::Context;
use crate::{
    event::{Kind, Recorder},
    ownership::{
        adopt_patch, controller_of, controller_reference, is_controlled_by, release_patch,
    },
    pod,
    queue::{Outcome, Queue},
    selector,
    watch::{Key, Store, index},
    write::{self, Part, Writer, merge_diff},
};

/// Deployments that are worked on at once.
const PARALLEL: usize = 8;

struct Controller {
    context: Context,
    deployments: Writer<Deployment>,
    sets: Writer<ReplicaSet>,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue = Queue::new();
    subscribe(&context, &queue);
    let controller = Arc::new(Controller {
        deployments: Writer::new(&context.client, &context.kinds.deployments),
        sets: Writer::new(&context.client, &context.kinds.replica_sets),
        recorder: context.recorder.component("deployment-controller"),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run("deployment", PARALLEL, shutdown, reconcile).await;
}

fn subscribe(context: &Context, queue: &Queue<Key>) {
    let kinds = &context.kinds;
    let changed = queue.clone();
    kinds.deployments.subscribe(move |change| {
        if let Some(deployment) = change.latest() {
            changed.add(Key::of(&**deployment));
        }
    });
    let (changed, deployments) = (queue.clone(), Arc::clone(&kinds.deployments));
    kinds.replica_sets.subscribe(move |change| {
        for set in change.sides() {
            match controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => {
                    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
                    changed.add(Key::new(namespace, &owner.name));
                }
                Some(_) => {}
                None => wanting(&deployments, &set.metadata).for_each(|key| changed.add(key)),
            }
        }
    });
}

/// The Deployments that would adopt a ReplicaSet with this metadata.
fn wanting(deployments: &Store<Deployment>, set: &ObjectMeta) -> impl Iterator<Item = Key> {
    let namespace = set.namespace.as_deref().unwrap_or_default();
    let deployments = deployments.indexed(index::namespace(namespace));
    let labels = set.labels.clone();
    let wants = move |deployment: &Arc<Deployment>| {
        selector::matches(&deployment.spec.selector, labels.as_ref())
    };
    deployments
        .into_iter()
        .filter(wants)
        .map(|deployment| Key::of(&*deployment))
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let Some(deployment) = self.context.kinds.deployments.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let plan = plan::plan(&self.view(&deployment), Timestamp::now());
        for step in plan.steps {
            if !self.take(&deployment, step).await? {
                return Ok(Outcome::Settled);
            }
        }
        Ok(plan.deadline.map_or(Outcome::Settled, Outcome::After))
    }

    fn view<'a>(&self, deployment: &'a Deployment) -> View<'a> {
        let kinds = &self.context.kinds;
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let mut candidates = kinds.replica_sets.indexed(index::owner(uid));
        candidates.extend(kinds.replica_sets.indexed(index::orphan(namespace)));
        let pods = Arc::clone(&kinds.pods);
        let running = move |set: &ReplicaSet| {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            let pods = pods.indexed(index::owner(uid));
            let mut own = pods
                .iter()
                .filter(|pod| is_controlled_by(&pod.metadata, &set.metadata));
            own.any(|pod| !pod::is_finished(pod))
        };
        View::new(deployment, candidates, Box::new(running))
    }

    /// Takes one step; returns false if the plan has to be made again.
    async fn take(&self, deployment: &Deployment, step: Step) -> Result<bool, write::Error> {
        match step {
            Step::Adopt(set) => self.adopt(deployment, &set).await,
            Step::Release(set) => {
                let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
                let patch = release_patch(&set.metadata, uid);
                self.sets
                    .strategic(&Key::of(&*set), Part::Main, patch)
                    .await?;
                Ok(true)
            }
            Step::Create(set) => self.create(deployment, &set).await,
            Step::Annotate { set, patch } => {
                self.sets.merge(&Key::of(&*set), Part::Main, patch).await?;
                Ok(true)
            }
            Step::Scale { set, to, patch } => {
                self.sets.merge(&Key::of(&*set), Part::Main, patch).await?;
                self.tell_scaled(deployment, &set, sets::wanted(&set), to);
                Ok(true)
            }
            Step::Delete(set) => {
                let uid = set.metadata.uid.as_deref();
                let params = DeleteParams::background();
                self.sets.delete(&Key::of(&*set), uid, params).await?;
                Ok(true)
            }
            Step::Status { revision, status } => {
                self.write_status(deployment, revision.as_deref(), &status)
                    .await?;
                Ok(true)
            }
        }
    }

    async fn adopt(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<bool, write::Error> {
        // The cache may not know yet that the Deployment is being deleted.
        let current = self.deployments.read(&Key::of(deployment)).await?;
        let ours = current.is_some_and(|current| {
            current.metadata.uid == deployment.metadata.uid
                && current.metadata.deletion_timestamp.is_none()
        });
        if ours {
            let patch = adopt_patch(&set.metadata, &controller_reference(deployment));
            self.sets
                .strategic(&Key::of(set), Part::Main, patch)
                .await?;
        }
        Ok(ours)
    }

    async fn create(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
    ) -> Result<bool, write::Error> {
        match self.sets.create(set).await {
            Ok(_) => {
                self.tell_scaled(deployment, set, 0, sets::wanted(set));
                Ok(true)
            }
            Err(err) if err.is_already_exists() => self.collide(deployment, set).await,
            Err(err) if err.is_namespace_terminating() => Ok(false),
            Err(err) => {
                let name = set.metadata.name.as_deref().unwrap_or_default();
                let message = format!(
                    "Failed to create new replica set \"{name}\": {}",
                    err.message()
                );
                let now = Timestamp::now();
                if let Some(status) = conditions::create_failed(deployment, &message, now) {
                    self.write_status(deployment, None, &status).await?;
                }
                let reason = conditions::CREATE_FAILED;
                self.recorder
                    .record(deployment, Kind::Warning, reason, message);
                Err(err)
            }
        }
    }

    /// A ReplicaSet of that name is there: ours that the cache did not have,
    /// or a stranger with the same hash, for which the next hash is taken.
    async fn collide(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
    ) -> Result<bool, write::Error> {
        let Some(existing) = self.sets.read(&Key::of(set)).await? else {
            return Ok(false);
        };
        let ours = is_controlled_by(&existing.metadata, &deployment.metadata);
        if ours && template::is_same(deployment, &existing) {
            self.context.kinds.replica_sets.wrote(existing);
            return Ok(false);
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(deployment, None, &status).await?;
        Ok(false)
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        if from == to {
            return;
        }
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.recorder
            .record(deployment, Kind::Normal, "ScalingReplicaSet", message);
    }

    /// Writes the status and, with it, the revision annotation: one state.
    async fn write_status(
        &self,
        deployment: &Deployment,
        revision: Option<&str>,
        status: &DeploymentStatus,
    ) -> Result<(), write::Error> {
        let Some(patch) = status_patch(deployment, revision, status) else {
            return Ok(());
        };
        match self
            .deployments
            .merge(&Key::of(deployment), Part::Status, patch)
            .await
        {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }
}

fn status_patch(
    deployment: &Deployment,
    revision: Option<&str>,
    status: &DeploymentStatus,
) -> Option<Value> {
    let value = |status: &DeploymentStatus| serde_json::to_value(status).unwrap_or_default();
    let old = deployment.status.clone().unwrap_or_default();
    let status = merge_diff(&value(&old), &value(status));
    if status.is_none() && revision.is_none() {
        return None;
    }
    let mut patch = json!({"metadata": {
        "resourceVersion": deployment.metadata.resource_version,
    }});
    if let Some(revision) = revision {
        patch["metadata"]["annotations"] = json!({revision::REVISION: revision});
    }
    if let Some(status) = status {
        patch["status"] = status;
    }
    Some(patch)
}
