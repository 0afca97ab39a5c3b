//! What a namespace says while it is emptied.

use std::time::Duration;

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
    /// Why kinds are not known.
    discovery: Option<String>,
    /// What went wrong with kinds that are.
    failures: Vec<String>,
    next_look: Option<Duration>,
    quiet: bool,
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

    /// The server did not tell its kinds.
    pub(super) fn unknown(&mut self, why: String) {
        self.discovery = Some(why);
    }

    /// The server could not tell the kinds of these versions of groups.
    pub(super) fn undiscovered(&mut self, versions: &[String]) {
        if versions.is_empty() {
            return;
        }
        let stale = versions
            .iter()
            .map(|version| format!("{version}: stale GroupVersion discovery: {version}"));
        let stale: Vec<String> = stale.collect();
        self.discovery = Some(format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            stale.len(),
            stale.join(", ")
        ));
    }

    /// While Pods remain, nothing is said of what remains: so it is upstream.
    pub(super) fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// A kind could not be emptied.
    pub(super) fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    pub(super) fn look_again_in(&mut self, delay: Duration) {
        self.next_look = Some(delay);
    }

    pub(super) fn next_look(&self) -> Option<Duration> {
        self.next_look
    }

    /// True if there may be more than what is known to be there.
    pub(super) fn has_failed(&self) -> bool {
        self.discovery.is_some() || !self.failures.is_empty()
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
    let content = match remaining.resources.is_empty() || remaining.quiet {
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
    let finalizers = match remaining.finalizers.is_empty() || remaining.quiet {
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
    let discovery = match &remaining.discovery {
        None => (
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        Some(why) => ("True", "DiscoveryFailed", why.clone()),
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            discovery.0,
            discovery.1,
            discovery.2,
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        deletion(&remaining.failures),
        ("NamespaceContentRemaining", content.0, content.1, content.2),
        (
            "NamespaceFinalizersRemaining",
            finalizers.0,
            finalizers.1,
            finalizers.2,
        ),
    ]
}

fn deletion(failures: &[String]) -> Condition {
    const NAME: &str = "NamespaceDeletionContentFailure";
    if failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization";
        return (NAME, "False", "ContentDeleted", message.to_owned());
    }
    let mut failures = failures.to_vec();
    failures.sort();
    let message = format!(
        "Failed to delete all resource types, {} remaining: {}",
        failures.len(),
        failures.join(", ")
    );
    (NAME, "True", "ContentDeletionFailed", message)
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
            watches: true,
        }
    }

    fn texts(status: &NamespaceStatus) -> Vec<String> {
        let conditions = status.conditions.iter().flatten().skip(3);
        conditions
            .map(|one| format!("{} {}", one.status, one.message.clone().unwrap()))
            .collect()
    }

    #[test]
    fn failures_are_told_in_upstreams_words() {
        let mut remaining = Remaining::default();
        remaining.undiscovered(&["example.com/v1".into()]);
        remaining.fail("no".into());
        let told = status(
            &NamespaceStatus::default(),
            &remaining,
            Timestamp::UNIX_EPOCH,
        );
        let messages: Vec<String> = told
            .conditions
            .unwrap()
            .into_iter()
            .filter_map(|one| one.message)
            .collect();
        assert_eq!(
            messages[0],
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             example.com/v1: stale GroupVersion discovery: example.com/v1"
        );
        assert_eq!(
            messages[2],
            "Failed to delete all resource types, 1 remaining: no"
        );
        assert!(remaining.has_failed());
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
        remaining.keep_quiet();
        assert_eq!(texts(&status(&held, &remaining, now)), texts(&empty));
    }
}
