//! Scaling: one ReplicaSet, or several in proportion.

use std::{cmp::Reverse, sync::Arc};

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::json;

use super::{
    plan::Step,
    revision,
    sets::{View, age, available, sum, wanted},
};

/// The step that gives `set` the size `to` and notes the Deployment's size;
/// `None` if it is so already.
pub(super) fn step(view: &View<'_>, set: &Arc<ReplicaSet>, to: i32) -> Option<Step> {
    let mut annotations = revision::size(view);
    let have = set.metadata.annotations.as_ref();
    annotations.retain(|name, value| have.and_then(|have| have.get(name)) != Some(value));
    if wanted(set) == to && annotations.is_empty() {
        return None;
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": set.metadata.resource_version,
            "annotations": annotations,
        },
        "spec": {"replicas": to},
    });
    Some(Step::Scale {
        set: Arc::clone(set),
        to,
        patch,
    })
}

/// As [`step`], but only if the size differs.
pub(super) fn resize(view: &View<'_>, set: &Arc<ReplicaSet>, to: i32) -> Option<Step> {
    (wanted(set) != to).then(|| step(view, set, to)).flatten()
}

/// True if the Deployment was scaled since its ReplicaSets were.
pub(super) fn is_due(view: &View<'_>) -> bool {
    let mut active = view.sets.iter().filter(|set| wanted(set) > 0);
    active.any(|set| revision::desired(set).is_some_and(|size| size != view.replicas()))
}

/// The steps that bring the ReplicaSets to the Deployment's size.
pub(super) fn steps(view: &View<'_>) -> Vec<Step> {
    let active: Vec<_> = view.sets.iter().filter(|set| wanted(set) > 0).collect();
    let newest = || {
        view.new_set()
            .or_else(|| view.old_sets().into_iter().next_back())
    };
    let only = match active[..] {
        [] => newest(),
        [only] => Some(only),
        _ => None,
    };
    if let Some(only) = only {
        return resize(view, only, view.replicas()).into_iter().collect();
    }
    if is_saturated(view) {
        let old = view.old_sets();
        return old.iter().filter_map(|set| resize(view, set, 0)).collect();
    }
    if view.is_recreate() || active.is_empty() {
        return Vec::new();
    }
    proportionally(view, active)
}

/// All pods that are wanted are the new ReplicaSet's, and available.
fn is_saturated(view: &View<'_>) -> bool {
    let size = view.replicas();
    view.new_set().is_some_and(|set| {
        revision::desired(set) == Some(size) && wanted(set) == size && available(set) == size
    })
}

/// Spreads the difference over the active ReplicaSets by their size; what is
/// left over by rounding goes to the largest (the newest, when growing).
fn proportionally(view: &View<'_>, mut active: Vec<&Arc<ReplicaSet>>) -> Vec<Step> {
    let total = sum(active.iter().copied(), wanted);
    let allowed = match view.replicas() {
        0 => 0,
        size => size + view.max_surge(),
    };
    let to_add = allowed - total;
    active.sort_by(|a, b| match to_add > 0 {
        true => (wanted(b), age(b)).cmp(&(wanted(a), age(a))),
        false => (Reverse(wanted(a)), age(a)).cmp(&(Reverse(wanted(b)), age(b))),
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::new();
    for set in &active {
        let part = proportion(view, set, to_add, added);
        added += part;
        sizes.push(wanted(set) + part);
    }
    if to_add != 0 {
        sizes[0] = (sizes[0] + to_add - added).max(0);
    }
    let sized = active.into_iter().zip(sizes);
    sized
        .filter_map(|(set, size)| step(view, set, size))
        .collect()
}

fn proportion(view: &View<'_>, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if wanted(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(view, set);
    let rest = to_add - added;
    match to_add > 0 {
        true => fraction.min(rest),
        false => fraction.max(rest),
    }
}

/// How much the ReplicaSet would have to grow to keep its share.
fn fraction(view: &View<'_>, set: &ReplicaSet) -> i32 {
    if view.replicas() == 0 {
        return -wanted(set);
    }
    let status = view.deployment.status.as_ref();
    let before = revision::max_replicas(set).filter(|most| *most != 0);
    let before = before.or_else(|| status.and_then(|status| status.replicas));
    let before = match before {
        None | Some(0) => return 0,
        Some(before) => i64::from(before),
    };
    let after = i64::from(view.replicas() + view.max_surge());
    let product = i64::from(wanted(set)) * after;
    // Round half away from zero; all numbers here are positive.
    let size = (2 * product + before) / (2 * before);
    i32::try_from(size).unwrap_or(i32::MAX) - wanted(set)
}
