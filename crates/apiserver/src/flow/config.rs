//! From FlowSchemas and PriorityLevelConfigurations to what requests are measured by. Pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::Value;

use super::bootstrap;
use super::rules::{Digest, Rules, Target};
use crate::object::Meta as _;

/// FlowSchemas in the order in which they are asked, and priority levels by name.
#[derive(Debug)]
pub struct Config {
    schemas: Vec<Schema>,
    /// Priority levels by name.
    pub levels: BTreeMap<Arc<str>, Level>,
}

/// A FlowSchema.
#[derive(Debug)]
pub struct Schema {
    /// Its name.
    pub name: Arc<str>,
    /// Its uid, which answers show.
    pub uid: Arc<str>,
    /// Its priority level.
    pub level: Arc<str>,
    precedence: i64,
    distinguisher: Distinguisher,
    rules: Rules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinguisher {
    None,
    ByUser,
    ByNamespace,
}

/// A priority level.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Its uid, which answers show.
    pub uid: Arc<str>,
    /// Its requests are never held back.
    pub exempt: bool,
    /// Its part of the server's seats, in relation to the shares of the others.
    pub shares: i64,
    /// How much of its seats others may use, in percent.
    pub lendable_percent: i64,
    /// How much of others' seats it may use, in percent of its own; `None`: as many as there are.
    pub borrowing_percent: Option<i64>,
    /// Where requests wait that don't fit; `None`: they are refused at once.
    pub queuing: Option<Queuing>,
}

/// How requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queuing {
    /// How many queues there are.
    pub queues: usize,
    /// How many of them a flow may use.
    pub hand: usize,
    /// How many requests may wait in one.
    pub length: usize,
}

/// Bounds for what somebody writes into a configuration: upstream's validation allows no more queues.
const QUEUES_MAX: i64 = 10_000_000;

impl Config {
    /// Puts the objects together. A schema whose level is missing is left out; the mandatory objects are always there.
    pub fn build<'a>(
        schemas: impl IntoIterator<Item = &'a Value>,
        levels: impl IntoIterator<Item = &'a Value>,
    ) -> Config {
        let mandatory = bootstrap::mandatory();
        let read_level = |object: &Value| (Arc::from(object.meta("name")), Level::read(object));
        let mut by_name: BTreeMap<Arc<str>, Level> =
            mandatory.levels.iter().map(read_level).collect();
        by_name.extend(levels.into_iter().map(read_level));
        let read_schema = |object: &Value| {
            let schema = Schema::read(object);
            let exists = by_name.contains_key(&schema.level);
            exists.then(|| (schema.name.clone(), schema))
        };
        let mut found: BTreeMap<Arc<str>, Schema> =
            mandatory.schemas.iter().filter_map(read_schema).collect();
        found.extend(schemas.into_iter().filter_map(read_schema));
        let mut schemas: Vec<Schema> = found.into_values().collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Config {
            schemas,
            levels: by_name,
        }
    }

    /// The schema and the flow of a request; every request has one, because the last schema takes all.
    pub fn classify(&self, digest: &Digest<'_>) -> Option<(&Schema, u64)> {
        let schema = self
            .schemas
            .iter()
            .find(|s| s.rules.match_request(digest))?;
        let mut hasher = DefaultHasher::new();
        schema.name.hash(&mut hasher);
        match (schema.distinguisher, digest.target) {
            (Distinguisher::None, _) => {}
            (Distinguisher::ByUser, _) => digest.identity.user.hash(&mut hasher),
            (Distinguisher::ByNamespace, Target::Resource { namespace, .. }) => {
                namespace.hash(&mut hasher);
            }
            (Distinguisher::ByNamespace, Target::Path(_)) => {}
        }
        Some((schema, hasher.finish()))
    }
}

impl Schema {
    fn read(object: &Value) -> Schema {
        let spec = &object["spec"];
        Schema {
            name: object.meta("name").into(),
            uid: object.meta("uid").into(),
            level: level_of(object).into(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Distinguisher::ByUser,
                Some("ByNamespace") => Distinguisher::ByNamespace,
                _ => Distinguisher::None,
            },
            rules: Rules::read(&spec["rules"]),
        }
    }
}

/// The priority level that a FlowSchema names.
pub fn level_of(schema: &Value) -> &str {
    schema["spec"]["priorityLevelConfiguration"]["name"]
        .as_str()
        .unwrap_or_default()
}

impl Level {
    fn read(object: &Value) -> Level {
        let spec = &object["spec"];
        let exempt = spec["type"] == "Exempt";
        let own = if exempt {
            &spec["exempt"]
        } else {
            &spec["limited"]
        };
        let shares = own["nominalConcurrencyShares"].as_i64();
        let response = &own["limitResponse"];
        let queuing = &response["queuing"];
        let at_least = |value: &Value, default: i64| {
            value.as_i64().unwrap_or(default).clamp(1, QUEUES_MAX) as usize
        };
        let queues = at_least(&queuing["queues"], 64);
        Level {
            uid: object.meta("uid").into(),
            exempt,
            shares: shares.unwrap_or(if exempt { 0 } else { 30 }).max(0),
            lendable_percent: own["lendablePercent"].as_i64().unwrap_or(0).clamp(0, 100),
            borrowing_percent: own["borrowingLimitPercent"].as_i64().map(|p| p.max(0)),
            queuing: (response["type"] == "Queue").then(|| Queuing {
                queues,
                hand: at_least(&queuing["handSize"], 8).min(queues),
                length: at_least(&queuing["queueLengthLimit"], 50),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::Identity;

    fn schema_of(user: &str, groups: &[&str], target: Target<'_>, verb: &str) -> (String, u64) {
        let all = bootstrap::all();
        let config = Config::build(&all.schemas, &all.levels);
        let identity = match user {
            "" => Identity::anonymous(),
            user => Identity::authenticated(user, groups.iter().map(|g| g.to_string())),
        };
        let digest = Digest {
            identity: &identity,
            verb,
            target,
        };
        let (schema, flow) = config.classify(&digest).expect("the last schema takes all");
        (schema.name.to_string(), flow)
    }

    #[test]
    fn requests_find_the_schemas_of_a_new_cluster() {
        let pods = |namespace| Target::Resource {
            group: "",
            resource: "pods",
            namespace,
        };
        let leases = Target::Resource {
            group: "coordination.k8s.io",
            resource: "leases",
            namespace: "kube-node-lease",
        };
        let manager = "system:kube-controller-manager";
        let account = "system:serviceaccount:kube-system:x";
        let rows = [
            ("root", &["system:masters"][..], pods("a"), "exempt"),
            ("", &[], Target::Path("/readyz/etcd"), "probes"),
            (manager, &[], leases, "system-leader-election"),
            (manager, &[], pods("a"), "kube-controller-manager"),
            (
                "system:node:n",
                &["system:nodes"],
                leases,
                "system-node-high",
            ),
            (
                "system:node:n",
                &["system:nodes"],
                pods("a"),
                "system-nodes",
            ),
            (
                account,
                &["system:serviceaccounts"],
                pods("a"),
                "kube-system-service-accounts",
            ),
            (
                "system:serviceaccount:a:x",
                &["system:serviceaccounts"],
                pods("a"),
                "service-accounts",
            ),
            ("alice", &[], pods("a"), "global-default"),
        ];
        for (user, groups, target, want) in rows {
            assert_eq!(
                schema_of(user, groups, target, "get").0,
                want,
                "{user} {target:?}"
            );
        }
        let flow = |user, namespace| schema_of(user, &[], pods(namespace), "get").1;
        assert_ne!(flow("alice", "a"), flow("bob", "a"));
        assert_eq!(flow("alice", "a"), flow("alice", "b"));
        assert_ne!(flow(manager, "a"), flow(manager, "b"));
    }

    #[test]
    fn schema_without_its_level_is_left_out() {
        let lost = json!({
            "metadata": {"name": "lost"},
            "spec": {"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": "nowhere"}, "rules": [{
                "subjects": [{"kind": "Group", "group": {"name": "*"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }]},
        });
        let config = Config::build([&lost], []);
        let digest = Digest {
            identity: &Identity::anonymous(),
            verb: "get",
            target: Target::Path("/x"),
        };
        let (schema, _) = config.classify(&digest).expect("the last schema takes all");
        assert_eq!(&*schema.name, "catch-all");
    }
}
