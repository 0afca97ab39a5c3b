//! Which of the nodes that can take a pod is best.
//!
//! The terms and weights are upstream's defaults; each term is brought to
//! 0–100 over the candidates. Image locality is left out: local nodes share one
//! store of images.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::PodSpec;

use super::{
    cache::{NodeInfo, PodInfo},
    filter::{is_tolerated, taints, term_fits},
    resources::{CPU, MEMORY},
};

const TAINTS: f64 = 3.0;
const NODE_AFFINITY: f64 = 2.0;
const SPREAD: f64 = 2.0;
const POD_AFFINITY: f64 = 2.0;

/// Wishes that were worked out for all nodes.
pub(super) struct Wishes {
    pub(super) crowdedness: Option<HashMap<String, f64>>,
    pub(super) neighbours: Option<HashMap<String, i64>>,
}

/// The score of each candidate, in their order.
pub(super) fn scores(
    pod: &PodInfo,
    spec: &PodSpec,
    candidates: &[&NodeInfo],
    wishes: &Wishes,
) -> Vec<f64> {
    let mut scores: Vec<f64> = candidates
        .iter()
        .map(|node| roominess(pod, node) + balance(pod, node))
        .collect();
    let mut add = |weight: f64, part: Vec<f64>| {
        for (score, part) in scores.iter_mut().zip(part) {
            *score += weight * part;
        }
    };
    let soft = |node: &NodeInfo| {
        let taints = taints(node).filter(|taint| taint.effect == "PreferNoSchedule");
        taints.filter(|taint| !is_tolerated(taint, spec)).count() as f64
    };
    add(TAINTS, fewer_is_better(candidates, soft));
    add(
        NODE_AFFINITY,
        more_is_better(candidates, |node| liking(spec, node)),
    );
    if let Some(crowdedness) = &wishes.crowdedness {
        let crowd = |node: &NodeInfo| crowdedness.get(node.name()).copied().unwrap_or(0.0);
        add(SPREAD, sparsest(candidates, crowd));
    }
    if let Some(neighbours) = &wishes.neighbours {
        let liked = |node: &NodeInfo| neighbours.get(node.name()).copied().unwrap_or(0) as f64;
        add(POD_AFFINITY, between(candidates, liked));
    }
    scores
}

/// What share of CPU and memory would stay free.
fn roominess(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let (cpu, memory) = load(pod, node);
    100.0 * ((1.0 - cpu).max(0.0) + (1.0 - memory).max(0.0)) / 2.0
}

/// How even the use of CPU and of memory would be.
fn balance(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let (cpu, memory) = load(pod, node);
    100.0 * (1.0 - (cpu.min(1.0) - memory.min(1.0)).abs() / 2.0)
}

fn load(pod: &PodInfo, node: &NodeInfo) -> (f64, f64) {
    let share = |used: i64, has: i64| {
        if has > 0 {
            used as f64 / has as f64
        } else {
            1.0
        }
    };
    let cpu = node.likely_use.0 + pod.likely_use.0;
    let memory = node.likely_use.1 + pod.likely_use.1;
    (
        share(cpu, node.allocatable.get(CPU)),
        share(memory, node.allocatable.get(MEMORY)),
    )
}

/// The weights of preferred node affinity that the node fulfils.
fn liking(spec: &PodSpec, node: &NodeInfo) -> f64 {
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|affinity| {
        affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let terms = preferred.into_iter().flatten();
    let fulfilled = terms.filter(|term| term_fits(&term.preference, node));
    fulfilled.map(|term| f64::from(term.weight)).sum()
}

fn values(candidates: &[&NodeInfo], of: impl Fn(&NodeInfo) -> f64) -> (Vec<f64>, f64, f64) {
    let values: Vec<f64> = candidates.iter().map(|node| of(node)).collect();
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    (values, least, most)
}

fn more_is_better(candidates: &[&NodeInfo], of: impl Fn(&NodeInfo) -> f64) -> Vec<f64> {
    let (values, _, most) = values(candidates, of);
    let part = |value: f64| {
        if most > 0.0 {
            100.0 * value / most
        } else {
            0.0
        }
    };
    values.into_iter().map(part).collect()
}

fn fewer_is_better(candidates: &[&NodeInfo], of: impl Fn(&NodeInfo) -> f64) -> Vec<f64> {
    let (values, _, most) = values(candidates, of);
    let part = |value: f64| {
        if most > 0.0 {
            100.0 * (1.0 - value / most)
        } else {
            100.0
        }
    };
    values.into_iter().map(part).collect()
}

fn sparsest(candidates: &[&NodeInfo], of: impl Fn(&NodeInfo) -> f64) -> Vec<f64> {
    let (values, least, most) = values(candidates, of);
    let part = |value: f64| match most > 0.0 {
        true => 100.0 * (most + least - value) / most,
        false => 100.0,
    };
    values.into_iter().map(part).collect()
}

fn between(candidates: &[&NodeInfo], of: impl Fn(&NodeInfo) -> f64) -> Vec<f64> {
    let (values, least, most) = values(candidates, of);
    let part = |value: f64| match most > least {
        true => 100.0 * (value - least) / (most - least),
        false => 0.0,
    };
    values.into_iter().map(part).collect()
}
