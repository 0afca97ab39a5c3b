//! Required and preferred affinity between pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::{
    api::core::v1::{PodAffinityTerm, PodSpec, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use super::{
    cache::{Cache, NodeInfo, PodInfo},
    filter::{Refusal, Wake},
};
use crate::selector;

/// Labels of namespaces, for terms that select namespaces by label.
pub(super) type NamespaceLabels<'a> = &'a dyn Fn(&str) -> BTreeMap<String, String>;

/// A part of the cluster: label and value.
type Place = (String, String);

/// True if `other` is one of the pods that a term of `pod` is about.
fn is_meant(
    term: &PodAffinityTerm,
    pod: &PodInfo,
    other: &PodInfo,
    namespace_labels: NamespaceLabels<'_>,
) -> bool {
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let namespace = other.namespace();
    let in_namespace = match &term.namespace_selector {
        Some(wanted) if selector::matches(wanted, Some(&namespace_labels(namespace))) => true,
        None if listed.is_empty() => namespace == pod.namespace(),
        _ => listed.iter().any(|listed| listed == namespace),
    };
    in_namespace && {
        let wanted = with_label_keys(term, pod);
        wanted.is_some_and(|wanted| selector::matches(&wanted, other.labels()))
    }
}

/// The term's selector with `matchLabelKeys` filled in from the pod (KEP-3633).
fn with_label_keys(term: &PodAffinityTerm, pod: &PodInfo) -> Option<LabelSelector> {
    let mut wanted = term.label_selector.clone()?;
    let value = |key: &String| pod.labels().and_then(|labels| labels.get(key));
    let operators = [
        ("In", &term.match_label_keys),
        ("NotIn", &term.mismatch_label_keys),
    ];
    for (operator, keys) in operators {
        for key in keys.iter().flatten() {
            let Some(value) = value(key) else { continue };
            let expressions = wanted.match_expressions.get_or_insert_default();
            expressions.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.into(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    Some(wanted)
}

fn place(node: &NodeInfo, key: &str) -> Option<Place> {
    Some((key.to_owned(), node.label(key)?.clone()))
}

fn terms(spec: &PodSpec, anti: bool) -> &[PodAffinityTerm] {
    let Some(affinity) = &spec.affinity else {
        return &[];
    };
    let required = match anti {
        false => affinity.pod_affinity.as_ref().and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        }),
        true => affinity.pod_anti_affinity.as_ref().and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        }),
    };
    required.map(Vec::as_slice).unwrap_or_default()
}

/// What a pod's required terms, and those of pods that are there, come to.
#[derive(Default)]
pub(super) struct Affinity<'a> {
    wanted: &'a [PodAffinityTerm],
    /// For each wanted term, where there are such pods.
    found: Vec<BTreeSet<String>>,
    /// No pod fits any wanted term, but the pod itself fits all: it is the
    /// first of its kind and may go anywhere.
    is_first: bool,
    unwanted: &'a [PodAffinityTerm],
    shunned: BTreeSet<Place>,
    /// Where pods are that keep this one away.
    guarded: BTreeSet<Place>,
}

impl<'a> Affinity<'a> {
    pub(super) fn new(
        pod: &PodInfo,
        spec: &'a PodSpec,
        cache: &Cache,
        namespace_labels: NamespaceLabels<'_>,
    ) -> Self {
        let mut affinity = Self {
            wanted: terms(spec, false),
            unwanted: terms(spec, true),
            ..Self::default()
        };
        affinity.found = vec![BTreeSet::new(); affinity.wanted.len()];
        let looks = !affinity.wanted.is_empty() || !affinity.unwanted.is_empty();
        for node in cache.nodes.values() {
            for other in node
                .pods
                .values()
                .filter(|_| looks || node.with_anti_affinity > 0)
            {
                affinity.note(pod, other, node, namespace_labels);
            }
        }
        let is_self = |term| is_meant(term, pod, pod, namespace_labels);
        affinity.is_first =
            affinity.found.iter().all(BTreeSet::is_empty) && affinity.wanted.iter().all(is_self);
        affinity
    }

    fn note(
        &mut self,
        pod: &PodInfo,
        other: &PodInfo,
        node: &NodeInfo,
        namespace_labels: NamespaceLabels<'_>,
    ) {
        // Upstream counts a pod only where it fits all wanted terms.
        let fits = |term| is_meant(term, pod, other, namespace_labels);
        if !self.wanted.is_empty() && self.wanted.iter().all(fits) {
            for (term, found) in self.wanted.iter().zip(&mut self.found) {
                found.extend(node.label(&term.topology_key).cloned());
            }
        }
        for term in self.unwanted.iter().filter(|term| fits(term)) {
            self.shunned.extend(place(node, &term.topology_key));
        }
        for term in &other.required_anti_affinity {
            if is_meant(term, other, pod, namespace_labels) {
                self.guarded.extend(place(node, &term.topology_key));
            }
        }
    }

    pub(super) fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        let near = self.wanted.iter().zip(&self.found).all(|(term, found)| {
            let value = node.label(&term.topology_key);
            value.is_some_and(|value| self.is_first || found.contains(value))
        });
        if !near {
            let reason = "node(s) didn't match pod affinity rules";
            return Some(Refusal::node(reason).waking_too(Wake::PLACED));
        }
        let at = |term: &PodAffinityTerm| place(node, &term.topology_key);
        let shunned = |term| at(term).is_some_and(|place| self.shunned.contains(&place));
        if self.unwanted.iter().any(shunned) {
            return Some(Refusal::pods(
                "node(s) didn't match pod anti-affinity rules",
            ));
        }
        let guarded = |(key, value): &Place| node.label(key) == Some(value);
        self.guarded
            .iter()
            .any(guarded)
            .then(|| Refusal::pods("node(s) didn't satisfy existing pods anti-affinity rules"))
    }
}

/// How much the pod likes or dislikes the neighbours it would have, by node.
pub(super) fn preference(
    pod: &PodInfo,
    spec: &PodSpec,
    cache: &Cache,
    namespace_labels: NamespaceLabels<'_>,
) -> Option<HashMap<String, i64>> {
    let affinity = spec.affinity.as_ref()?;
    let likes = affinity.pod_affinity.as_ref().and_then(|affinity| {
        affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_deref()
    });
    let dislikes = affinity.pod_anti_affinity.as_ref().and_then(|affinity| {
        affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_deref()
    });
    let (likes, dislikes) = (likes.unwrap_or_default(), dislikes.unwrap_or_default());
    if likes.is_empty() && dislikes.is_empty() {
        return None;
    }
    let mut weights: BTreeMap<Place, i64> = BTreeMap::new();
    let mut weigh = |terms: &[WeightedPodAffinityTerm], sign: i64| {
        for term in terms {
            let key = &term.pod_affinity_term.topology_key;
            for node in cache.nodes.values() {
                let Some(place) = place(node, key) else {
                    continue;
                };
                let meant = node.pods.values().filter(|other| {
                    is_meant(&term.pod_affinity_term, pod, other, namespace_labels)
                });
                let count = i64::try_from(meant.count()).unwrap_or(0);
                *weights.entry(place).or_default() += sign * i64::from(term.weight) * count;
            }
        }
    };
    weigh(likes, 1);
    weigh(dislikes, -1);
    let total = |node: &NodeInfo| {
        let at = weights
            .iter()
            .filter(|((key, value), _)| node.label(key) == Some(value));
        at.map(|(_, weight)| weight).sum()
    };
    let totals = cache
        .nodes
        .iter()
        .map(|(name, node)| (name.clone(), total(node)));
    Some(totals.collect())
}
