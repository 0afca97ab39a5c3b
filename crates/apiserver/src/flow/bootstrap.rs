//! The FlowSchemas and priority levels that every cluster has (KEP-1040): two of each are mandatory, the others are
//! suggestions that their owner may change.

use serde_json::{Value, json};

/// Objects, without what a server adds.
pub struct Objects {
    /// FlowSchemas.
    pub schemas: Vec<Value>,
    /// PriorityLevelConfigurations.
    pub levels: Vec<Value>,
}

const ALL: [&str; 2] = ["system:unauthenticated", "system:authenticated"];

/// Without these, some requests would have no level.
pub fn mandatory() -> Objects {
    Objects {
        schemas: vec![
            schema(
                "exempt",
                "exempt",
                1,
                "",
                groups(&["system:masters"]),
                everything(),
            ),
            schema(
                "catch-all",
                "catch-all",
                10_000,
                "ByUser",
                groups(&ALL),
                everything(),
            ),
        ],
        levels: vec![
            level(
                "exempt",
                json!({
                    "type": "Exempt",
                    "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
                }),
            ),
            level(
                "catch-all",
                json!({
                    "type": "Limited",
                    "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
                }),
            ),
        ],
    }
}

/// All that a new cluster has.
pub fn all() -> Objects {
    let mut objects = mandatory();
    objects.levels.extend([
        limited("system", 30, 33, 64, 6),
        limited("node-high", 40, 25, 64, 6),
        limited("leader-election", 10, 0, 16, 4),
        limited("workload-high", 40, 50, 128, 6),
        limited("workload-low", 100, 90, 128, 6),
        limited("global-default", 20, 50, 128, 6),
    ]);
    objects.schemas.extend(suggested_schemas());
    objects
}

fn suggested_schemas() -> Vec<Value> {
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let nodes = || groups(&["system:nodes"]);
    let leases = |verbs: &[&str]| resource_rule(verbs, "coordination.k8s.io", &["leases"], false);
    let probes = json!({"nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]},
    ]});
    let elections = json!({"resourceRules": [leases(&["get", "create", "update"])]});
    let node_high = json!({"resourceRules": [
        resource_rule(&["*"], "", &["nodes", "nodes/status"], true),
        leases(&["*"]),
    ]});
    let mut electors = users(&[manager, scheduler]);
    electors.extend(system_accounts());
    let own = "ByNamespace";
    vec![
        schema(
            "system-nodes",
            "system",
            500,
            "ByUser",
            nodes(),
            everything(),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            nodes(),
            node_high,
        ),
        schema("probes", "exempt", 2, "", groups(&ALL), probes),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            electors,
            elections,
        ),
        schema(
            &manager["system:".len()..],
            "workload-high",
            800,
            own,
            users(&[manager]),
            everything(),
        ),
        schema(
            &scheduler["system:".len()..],
            "workload-high",
            800,
            own,
            users(&[scheduler]),
            everything(),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            own,
            system_accounts(),
            everything(),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            groups(&["system:serviceaccounts"]),
            everything(),
        ),
        schema(
            "global-default",
            "global-default",
            9900,
            "ByUser",
            groups(&ALL),
            everything(),
        ),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "generation": 1,
            "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"},
        },
        "spec": spec,
        "status": {},
    })
}

fn level(name: &str, spec: Value) -> Value {
    object("PriorityLevelConfiguration", name, spec)
}

fn limited(name: &str, shares: u32, lendable: u32, queues: u32, hand: u32) -> Value {
    level(
        name,
        json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable,
            "limitResponse": {
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
            },
        }}),
    )
}

fn schema(
    name: &str,
    level: &str,
    precedence: u32,
    distinguisher: &str,
    subjects: Vec<Value>,
    rule: Value,
) -> Value {
    let mut rule = rule;
    rule["subjects"] = subjects.into();
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if !distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    let mut schema = object("FlowSchema", name, spec);
    schema["status"] = json!({"conditions": [super::dangling::condition(level, true)]});
    schema
}

fn groups(names: &[&str]) -> Vec<Value> {
    let subject = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
    names.iter().map(subject).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    let subject = |name: &&str| json!({"kind": "User", "user": {"name": name}});
    names.iter().map(subject).collect()
}

fn system_accounts() -> Vec<Value> {
    vec![
        json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}}),
    ]
}

fn resource_rule(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule =
        json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster_scope {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn everything() -> Value {
    json!({
        "resourceRules": [resource_rule(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}
