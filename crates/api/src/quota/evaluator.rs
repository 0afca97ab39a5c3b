//! How the objects of one resource count.

use jiff::Timestamp;
use serde_json::Value;

use super::{claims, pods, services};
use crate::amounts::Amounts;
use crate::quantity::Quantity;

/// How the objects of one resource count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluator {
    /// Pods: compute resources of those that are not over.
    Pods,
    /// Services: their load balancers and node ports.
    Services,
    /// PersistentVolumeClaims: their storage, in all and by class.
    Claims,
    /// ResourceClaims: their devices by class.
    ResourceClaims,
    /// Anything else: one each. `count/NAME.GROUP`, and the old name.
    Count {
        /// `count/deployments.apps`
        name: String,
        /// `configmaps`, where it had a name before there was `count/`.
        alias: Option<&'static str>,
    },
}

/// Kinds that never counted, and such as are never stored.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// Names from before there was `count/`.
const ALIASES: [&str; 4] = [
    "configmaps",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
];

impl Evaluator {
    /// Of a resource; `None` when it does not count.
    pub fn of(group: &str, plural: &str) -> Option<Evaluator> {
        if IGNORED.contains(&(group, plural)) {
            return None;
        }
        Some(match (group, plural) {
            ("", "pods") => Evaluator::Pods,
            ("", "services") => Evaluator::Services,
            ("", "persistentvolumeclaims") => Evaluator::Claims,
            ("resource.k8s.io", "resourceclaims") => Evaluator::ResourceClaims,
            ("", plural) => Evaluator::Count {
                name: format!("count/{plural}"),
                alias: ALIASES.into_iter().find(|alias| *alias == plural),
            },
            (group, plural) => Evaluator::Count {
                name: format!("count/{plural}.{group}"),
                alias: None,
            },
        })
    }

    /// Of the given names of a quota those that these objects count in.
    pub fn names<'n>(&self, hard: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
        hard.filter(|name| match self {
            Evaluator::Pods => pods::counts_in(name),
            Evaluator::Services => services::counts_in(name),
            Evaluator::Claims => claims::counts_in(name),
            Evaluator::ResourceClaims => claims::devices_count_in(name),
            Evaluator::Count { name: own, alias } => own == name || *alias == Some(*name),
        })
        .collect()
    }

    /// What an object uses.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        match self {
            Evaluator::Pods => pods::usage(object, now),
            Evaluator::Services => services::usage(object),
            Evaluator::Claims => claims::usage(object),
            Evaluator::ResourceClaims => claims::device_usage(object),
            Evaluator::Count { name, alias } => {
                let names = std::iter::once(name.as_str()).chain(*alias);
                names
                    .map(|name| (name.to_owned(), Quantity::from_int(1)))
                    .collect()
            }
        }
    }

    /// Whether an object is in a scope: an item of `scopeSelector.matchExpressions`.
    pub fn in_scope(&self, scope: &Value, object: &Value) -> bool {
        match self {
            Evaluator::Pods => pods::in_scope(scope, object),
            Evaluator::Claims => claims::in_scope(scope, object),
            _ => false,
        }
    }

    /// What is missing in an object that a quota of these names demands.
    pub(super) fn missing(&self, names: &[&str], object: &Value) -> Option<String> {
        match self {
            Evaluator::Pods => pods::missing(names, object),
            _ => None,
        }
    }
}

/// The resources (group, plural) whose objects count in a quota of these names.
pub fn tracked<'n>(hard: impl IntoIterator<Item = &'n str>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in hard {
        let counted = name
            .strip_prefix("count/")
            .map(|counted| counted.split_once('.').unwrap_or((counted, "")));
        let own = match counted {
            Some((plural, group)) => vec![(group.to_owned(), plural.to_owned())],
            None => {
                let special = [
                    ("", "pods"),
                    ("", "services"),
                    ("", "persistentvolumeclaims"),
                    ("resource.k8s.io", "resourceclaims"),
                ];
                let aliased = ALIASES.into_iter().map(|alias| ("", alias));
                let all = special.into_iter().chain(aliased);
                all.filter(|(group, plural)| {
                    Evaluator::of(group, plural)
                        .is_some_and(|e| !e.names(std::iter::once(name)).is_empty())
                })
                .map(|(group, plural)| (group.to_owned(), plural.to_owned()))
                .collect()
            }
        };
        for resource in own {
            if !found.contains(&resource) && Evaluator::of(&resource.0, &resource.1).is_some() {
                found.push(resource);
            }
        }
    }
    found
}
