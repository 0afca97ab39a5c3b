//! Which nodes can take a pod, and why the others can't.
//!
//! The checks run in the order of upstream's plugins; the first that refuses
//! gives the reason, in upstream's words, which people search for.

use std::{borrow::Cow, collections::BTreeSet};

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorTerm, PodSpec, Taint, Toleration};

use super::{
    affinity::Affinity,
    cache::{NodeInfo, PodInfo},
    resources::PODS,
    spread::Spread,
};
use crate::selector::{contains, fits};

/// What has to happen before it is worth trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wake {
    /// A node came or changed.
    pub(super) node: bool,
    /// A pod left a node.
    pub(super) freed: bool,
    /// A pod came to a node.
    pub(super) placed: bool,
}

impl Wake {
    pub(super) const NODE: Self = Self {
        node: true,
        freed: false,
        placed: false,
    };
    pub(super) const FREED: Self = Self {
        node: false,
        freed: true,
        placed: false,
    };
    pub(super) const PLACED: Self = Self {
        node: false,
        freed: false,
        placed: true,
    };

    pub(super) fn or(self, other: Self) -> Self {
        Self {
            node: self.node || other.node,
            freed: self.freed || other.freed,
            placed: self.placed || other.placed,
        }
    }
}

/// Why a node can't take the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reasons: Vec<Cow<'static, str>>,
    /// The removal of other pods could help.
    pub(super) by_pods: bool,
    pub(super) wake: Wake,
}

impl Refusal {
    /// Only a change of the node helps.
    pub(super) fn node(reason: &'static str) -> Self {
        Self {
            reasons: vec![reason.into()],
            by_pods: false,
            wake: Wake::NODE,
        }
    }

    /// The departure of pods helps as well.
    pub(super) fn pods(reason: &'static str) -> Self {
        Self {
            reasons: vec![reason.into()],
            by_pods: true,
            wake: Wake::NODE.or(Wake::FREED),
        }
    }

    pub(super) fn waking_too(mut self, wake: Wake) -> Self {
        self.wake = self.wake.or(wake);
        self
    }
}

/// What is computed once per pod, before nodes are looked at.
pub(super) struct Filter<'a> {
    pod: &'a PodInfo,
    spec: &'a PodSpec,
    /// The nodes that the pod names, if it does.
    named: Option<BTreeSet<&'a str>>,
    affinity: Affinity<'a>,
    spread: Spread<'a>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(
        pod: &'a PodInfo,
        spec: &'a PodSpec,
        affinity: Affinity<'a>,
        spread: Spread<'a>,
    ) -> Self {
        Self {
            pod,
            spec,
            named: required_nodes(spec).and_then(named_nodes),
            affinity,
            spread,
        }
    }

    /// `None` if the node can take the pod.
    pub(super) fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        let named = self.named.as_ref();
        if named.is_some_and(|named| !named.contains(node.name())) {
            let reason = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
            return Some(Refusal::node(reason));
        }
        unschedulable(self.spec, node)
            .or_else(|| other_name(self.spec, node))
            .or_else(|| tainted(self.spec, node))
            .or_else(|| unmatched(self.spec, node))
            .or_else(|| ports_taken(self.pod, node))
            .or_else(|| too_small(self.pod, node))
            .or_else(|| self.spread.refusal(node))
            .or_else(|| self.affinity.refusal(node))
    }
}

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

fn unschedulable(spec: &PodSpec, node: &NodeInfo) -> Option<Refusal> {
    let cordoned = node.node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let taint = Taint {
        key: UNSCHEDULABLE.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    (cordoned && !is_tolerated(&taint, spec)).then(|| Refusal::node("node(s) were unschedulable"))
}

fn other_name(spec: &PodSpec, node: &NodeInfo) -> Option<Refusal> {
    let name = spec.node_name.as_deref().filter(|name| !name.is_empty())?;
    (name != node.name()).then(|| Refusal::node("node(s) didn't match the requested node name"))
}

fn tainted(spec: &PodSpec, node: &NodeInfo) -> Option<Refusal> {
    let mut taints = taints(node).filter(|taint| taint.effect != "PreferNoSchedule");
    taints
        .any(|taint| !is_tolerated(taint, spec))
        .then(|| Refusal::node("node(s) had untolerated taint(s)"))
}

pub(super) fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    node.node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
}

pub(super) fn is_tolerated(taint: &Taint, spec: &PodSpec) -> bool {
    spec.tolerations
        .iter()
        .flatten()
        .any(|toleration| tolerates(toleration, taint))
}

/// True if the toleration is for this taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let effect = given(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = given(&toleration.key);
    let same_key = key.as_ref().is_none_or(|key| *key == taint.key);
    let value = || given(&toleration.value) == given(&taint.value);
    effect
        && same_key
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => key.is_some() && value(),
            Some(_) => false,
        }
}

fn unmatched(spec: &PodSpec, node: &NodeInfo) -> Option<Refusal> {
    (!matches_node(spec, node))
        .then(|| Refusal::node("node(s) didn't match Pod's node affinity/selector"))
}

/// True if the node fits the pod's nodeSelector and required node affinity.
pub(super) fn matches_node(spec: &PodSpec, node: &NodeInfo) -> bool {
    let labels = node.node.metadata.labels.as_ref();
    let selected = spec
        .node_selector
        .as_ref()
        .is_none_or(|wanted| contains(wanted, labels));
    let required = required_nodes(spec);
    selected
        && required.is_none_or(|required| {
            required
                .node_selector_terms
                .iter()
                .any(|term| term_fits(term, node))
        })
}

fn required_nodes(spec: &PodSpec) -> Option<&NodeSelector> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()
}

/// All requirements of a term hold; a term without any fits no node.
pub(super) fn term_fits(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let values = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
    let by_label = expressions.iter().all(|requirement| {
        let value = node.label(&requirement.key);
        fits(value, &requirement.operator, &values(&requirement.values))
    });
    let by_field = fields.iter().all(|requirement| {
        let name = (requirement.key == "metadata.name").then(|| node.name().to_owned());
        fits(
            name.as_ref(),
            &requirement.operator,
            &values(&requirement.values),
        )
    });
    let any = !expressions.is_empty() || !fields.is_empty();
    any && by_label && by_field
}

/// The nodes that required affinity names, if every alternative names some.
fn named_nodes(required: &NodeSelector) -> Option<BTreeSet<&str>> {
    let mut named = BTreeSet::new();
    for term in &required.node_selector_terms {
        let mut fields = term.match_fields.iter().flatten();
        let field = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
        named.extend(field.values.iter().flatten().map(String::as_str));
    }
    Some(named)
}

fn ports_taken(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    if pod.host_ports.is_empty() {
        return None;
    }
    let mut taken = node.pods.values().flat_map(|other| &other.host_ports);
    taken
        .any(|taken| pod.host_ports.iter().any(|port| port.conflicts(taken)))
        .then(|| Refusal::pods("node(s) didn't have free ports for the requested pod ports"))
}

fn too_small(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let mut by_pods = true;
    let places = node.allocatable.get(PODS);
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= places {
        reasons.push("Too many pods".into());
    }
    for (name, amount) in pod.requests.iter().filter(|(_, amount)| *amount > 0) {
        let has = node.allocatable.get(name);
        if amount > has - node.requested.get(name) {
            reasons.push(format!("Insufficient {name}").into());
            by_pods &= amount <= has;
        }
    }
    (!reasons.is_empty()).then(|| Refusal {
        reasons,
        by_pods,
        wake: Wake::NODE.or(Wake::FREED),
    })
}
