//! The conditions of a Deployment.

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::sets::View;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const CREATE_FAILED: &str = "ReplicaSetCreateError";
pub(super) const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A condition that begins now.
pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

pub(super) fn get<'s>(status: &'s DeploymentStatus, kind: &str) -> Option<&'s DeploymentCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|one| one.type_.as_deref() == Some(kind))
}

/// Sets a condition unless it has that status and reason already.
///
/// It moves to the end, which is the order that upstream writes.
pub(super) fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let kind = new.type_.clone().unwrap_or_default();
    if let Some(old) = get(status, &kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time
                .clone_from(&old.last_transition_time);
        }
    }
    remove(status, &kind);
    status.conditions.get_or_insert_default().push(new);
}

pub(super) fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|one| one.type_.as_deref() != Some(kind));
    }
    status.conditions = status.conditions.take().filter(|list| !list.is_empty());
}

/// The status after pausing or resuming, if that is not noted yet.
///
/// While paused, time does not count against the progress deadline.
pub(super) fn pause(view: &View<'_>, now: Timestamp) -> Option<DeploymentStatus> {
    view.progress_deadline()?;
    let mut status = view.deployment.status.clone().unwrap_or_default();
    let reason = get(&status, PROGRESSING).and_then(|one| one.reason.as_deref());
    let noted = reason == Some(PAUSED);
    if reason == Some(TIMED_OUT) || noted == view.is_paused() {
        return None;
    }
    let (reason, message) = match view.is_paused() {
        true => (PAUSED, "Deployment is paused"),
        false => ("DeploymentResumed", "Deployment is resumed"),
    };
    set(
        &mut status,
        condition(PROGRESSING, "Unknown", reason, message.into(), now),
    );
    Some(status)
}

/// The status after the new ReplicaSet could not be made.
pub(super) fn create_failed(
    deployment: &Deployment,
    message: &str,
    now: Timestamp,
) -> Option<DeploymentStatus> {
    let deadline = deployment.spec.progress_deadline_seconds?;
    if deadline == i32::MAX {
        return None;
    }
    let mut status = deployment.status.clone().unwrap_or_default();
    let failed = condition(PROGRESSING, "False", CREATE_FAILED, message.into(), now);
    set(&mut status, failed);
    Some(status)
}
