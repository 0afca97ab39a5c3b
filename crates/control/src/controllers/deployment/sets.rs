//! A Deployment and its ReplicaSets, and sums over them.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetStatus},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::template;
use crate::ownership::{Claim, claim};

/// Everything a plan looks at.
pub(super) struct View<'a> {
    pub(super) deployment: &'a Deployment,
    /// Our ReplicaSets, oldest first.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    pub(super) adopt: Vec<Arc<ReplicaSet>>,
    pub(super) release: Vec<Arc<ReplicaSet>>,
    /// Tells whether pods of a ReplicaSet still run.
    pub(super) has_pods: Box<dyn Fn(&ReplicaSet) -> bool + Send + Sync>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        deployment: &'a Deployment,
        candidates: Vec<Arc<ReplicaSet>>,
        has_pods: Box<dyn Fn(&ReplicaSet) -> bool + Send + Sync>,
    ) -> Self {
        let mut view = Self {
            deployment,
            sets: Vec::new(),
            adopt: Vec::new(),
            release: Vec::new(),
            has_pods,
        };
        for set in candidates {
            match claim(
                &deployment.metadata,
                &deployment.spec.selector,
                &set.metadata,
            ) {
                Claim::Keep => view.sets.push(set),
                Claim::Adopt => view.adopt.push(set),
                Claim::Release => view.release.push(set),
                Claim::Ignore => {}
            }
        }
        view.sets.sort_by(|a, b| age(a).cmp(&age(b)));
        view
    }

    pub(super) fn spec(&self) -> &'a DeploymentSpec {
        &self.deployment.spec
    }

    /// The ReplicaSet with the Deployment's template; the oldest if several.
    pub(super) fn new_set(&self) -> Option<&Arc<ReplicaSet>> {
        let mut sets = self.sets.iter();
        sets.find(|set| template::is_same(self.deployment, set))
    }

    /// All other ReplicaSets, oldest first.
    pub(super) fn old_sets(&self) -> Vec<&Arc<ReplicaSet>> {
        let new = self.new_set().map(|set| &set.metadata.uid);
        let others = self.sets.iter();
        others
            .filter(|set| Some(&set.metadata.uid) != new)
            .collect()
    }

    pub(super) fn replicas(&self) -> i32 {
        self.spec().replicas.unwrap_or(1)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.spec().paused.unwrap_or(false)
    }

    pub(super) fn is_recreate(&self) -> bool {
        let strategy = self.spec().strategy.as_ref();
        strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
    }

    /// Seconds without progress after which a rollout counts as failed.
    pub(super) fn progress_deadline(&self) -> Option<i32> {
        let deadline = self.spec().progress_deadline_seconds?;
        (deadline != i32::MAX).then_some(deadline)
    }

    pub(super) fn history_limit(&self) -> Option<usize> {
        let limit = self.spec().revision_history_limit?;
        (limit != i32::MAX).then(|| usize::try_from(limit).unwrap_or(0))
    }

    /// Pods above the wanted number that a rolling update may add.
    pub(super) fn max_surge(&self) -> i32 {
        if self.is_recreate() {
            0
        } else {
            self.fenceposts().0
        }
    }

    /// Pods that may be missing during a rolling update.
    pub(super) fn max_unavailable(&self) -> i32 {
        if self.is_recreate() || self.replicas() == 0 {
            return 0;
        }
        self.fenceposts().1.min(self.replicas())
    }

    /// Surge rounds up, unavailable down; both 0 would never move.
    fn fenceposts(&self) -> (i32, i32) {
        let strategy = self.spec().strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let surge = share(surge, self.replicas(), Round::Up);
        let unavailable = share(unavailable, self.replicas(), Round::Down);
        match (surge, unavailable) {
            (0, 0) => (0, 1),
            posts => posts,
        }
    }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

fn share(value: Option<&IntOrString>, of: i32, round: Round) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(count)) => *count,
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|text| text.parse::<i64>().ok());
            let hundredfold = percent.unwrap_or(0) * i64::from(of);
            let count = match round {
                Round::Up => hundredfold.div_euclid(100) + i64::from(hundredfold % 100 != 0),
                Round::Down => hundredfold / 100,
            };
            i32::try_from(count).unwrap_or(i32::MAX)
        }
    }
}

/// The order of age: creation, then name.
pub(super) fn age(set: &ReplicaSet) -> (Option<k8s_openapi::jiff::Timestamp>, &Option<String>) {
    let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, &set.metadata.name)
}

/// The number of pods a ReplicaSet is asked for.
pub(super) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    counted(set, |status| status.available_replicas)
}

pub(super) fn ready(set: &ReplicaSet) -> i32 {
    counted(set, |status| status.ready_replicas)
}

pub(super) fn terminating(set: &ReplicaSet) -> i32 {
    counted(set, |status| status.terminating_replicas)
}

/// The number of pods there are, by the ReplicaSet's own status.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    counted(set, |status| Some(status.replicas))
}

fn counted(set: &ReplicaSet, count: impl Fn(&ReplicaSetStatus) -> Option<i32>) -> i32 {
    set.status.as_ref().and_then(count).unwrap_or(0)
}

pub(super) fn sum<'s>(
    sets: impl IntoIterator<Item = &'s Arc<ReplicaSet>>,
    count: fn(&ReplicaSet) -> i32,
) -> i32 {
    sets.into_iter().map(|set| count(set)).sum()
}
