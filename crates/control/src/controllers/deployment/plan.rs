//! The next steps of a Deployment.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::apps::v1::{DeploymentStatus, ReplicaSet},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::{
    conditions::{self, PROGRESSING},
    revision, rollout, scale,
    sets::View,
    status, template,
};
use crate::selector;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Adopt(Arc<ReplicaSet>),
    Release(Arc<ReplicaSet>),
    Create(Box<ReplicaSet>),
    /// Bring annotations and the like of the new ReplicaSet up to date.
    Annotate {
        set: Arc<ReplicaSet>,
        patch: Value,
    },
    Scale {
        set: Arc<ReplicaSet>,
        to: i32,
        patch: Value,
    },
    Delete(Arc<ReplicaSet>),
    Status {
        /// The revision annotation, if it changes.
        revision: Option<String>,
        status: Box<DeploymentStatus>,
    },
}

/// Steps in order; when they are done, the state has changed and is planned
/// for again. No steps: nothing to do before `deadline`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) deadline: Option<Duration>,
}

impl Plan {
    fn of(steps: Vec<Step>) -> Self {
        Self {
            steps,
            deadline: None,
        }
    }
}

/// Plans for one Deployment.
pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    if selector::is_empty(&view.spec().selector) {
        return Plan::of(observed_only(view));
    }
    if !view.adopt.is_empty() || !view.release.is_empty() {
        let adopt = view.adopt.iter().cloned().map(Step::Adopt);
        let release = view.release.iter().cloned().map(Step::Release);
        return Plan::of(adopt.chain(release).collect());
    }
    if view.deployment.metadata.deletion_timestamp.is_some() {
        return finish(view, Vec::new(), status::counted(view, now), now);
    }
    if let Some(status) = conditions::pause(view, now) {
        return Plan::of(vec![status_step(status)]);
    }
    if view.is_paused() || scale::is_due(view) {
        return resize(view, now);
    }
    match view.is_recreate() {
        true => recreate(view, now),
        false => rolling(view, now),
    }
}

/// A selector that fits every pod is a mistake: nothing is done.
fn observed_only(view: &View<'_>) -> Vec<Step> {
    let generation = view.deployment.metadata.generation;
    let mut status = view.deployment.status.clone().unwrap_or_default();
    if status.observed_generation >= generation {
        return Vec::new();
    }
    status.observed_generation = generation;
    vec![status_step(status)]
}

fn status_step(status: DeploymentStatus) -> Step {
    Step::Status {
        revision: None,
        status: Box::new(status),
    }
}

/// Ends a plan: `steps`, then the status if it differs.
fn finish(view: &View<'_>, mut steps: Vec<Step>, status: DeploymentStatus, now: Timestamp) -> Plan {
    let deadline = status::deadline(view, &status, now);
    if view.deployment.status.as_ref() != Some(&status) {
        steps.push(status_step(status));
    }
    Plan { steps, deadline }
}

/// Paused, or scaled: no rollout, only the right number of pods.
fn resize(view: &View<'_>, now: Timestamp) -> Plan {
    if let Some(steps) = sync_new_set(view, now) {
        return Plan::of(steps);
    }
    let mut steps = scale::steps(view);
    if view.is_paused() {
        steps.extend(rollout::forget(view));
    }
    finish(view, steps, status::counted(view, now), now)
}

fn rolling(view: &View<'_>, now: Timestamp) -> Plan {
    if let Some(steps) = sync_new_set(view, now) {
        return Plan::of(steps);
    }
    let Some(new) = view.new_set() else {
        return Plan::of(create(view, now));
    };
    let mut steps = rollout::rolling(view, new);
    if steps.is_empty() {
        steps = forget_when_complete(view);
    }
    finish(view, steps, status::rollout(view, now), now)
}

fn recreate(view: &View<'_>, now: Timestamp) -> Plan {
    if let Some(steps) = sync_new_set(view, now) {
        return Plan::of(steps);
    }
    let mut steps = rollout::stop_old(view);
    if steps.is_empty() && !rollout::old_pods_run(view) {
        match view.new_set() {
            None => return Plan::of(create(view, now)),
            Some(new) => {
                steps.extend(scale::resize(view, new, view.replicas()));
                steps.extend(forget_when_complete(view));
            }
        }
    }
    finish(view, steps, status::rollout(view, now), now)
}

fn forget_when_complete(view: &View<'_>) -> Vec<Step> {
    let status = view.deployment.status.clone().unwrap_or_default();
    match status::is_complete(view, &status) {
        true => rollout::forget(view),
        false => Vec::new(),
    }
}

/// What is out of date about the new ReplicaSet and its revision.
fn sync_new_set(view: &View<'_>, now: Timestamp) -> Option<Vec<Step>> {
    let set = view.new_set()?;
    let min_ready = |seconds: Option<i32>| seconds.unwrap_or(0);
    let wanted = min_ready(view.spec().min_ready_seconds);
    let have = min_ready(set.spec.min_ready_seconds);
    let annotations = revision::missing(view, set);
    if !annotations.is_empty() || wanted != have {
        let mut patch = json!({"metadata": {
            "resourceVersion": set.metadata.resource_version,
            "annotations": annotations,
        }});
        if wanted != have {
            patch["spec"] = json!({"minReadySeconds": wanted});
        }
        let set = Arc::clone(set);
        return Some(vec![Step::Annotate { set, patch }]);
    }
    let revision = revision::revision(set).to_string();
    let mut status = view.deployment.status.clone().unwrap_or_default();
    let unnoted =
        view.progress_deadline().is_some() && conditions::get(&status, PROGRESSING).is_none();
    if unnoted {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Found new replica set \"{name}\"");
        let found = conditions::condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now);
        conditions::set(&mut status, found);
    }
    let annotations = view.deployment.metadata.annotations.as_ref();
    let current = annotations.and_then(|all| all.get(revision::REVISION));
    if current == Some(&revision) && !unnoted {
        return None;
    }
    Some(vec![Step::Status {
        revision: Some(revision),
        status: Box::new(status),
    }])
}

/// A ReplicaSet for a template that has none yet.
fn create(view: &View<'_>, now: Timestamp) -> Vec<Step> {
    let mut set = template::replica_set(view);
    let size = rollout::new_size(view, 0);
    set.spec.replicas = Some(size);
    let mut annotations = revision::missing(view, &set);
    annotations.extend(revision::size(view));
    set.metadata.annotations = Some(annotations);
    let mut status = view.deployment.status.clone().unwrap_or_default();
    if view.progress_deadline().is_some() {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Created new replica set \"{name}\"");
        let created =
            conditions::condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now);
        conditions::set(&mut status, created);
    }
    let revision = Some(revision::next(view).to_string());
    vec![
        Step::Create(Box::new(set)),
        Step::Status {
            revision,
            status: Box::new(status),
        },
    ]
}
