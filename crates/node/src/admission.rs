//! Whether a pod that names this node may run on it. Pure.
//!
//! The scheduler asked the same before, but a pod may name its node itself, and two may race. What fits was counted
//! by upstream's kubelet (`lifecycle.predicateAdmitHandler`): resources first, then selector, affinity and sysctls.
//!
//! Absent: taints with NoExecute, extended resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec};

use crate::network::host_ports;
use crate::quantity::{self, Exact};
use crate::registration::Allocatable;
use crate::status::{Verdict, is_terminal, total};

/// What the node is, as far as pods select it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// What it has for pods.
    pub allocatable: Allocatable,
}

/// Why the pod may not run beside `others`, if it may not.
pub fn refusal<'a>(
    pod: &Pod,
    others: impl Iterator<Item = &'a Pod>,
    node: Node<'_>,
) -> Option<Verdict> {
    let spec = pod.spec.as_ref()?;
    let active: Vec<&PodSpec> = others
        .filter(|p| is_active(p))
        .filter_map(|p| p.spec.as_ref())
        .collect();
    let mut used = Usage::default();
    active.iter().for_each(|spec| used.add(&Usage::of(spec)));
    resources(&Usage::of(spec), &used, node.allocatable)
        .or_else(|| selection(spec, node))
        .or_else(|| ports(spec, &active))
        .or_else(|| sysctls(spec))
}

/// Ports of the node that another pod has (upstream's predicate `NodePorts`).
fn ports(spec: &PodSpec, others: &[&PodSpec]) -> Option<Verdict> {
    let mut taken = others.iter().flat_map(|other| host_ports::of_spec(other));
    let wanted: Vec<_> = host_ports::of_spec(spec).collect();
    let conflict = taken.any(|(taken, _)| wanted.iter().any(|(port, _)| port.conflicts(&taken)));
    conflict.then(|| Verdict {
        reason: "NodePorts".to_owned(),
        message:
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                .to_owned(),
    })
}

/// Whether a pod uses, or will use, what it asks for.
fn is_active(pod: &Pod) -> bool {
    !pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .is_some_and(is_terminal)
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    pods: i64,
    cpu: i64,
    memory: i64,
}

impl Usage {
    fn of(spec: &PodSpec) -> Usage {
        let mut requests = total(spec, |r| r.requests.as_ref());
        requests.extend(
            spec.resources
                .as_ref()
                .and_then(|r| r.requests.clone())
                .unwrap_or_default(),
        );
        let value = |name: &str| requests.get(name).and_then(|q| quantity::parse(&q.0));
        Usage {
            pods: 1,
            cpu: value("cpu").map_or(0, Exact::millis),
            memory: value("memory").map_or(0, Exact::ceil),
        }
    }

    fn add(&mut self, other: &Usage) {
        self.pods += other.pods;
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }
}

fn resources(wanted: &Usage, used: &Usage, has: Allocatable) -> Option<Verdict> {
    let rows = [
        ("pods", wanted.pods, used.pods, has.pods),
        ("cpu", wanted.cpu, used.cpu, has.cpu_millis),
        ("memory", wanted.memory, used.memory, has.memory_bytes),
    ];
    let lacking = rows
        .into_iter()
        .find(|(_, wanted, used, has)| *wanted > 0 && wanted.saturating_add(*used) > *has);
    lacking.map(|(name, wanted, used, has)| Verdict {
        reason: format!("OutOf{name}"),
        message: format!("Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {has}"),
    })
}

/// Sysctls that a pod may set: namespaced, and harmless to others (upstream's `SafeSysctlAllowlist`).
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn sysctls(spec: &PodSpec) -> Option<Verdict> {
    let wanted = spec.security_context.as_ref()?.sysctls.as_ref()?;
    // A slash may stand for a dot.
    let safe = |name: &str| SAFE_SYSCTLS.contains(&name.replace('/', ".").as_str());
    let forbidden = wanted.iter().find(|sysctl| !safe(&sysctl.name))?;
    Some(Verdict {
        reason: "SysctlForbidden".to_owned(),
        message: format!("forbidden sysctl: {:?} not allowlisted", forbidden.name),
    })
}

fn selection(spec: &PodSpec, node: Node<'_>) -> Option<Verdict> {
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(k, v)| node.labels.get(k) == Some(v));
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let attracted =
        required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches(term, node)));
    (!selected || !attracted).then(|| Verdict {
        reason: "NodeAffinity".to_owned(),
        message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            .to_owned(),
    })
}

/// An empty term matches nothing.
fn matches(term: &NodeSelectorTerm, node: Node<'_>) -> bool {
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let field = |r: &NodeSelectorRequirement| r.key == "metadata.name" && holds(r, Some(node.name));
    (!fields.is_empty() || !expressions.is_empty())
        && fields.iter().all(field)
        && expressions
            .iter()
            .all(|r| holds(r, node.labels.get(&r.key).map(String::as_str)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|v| values.iter().any(|listed| listed == v));
    let numbers = || {
        Some((
            value?.parse::<i64>().ok()?,
            values.first()?.parse::<i64>().ok()?,
        ))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(have, limit)| have > limit),
        "Lt" => numbers().is_some_and(|(have, limit)| have < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        if spec.get("containers").is_none() {
            spec["containers"] = json!([]);
        }
        serde_json::from_value(json!({ "spec": spec })).expect("a pod")
    }

    fn cpu(request: &str) -> Pod {
        pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": request}}}]}))
    }

    fn reason(pod: &Pod, others: &[Pod]) -> Option<String> {
        let labels = BTreeMap::from([
            ("zone".to_owned(), "a".to_owned()),
            ("size".to_owned(), "5".to_owned()),
        ]);
        let allocatable = Allocatable {
            cpu_millis: 2000,
            memory_bytes: 1 << 30,
            pods: 3,
        };
        let node = Node {
            name: "node1",
            labels: &labels,
            allocatable,
        };
        refusal(pod, others.iter(), node).map(|v| format!("{}: {}", v.reason, v.message))
    }

    /// The texts of the recorded scenario node-name-direct.
    #[test]
    fn a_pod_that_does_not_fit_is_refused_in_upstreams_words() {
        let huge = "OutOfcpu: Node didn't have enough resource: cpu, requested: 1000000, used: 0, capacity: 2000";
        assert_eq!(reason(&cpu("1000"), &[]).as_deref(), Some(huge));
        let second = "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 900, capacity: 2000";
        assert_eq!(
            reason(&cpu("1500m"), &[cpu("900m")]).as_deref(),
            Some(second)
        );
        assert_eq!(reason(&cpu("1100m"), &[cpu("900m")]), None);
        let mut over = cpu("900m");
        over.status = serde_json::from_value(json!({"phase": "Failed"})).ok();
        assert_eq!(reason(&cpu("1500m"), &[over]), None);
        let full =
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3";
        assert_eq!(
            reason(&cpu("0"), &[cpu("0"), cpu("0"), cpu("0")]).as_deref(),
            Some(full)
        );
    }

    /// The text of the recorded scenario sec-sysctl-forbidden.
    #[test]
    fn a_pod_that_sets_an_unsafe_sysctl_is_refused() {
        let pod = |name: &str| {
            pod(json!({"securityContext": {"sysctls": [{"name": name, "value": "7"}]}}))
        };
        let forbidden = "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted";
        assert_eq!(
            reason(&pod("kernel.msgmax"), &[]).as_deref(),
            Some(forbidden)
        );
        assert_eq!(reason(&pod("net.ipv4.tcp_syncookies"), &[]), None);
    }

    #[test]
    fn a_pod_that_selects_another_node_is_refused() {
        let affinity = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let expression = |key: &str, operator: &str, values: &[&str]| {
            affinity(
                json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]),
            )
        };
        let rows = [
            (json!({"nodeSelector": {"zone": "a"}}), true),
            (json!({"nodeSelector": {"zone": "b"}}), false),
            (expression("zone", "In", &["a", "b"]), true),
            (expression("zone", "NotIn", &["a"]), false),
            (expression("none", "DoesNotExist", &[]), true),
            (expression("none", "Exists", &[]), false),
            (expression("size", "Gt", &["4"]), true),
            (expression("size", "Lt", &["5"]), false),
            (affinity(json!([{}])), false),
            (
                affinity(
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}]),
                ),
                true,
            ),
        ];
        for (spec, fits) in rows {
            let got = reason(&pod(spec.clone()), &[]);
            assert_eq!(got.is_none(), fits, "{spec}: {got:?}");
        }
    }
}
