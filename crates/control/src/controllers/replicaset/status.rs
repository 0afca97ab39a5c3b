//! The status of a ReplicaSet.

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::plan::Plan;
use crate::{
    pod::{self, Availability},
    selector, write,
};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Why pods could not be made or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    reason: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn create(err: &write::Error) -> Self {
        Self {
            reason: "FailedCreate",
            message: err.message(),
        }
    }

    pub(super) fn delete(err: &write::Error) -> Self {
        Self {
            reason: "FailedDelete",
            message: err.message(),
        }
    }
}

/// The status that fits the pods that `plan` found.
pub(super) fn status(
    set: &ReplicaSet,
    plan: &Plan,
    failure: Option<Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let template = set.spec.template.as_ref();
    let wanted = template.and_then(|template| template.metadata.as_ref());
    let wanted = wanted
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    let count = |fits: &dyn Fn(&Pod) -> bool| {
        let fitting = plan.active.iter().filter(|pod| fits(pod));
        i32::try_from(fitting.count()).unwrap_or(i32::MAX)
    };
    let labeled = |pod: &Pod| selector::contains(&wanted, pod.metadata.labels.as_ref());
    let available = |pod: &Pod| pod::availability(pod, min_ready, now) == Availability::Available;
    let some = |count: i32| (count > 0).then_some(count);
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: some(count(&labeled)),
        ready_replicas: some(count(&pod::is_ready)),
        available_replicas: some(count(&available)),
        terminating_replicas: Some(i32::try_from(plan.terminating).unwrap_or(i32::MAX)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    }
}

fn conditions(
    set: &ReplicaSet,
    failure: Option<Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let old = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone());
    let mut conditions = old.unwrap_or_default();
    let is_failure = |one: &ReplicaSetCondition| one.type_.as_deref() == Some(REPLICA_FAILURE);
    let failing = conditions.iter().any(is_failure);
    match failure {
        // The first reason stays until it is over: names in later texts
        // differ at random and would change the status with every try.
        Some(failure) if !failing => conditions.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.into()),
            status: Some("True".into()),
            reason: Some(failure.reason.into()),
            message: Some(failure.message),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|one| !is_failure(one)),
    }
    (!conditions.is_empty()).then_some(conditions)
}
