//! What a ReplicaSet needs: claims first, then more or fewer pods.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::Timestamp,
};

use super::victims;
use crate::{
    ownership::{Claim, claim},
    pod::{self, Availability},
};

/// Pods that are made or deleted in one go.
pub(super) const BURST: usize = 500;

/// How the number of pods has to change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    Fits,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// What to do, and what there is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) adopt: Vec<Arc<Pod>>,
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) scale: Scale,
    /// Pods of the set that count as replicas.
    pub(super) active: Vec<Arc<Pod>>,
    /// Pods of the set that are on their way out.
    pub(super) terminating: usize,
    /// When the next pod becomes available by the passing of time.
    pub(super) next_check: Option<Duration>,
}

impl Plan {
    pub(super) fn has_claims(&self) -> bool {
        !self.adopt.is_empty() || !self.release.is_empty()
    }
}

/// Plans for `set`, given its own pods and those nobody controls.
pub(super) fn plan(
    set: &ReplicaSet,
    candidates: Vec<Arc<Pod>>,
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        adopt: Vec::new(),
        release: Vec::new(),
        scale: Scale::Fits,
        active: Vec::new(),
        terminating: 0,
        next_check: None,
    };
    let spec = &set.spec;
    for pod in candidates {
        match claim(&set.metadata, &spec.selector, &pod.metadata) {
            Claim::Keep if pod::is_active(&pod) => plan.active.push(pod),
            Claim::Keep if pod::is_terminating(&pod) && !pod::is_finished(&pod) => {
                plan.terminating += 1;
            }
            Claim::Adopt if pod::is_active(&pod) => plan.adopt.push(pod),
            Claim::Release if pod::is_active(&pod) => plan.release.push(pod),
            _ => {}
        }
    }
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let rest = |pod: &Arc<Pod>| match pod::availability(pod, min_ready, now) {
        Availability::In(rest) => Some(rest),
        _ => None,
    };
    plan.next_check = plan.active.iter().filter_map(rest).min();
    if set.metadata.deletion_timestamp.is_none() {
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        plan.scale = scale(wanted, &plan.active, related, now);
    }
    plan
}

fn scale(
    wanted: usize,
    active: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Scale {
    let have = active.len();
    if have < wanted {
        Scale::Create((wanted - have).min(BURST))
    } else if have > wanted {
        let count = (have - wanted).min(BURST);
        Scale::Delete(victims::choose(active, &related(), count, now))
    } else {
        Scale::Fits
    }
}

/// A pod by the set's template, controlled by `owner`.
pub(super) fn pod_of(set: &ReplicaSet, owner: OwnerReference) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    let from = template.metadata.unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
