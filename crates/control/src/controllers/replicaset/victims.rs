//! Which pods go first when there are too many.
//!
//! The order is upstream's (`ActivePodsWithRanks`): what is least useful or
//! cheapest to lose, then what doubles up on a node, then what is youngest, by
//! powers of two of its age (KEP-2185).

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
    sync::Arc,
};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use crate::pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods of `active` to delete; `related` also count as neighbours.
pub(super) fn choose(
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count >= active.len() {
        return active.to_vec();
    }
    let mut per_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod::is_active(pod)) {
        if let Some(node) = pod::node_name(pod) {
            *per_node.entry(node).or_default() += 1;
        }
    }
    let rank = |pod: &Pod| {
        let node = pod::node_name(pod);
        node.and_then(|node| per_node.get(node))
            .copied()
            .unwrap_or(0)
    };
    let mut ranked: Vec<(&Arc<Pod>, usize)> = active.iter().map(|pod| (pod, rank(pod))).collect();
    ranked.sort_by(|a, b| order(a, b, now));
    let chosen = ranked.into_iter().take(count);
    chosen.map(|(pod, _)| Arc::clone(pod)).collect()
}

/// `Less` if the first pod goes before the second.
fn order(a: &(&Arc<Pod>, usize), b: &(&Arc<Pod>, usize), now: Timestamp) -> Ordering {
    let ((a, rank_a), (b, rank_b)) = (a, b);
    let ready = (pod::is_ready(a), pod::is_ready(b));
    pod::node_name(a)
        .is_some()
        .cmp(&pod::node_name(b).is_some())
        .then_with(|| usefulness(a).cmp(&usefulness(b)))
        .then_with(|| ready.0.cmp(&ready.1))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| Reverse(rank_a).cmp(&Reverse(rank_b)))
        .then_with(|| match ready {
            (true, true) => younger(ready_since(a), ready_since(b), now),
            _ => Ordering::Equal,
        })
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| younger(created(a), created(b), now))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn usefulness(pod: &Pod) -> u8 {
    match pod::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pod::condition(pod, "Ready")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| &status.container_statuses);
    let counts = statuses.flatten().map(|status| status.restart_count);
    counts.max().unwrap_or(0)
}

/// Unknown times come first, then later ones; ages of one power of two tie.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let bucket = |time: Timestamp| {
        let age = now.duration_since(time).as_nanos().max(1);
        age.unsigned_abs().ilog2()
    };
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => bucket(a).cmp(&bucket(b)),
    }
}
