//! Topology spread: required constraints, and even distribution as a wish.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::{
    api::core::v1::{PodSpec, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement,
};

use super::{
    cache::{Cache, NodeInfo, PodInfo},
    filter::{Refusal, Wake, is_tolerated, matches_node, taints},
};
use crate::{pod, selector};

pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Which pods are alike, for even distribution without explicit constraints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alike {
    /// Those of the same controller.
    Owner(String),
    /// Those with these labels, by which Services select the pod.
    Labels(BTreeMap<String, String>),
}

/// One constraint with the number of matching pods in each domain.
struct Constraint<'a> {
    spec: &'a TopologySpreadConstraint,
    counts: HashMap<String, i64>,
    counts_itself: bool,
}

impl<'a> Constraint<'a> {
    fn new(
        spec: &'a TopologySpreadConstraint,
        pod: &PodInfo,
        pod_spec: &PodSpec,
        cache: &Cache,
    ) -> Self {
        let mut wanted = spec.label_selector.clone().unwrap_or_default();
        for key in spec.match_label_keys.iter().flatten() {
            let value = pod.labels().and_then(|labels| labels.get(key));
            let expressions = wanted.match_expressions.get_or_insert_default();
            expressions.extend(value.map(|value| LabelSelectorRequirement {
                key: key.clone(),
                operator: "In".into(),
                values: Some(vec![value.clone()]),
            }));
        }
        let selects = |other: &PodInfo| {
            spec.label_selector.is_some()
                && other.namespace() == pod.namespace()
                && !pod::is_terminating(&other.pod)
                && selector::matches(&wanted, other.labels())
        };
        let mut counts = HashMap::new();
        for node in cache
            .nodes
            .values()
            .filter(|node| is_eligible(spec, pod_spec, node))
        {
            let Some(domain) = node.label(&spec.topology_key) else {
                continue;
            };
            let here = node.pods.values().filter(|other| selects(other)).count();
            *counts.entry(domain.clone()).or_default() += i64::try_from(here).unwrap_or(0);
        }
        Self {
            spec,
            counts,
            counts_itself: selects(pod),
        }
    }

    fn least(&self) -> i64 {
        let domains = i32::try_from(self.counts.len()).unwrap_or(i32::MAX);
        match self.spec.min_domains {
            Some(wanted) if domains < wanted => 0,
            _ => self.counts.values().copied().min().unwrap_or(0),
        }
    }
}

/// Whether a node's pods count at all (KEP-3094).
fn is_eligible(spec: &TopologySpreadConstraint, pod: &PodSpec, node: &NodeInfo) -> bool {
    let affinity = spec.node_affinity_policy.as_deref() != Some("Ignore");
    let by_taints = spec.node_taints_policy.as_deref() == Some("Honor");
    let tolerated = || {
        let mut hard = taints(node).filter(|taint| taint.effect != "PreferNoSchedule");
        hard.all(|taint| is_tolerated(taint, pod))
    };
    (!affinity || matches_node(pod, node)) && (!by_taints || tolerated())
}

/// The required constraints of a pod.
#[derive(Default)]
pub(super) struct Spread<'a> {
    constraints: Vec<Constraint<'a>>,
}

impl<'a> Spread<'a> {
    pub(super) fn new(pod: &PodInfo, spec: &'a PodSpec, cache: &Cache) -> Self {
        let all = spec.topology_spread_constraints.iter().flatten();
        let required = all.filter(|one| one.when_unsatisfiable == "DoNotSchedule");
        let constraints = required.map(|one| Constraint::new(one, pod, spec, cache));
        Self {
            constraints: constraints.collect(),
        }
    }

    pub(super) fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        for constraint in &self.constraints {
            let Some(domain) = node.label(&constraint.spec.topology_key) else {
                let reason = "node(s) didn't match pod topology spread constraints \
                              (missing required label)";
                return Some(Refusal::node(reason));
            };
            let here = constraint.counts.get(domain).copied().unwrap_or(0);
            let skew = here + i64::from(constraint.counts_itself) - constraint.least();
            if skew > i64::from(constraint.spec.max_skew) {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Some(Refusal::pods(reason).waking_too(Wake::PLACED));
            }
        }
        None
    }
}

/// Crowdedness of each node: pods of the same kind there and around it; the
/// fewer the better. `None` if nothing is to be spread.
pub(super) fn crowdedness(
    pod: &PodInfo,
    spec: &PodSpec,
    cache: &Cache,
    alike: Option<&Alike>,
) -> Option<HashMap<String, f64>> {
    let all = spec
        .topology_spread_constraints
        .as_deref()
        .unwrap_or_default();
    let mut result: HashMap<String, f64> = HashMap::new();
    if all.is_empty() {
        let alike = alike?;
        let count = |node: &NodeInfo| count_alike(pod, node, alike);
        for (key, max_skew) in [(HOSTNAME, 3), (ZONE, 5)] {
            add_counts(cache, key, max_skew, &count, &mut result);
        }
        return Some(result);
    }
    for one in all
        .iter()
        .filter(|one| one.when_unsatisfiable == "ScheduleAnyway")
    {
        let constraint = Constraint::new(one, pod, spec, cache);
        let counts = &constraint.counts;
        let weight = weight(counts.len());
        for (name, node) in &cache.nodes {
            let domain = node.label(&one.topology_key);
            let count = domain
                .and_then(|domain| counts.get(domain))
                .copied()
                .unwrap_or(0);
            *result.entry(name.clone()).or_default() +=
                count as f64 * weight + f64::from(one.max_skew - 1);
        }
    }
    (!result.is_empty()).then_some(result)
}

fn count_alike(pod: &PodInfo, node: &NodeInfo, alike: &Alike) -> i64 {
    let count = match alike {
        Alike::Owner(uid) => node.by_owner.get(uid).copied().unwrap_or(0),
        Alike::Labels(labels) => {
            let others = node.pods.values().filter(|other| {
                other.namespace() == pod.namespace()
                    && !pod::is_terminating(&other.pod)
                    && selector::contains(labels, other.labels())
            });
            others.count()
        }
    };
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn add_counts(
    cache: &Cache,
    key: &str,
    max_skew: i32,
    count: &dyn Fn(&NodeInfo) -> i64,
    result: &mut HashMap<String, f64>,
) {
    let mut domains: HashMap<&str, i64> = HashMap::new();
    for node in cache.nodes.values() {
        if let Some(domain) = domain(node, key) {
            *domains.entry(domain).or_default() += count(node);
        }
    }
    let weight = weight(domains.len());
    for (name, node) in &cache.nodes {
        let Some(domain) = domain(node, key) else {
            continue;
        };
        let here = domains.get(domain).copied().unwrap_or(0);
        *result.entry(name.clone()).or_default() += here as f64 * weight + f64::from(max_skew - 1);
    }
}

/// Each node is a domain of its own, whatever its labels say.
fn domain<'n>(node: &'n NodeInfo, key: &str) -> Option<&'n str> {
    match key {
        HOSTNAME => Some(node.name()),
        _ => node.label(key).map(String::as_str),
    }
}

/// Many domains: each pod in one weighs more, or zones would drown hosts.
fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}
