//! From one template to the next: rolling update and Recreate.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{
    plan::Step,
    revision,
    scale::resize,
    sets::{View, actual, available, sum, wanted},
};

/// The size that the new ReplicaSet may have now, given the size it has.
pub(super) fn new_size(view: &View<'_>, size: i32) -> i32 {
    if view.is_recreate() {
        return view.replicas();
    }
    let others = sum(view.old_sets(), wanted);
    let most = view.replicas() + view.max_surge();
    let room = most - others - size;
    match room > 0 {
        true => size + room.min(view.replicas() - size),
        false => size,
    }
}

/// The next step of a rolling update: first more of the new, then fewer of
/// the old, never both in one go, so that each is decided on what is.
pub(super) fn rolling(view: &View<'_>, new: &Arc<ReplicaSet>) -> Vec<Step> {
    let up = match wanted(new) > view.replicas() {
        true => resize(view, new, view.replicas()),
        false => resize(view, new, new_size(view, wanted(new))),
    };
    match up {
        Some(step) => vec![step],
        None => shrink_old(view, new),
    }
}

fn shrink_old(view: &View<'_>, new: &ReplicaSet) -> Vec<Step> {
    let old = view.old_sets();
    if sum(old.iter().copied(), wanted) == 0 {
        return Vec::new();
    }
    let least = view.replicas() - view.max_unavailable();
    let new_unavailable = wanted(new) - available(new);
    let spare = sum(&view.sets, wanted) - least - new_unavailable;
    if spare <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = old.iter().map(|set| wanted(set)).collect();
    drop_unavailable(&old, &mut sizes, spare);
    let surplus = sum(&view.sets, available) - least;
    drop_available(&mut sizes, surplus);
    let sized = old.into_iter().zip(sizes);
    sized
        .filter_map(|(set, size)| resize(view, set, size))
        .collect()
}

/// Pods that are not available can go without loss, up to `spare` of them.
fn drop_unavailable(old: &[&Arc<ReplicaSet>], sizes: &mut [i32], mut spare: i32) {
    for (set, size) in old.iter().zip(sizes) {
        let gone = (wanted(set) - available(set)).clamp(0, spare);
        *size -= gone;
        spare -= gone;
    }
}

/// Available pods go only as far as enough others are available.
fn drop_available(sizes: &mut [i32], mut surplus: i32) {
    for size in sizes {
        let gone = (*size).min(surplus).max(0);
        *size -= gone;
        surplus -= gone;
    }
}

/// Recreate, first half: no old pod is wanted any more.
pub(super) fn stop_old(view: &View<'_>) -> Vec<Step> {
    let old = view.old_sets();
    old.iter().filter_map(|set| resize(view, set, 0)).collect()
}

/// Recreate waits for this to end.
pub(super) fn old_pods_run(view: &View<'_>) -> bool {
    let old = view.old_sets();
    sum(old.iter().copied(), actual) > 0 || old.iter().any(|set| (view.has_pods)(set))
}

/// Old ReplicaSets beyond the history that is kept, the oldest revisions.
pub(super) fn forget(view: &View<'_>) -> Vec<Step> {
    let Some(limit) = view.history_limit() else {
        return Vec::new();
    };
    let mut old = view.old_sets();
    old.retain(|set| set.metadata.deletion_timestamp.is_none());
    let excess = old.len().saturating_sub(limit);
    old.sort_by_key(|set| revision::revision(set));
    let unused = |set: &&Arc<ReplicaSet>| {
        let status = set.status.as_ref();
        let seen = status.and_then(|status| status.observed_generation);
        actual(set) == 0 && wanted(set) == 0 && set.metadata.generation <= seen
    };
    let excess = old.into_iter().take(excess);
    excess
        .filter(unused)
        .map(|set| Step::Delete(Arc::clone(set)))
        .collect()
}
