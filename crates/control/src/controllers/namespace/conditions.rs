//! What a namespace says while it is emptied.

use k8s_openapi::{
    api::core::v1::{NamespaceCondition, NamespaceStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{Counts, Resource};

/// What is still there.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    resources: Counts,
    finalizers: Counts,
}

impl Remaining {
    /// Counts objects of a kind, each given by its finalizers.
    pub(super) fn add(&mut self, resource: &Resource, objects: Vec<Vec<String>>) {
        if !objects.is_empty() {
            *self.resources.entry(resource.full_name()).or_default() += objects.len();
        }
        for finalizer in objects.into_iter().flatten() {
            *self.finalizers.entry(finalizer).or_default() += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

fn listed(counts: &Counts, verb: &str) -> String {
    let one =
        |(name, count): (&String, &usize)| format!("{name} {verb} {count} resource instances");
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The status with conditions for what remains.
pub(super) fn status(
    old: &NamespaceStatus,
    remaining: &Remaining,
    now: Timestamp,
) -> NamespaceStatus {
    let mut status = old.clone();
    for (kind, value, reason, message) in wanted(remaining) {
        let conditions = status.conditions.get_or_insert_default();
        let condition = NamespaceCondition {
            type_: kind.into(),
            status: value.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|one| one.type_ == kind) {
            None => conditions.push(condition),
            Some(one) if one.status == condition.status && one.message == condition.message => {}
            Some(one) => {
                let since = match one.status == condition.status {
                    true => one.last_transition_time.clone(),
                    false => condition.last_transition_time.clone(),
                };
                *one = NamespaceCondition {
                    last_transition_time: since,
                    ..condition
                };
            }
        }
    }
    status
}

type Condition = (&'static str, &'static str, &'static str, String);

fn wanted(remaining: &Remaining) -> [Condition; 5] {
    let content = match remaining.resources.is_empty() {
        true => (
            "False",
            "ContentRemoved",
            "All content successfully removed".to_owned(),
        ),
        false => (
            "True",
            "SomeResourcesRemain",
            format!(
                "Some resources are remaining: {}",
                listed(&remaining.resources, "has")
            ),
        ),
    };
    let finalizers = match remaining.finalizers.is_empty() {
        true => (
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        ),
        false => (
            "True",
            "SomeFinalizersRemain",
            format!(
                "Some content in the namespace has finalizers remaining: {}",
                listed(&remaining.finalizers, "in")
            ),
        ),
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        ("NamespaceContentRemaining", content.0, content.1, content.2),
        (
            "NamespaceFinalizersRemaining",
            finalizers.0,
            finalizers.1,
            finalizers.2,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_maps() -> Resource {
        Resource {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            plural: "configmaps".into(),
            namespaced: true,
            deletes_collection: true,
        }
    }

    fn texts(status: &NamespaceStatus) -> Vec<String> {
        let conditions = status.conditions.iter().flatten().skip(3);
        conditions
            .map(|one| format!("{} {}", one.status, one.message.clone().unwrap()))
            .collect()
    }

    #[test]
    fn what_remains_is_told_in_upstreams_words() {
        let mut remaining = Remaining::default();
        remaining.add(&config_maps(), vec![vec!["example.com/hold".into()]]);
        let now = Timestamp::UNIX_EPOCH;
        let held = status(&NamespaceStatus::default(), &remaining, now);
        assert_eq!(
            texts(&held),
            [
                "True Some resources are remaining: configmaps. has 1 resource instances",
                "True Some content in the namespace has finalizers remaining: example.com/hold \
                 in 1 resource instances",
            ]
        );
        let empty = status(&held, &Remaining::default(), now);
        assert_eq!(
            texts(&empty),
            [
                "False All content successfully removed",
                "False All content-preserving finalizers finished",
            ]
        );
        assert_eq!(
            status(&empty, &Remaining::default(), Timestamp::now()),
            empty
        );
    }
}
