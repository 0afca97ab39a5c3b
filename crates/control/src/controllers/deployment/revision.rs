//! Annotations of ReplicaSets: revision, history, and what is copied.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::sets::View;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Characters that the history may have; older revisions are dropped.
const HISTORY_LENGTH: usize = 2000;

/// Annotations of a Deployment that are not its ReplicaSets' business.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

type Annotations = BTreeMap<String, String>;

fn number<N: std::str::FromStr>(set: &ReplicaSet, name: &str) -> Option<N> {
    let annotations = set.metadata.annotations.as_ref()?;
    annotations.get(name)?.parse().ok()
}

/// The revision of a ReplicaSet; 0 if it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    number(set, REVISION).unwrap_or(0)
}

/// The Deployment's size when the ReplicaSet was scaled last.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED_REPLICAS)
}

/// The Deployment's size with surge when the ReplicaSet was scaled last.
pub(super) fn max_replicas(set: &ReplicaSet) -> Option<i32> {
    number(set, MAX_REPLICAS)
}

/// The annotations that record the Deployment's present size.
pub(super) fn size(view: &View<'_>) -> Annotations {
    let most = view.replicas() + view.max_surge();
    [
        (DESIRED_REPLICAS.to_owned(), view.replicas().to_string()),
        (MAX_REPLICAS.to_owned(), most.to_string()),
    ]
    .into()
}

/// The revision that the new ReplicaSet has to have.
pub(super) fn next(view: &View<'_>) -> i64 {
    let old = view.old_sets();
    let newest = old.iter().map(|set| revision(set)).max();
    newest.unwrap_or(0) + 1
}

/// The annotations that the new ReplicaSet should have and does not.
pub(super) fn missing(view: &View<'_>, set: &ReplicaSet) -> Annotations {
    let mut wanted = Annotations::new();
    for (name, value) in view.deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) {
            wanted.insert(name.clone(), value.clone());
        }
    }
    let next = next(view);
    let current = number::<i64>(set, REVISION);
    if current.unwrap_or(0) < next {
        wanted.insert(REVISION.into(), next.to_string());
        if let Some(current) = current {
            wanted.insert(REVISION_HISTORY.into(), history(set, current));
        }
    }
    let have = set.metadata.annotations.as_ref();
    wanted.retain(|name, value| have.and_then(|have| have.get(name)) != Some(value));
    wanted
}

/// The revisions that the ReplicaSet had before, with the present one.
fn history(set: &ReplicaSet, current: i64) -> String {
    let annotations = set.metadata.annotations.as_ref();
    let old = annotations.and_then(|annotations| annotations.get(REVISION_HISTORY));
    let mut history: Vec<&str> = match old {
        Some(old) if !old.is_empty() => old.split(',').collect(),
        _ => Vec::new(),
    };
    let current = current.to_string();
    history.push(&current);
    let length = |history: &[&str]| history.iter().map(|one| one.len() + 1).sum::<usize>();
    while history.len() > 1 && length(&history) > HISTORY_LENGTH {
        history.remove(0);
    }
    history.join(",")
}
