//! The status of a Deployment, and whether it gets anywhere.

use std::time::Duration;

use k8s_openapi::{
    api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet},
    jiff::{SignedDuration, Timestamp},
};

use super::{
    conditions::{
        AVAILABLE, NEW_AVAILABLE, PROGRESSING, REPLICA_FAILURE, TIMED_OUT, condition, get, remove,
        set,
    },
    sets::{View, actual, available, ready, sum, terminating, wanted},
};

/// The status by the ReplicaSets, without the rollout's progress.
pub(super) fn counted(view: &View<'_>, now: Timestamp) -> DeploymentStatus {
    let some = |count: i32| (count != 0).then_some(count);
    let old = view.deployment.status.clone().unwrap_or_default();
    let available = sum(&view.sets, available);
    let unavailable = (sum(&view.sets, wanted) - available).max(0);
    let mut status = DeploymentStatus {
        observed_generation: view.deployment.metadata.generation,
        replicas: some(sum(&view.sets, actual)),
        updated_replicas: some(sum(view.new_set(), actual)),
        ready_replicas: some(sum(&view.sets, ready)),
        available_replicas: some(available),
        unavailable_replicas: some(unavailable),
        terminating_replicas: Some(sum(&view.sets, terminating)),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let enough = available >= view.replicas() - view.max_unavailable();
    let (value, reason, message) = match enough {
        true => (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        ),
        false => (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        ),
    };
    let availability = condition(AVAILABLE, value, reason, message.into(), now);
    set(&mut status, availability);
    status
}

/// The status during and after a rollout.
pub(super) fn rollout(view: &View<'_>, now: Timestamp) -> DeploymentStatus {
    let mut status = counted(view, now);
    note_progress(view, &mut status, now);
    note_failure(view, &mut status);
    status
}

fn note_progress(view: &View<'_>, status: &mut DeploymentStatus, now: Timestamp) {
    let Some(deadline) = view.progress_deadline() else {
        remove(status, PROGRESSING);
        return;
    };
    let current = get(status, PROGRESSING).cloned();
    let reason = current.as_ref().and_then(|one| one.reason.as_deref());
    if status.replicas == status.updated_replicas && reason == Some(NEW_AVAILABLE) {
        return;
    }
    let subject = subject(view);
    if is_complete(view, status) {
        let message = format!("{subject} has successfully progressed.");
        set(
            status,
            condition(PROGRESSING, "True", NEW_AVAILABLE, message, now),
        );
    } else if has_progressed(view, status) {
        let message = format!("{subject} is progressing.");
        let mut progress = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        if let Some(current) = current.filter(|current| current.status.as_deref() == Some("True")) {
            progress.last_transition_time = current.last_transition_time;
        }
        // Each progress counts: the deadline runs from the last update.
        remove(status, PROGRESSING);
        set(status, progress);
    } else if time_left(status, deadline, now).is_some_and(|left| left.is_zero()) {
        let message = format!("{subject} has timed out progressing.");
        set(
            status,
            condition(PROGRESSING, "False", TIMED_OUT, message, now),
        );
    }
}

fn subject(view: &View<'_>) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    match view.new_set() {
        Some(set) => format!("ReplicaSet \"{}\"", name(&set.metadata.name)),
        None => format!("Deployment \"{}\"", name(&view.deployment.metadata.name)),
    }
}

/// Every pod that is wanted is new and available, and there are no others.
pub(super) fn is_complete(view: &View<'_>, status: &DeploymentStatus) -> bool {
    let size = view.replicas();
    let counts = [
        status.updated_replicas,
        status.replicas,
        status.available_replicas,
    ];
    counts.into_iter().all(|count| count.unwrap_or(0) == size)
        && status.observed_generation >= view.deployment.metadata.generation
}

fn has_progressed(view: &View<'_>, new: &DeploymentStatus) -> bool {
    let old = view.deployment.status.clone().unwrap_or_default();
    let old_pods = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    new.updated_replicas > old.updated_replicas
        || old_pods(new) < old_pods(&old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

/// What is left of the progress deadline, if it runs.
fn time_left(status: &DeploymentStatus, deadline: i32, now: Timestamp) -> Option<Duration> {
    let progress = get(status, PROGRESSING)?;
    match progress.reason.as_deref() {
        Some(NEW_AVAILABLE) => return None,
        Some(TIMED_OUT) => return Some(Duration::ZERO),
        _ => {}
    }
    let end = progress.last_update_time.as_ref()?.0 + SignedDuration::from_secs(deadline.into());
    // The end itself is still in time.
    let left = end.duration_since(now) + SignedDuration::from_millis(1);
    Some(Duration::try_from(left).unwrap_or_default())
}

/// When to look again, should nothing happen until then.
pub(super) fn deadline(
    view: &View<'_>,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    if view.is_paused() || is_complete(view, status) {
        return None;
    }
    let left = time_left(status, view.progress_deadline()?, now)?;
    (!left.is_zero()).then(|| left + Duration::from_secs(1))
}

/// A ReplicaSet that can't make its pods shows in the Deployment.
fn note_failure(view: &View<'_>, status: &mut DeploymentStatus) {
    let new = view.new_set();
    let sets = new.into_iter().chain(view.old_sets());
    let mut failures = sets.filter_map(|set| failure(set));
    match failures.next() {
        Some(failure) => set(status, failure),
        None => remove(status, REPLICA_FAILURE),
    }
}

fn failure(set: &ReplicaSet) -> Option<DeploymentCondition> {
    let mut conditions = set.status.as_ref()?.conditions.iter().flatten();
    let failure = conditions.find(|one| one.type_.as_deref() == Some(REPLICA_FAILURE))?;
    Some(DeploymentCondition {
        type_: failure.type_.clone(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time.clone(),
    })
}
