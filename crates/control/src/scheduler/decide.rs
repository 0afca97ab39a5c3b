//! One pod, all nodes: where it goes, or why nowhere.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;

use super::{
    affinity::{self, Affinity, NamespaceLabels},
    cache::{Cache, NodeInfo, PodInfo},
    filter::{Filter, Refusal, Wake},
    score::{self, Wishes},
    spread::{self, Alike, Spread},
};

/// What was decided for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It goes to this node.
    Node(String),
    /// It has to wait.
    Nowhere { message: String, wake: Wake },
}

/// Decides; `tie` chooses among nodes that are equally good.
pub(super) fn decide(
    pod: &PodInfo,
    cache: &Cache,
    alike: Option<&Alike>,
    namespace_labels: NamespaceLabels<'_>,
    tie: usize,
) -> Decision {
    let none = PodSpec::default();
    let spec = pod.pod.spec.as_ref().unwrap_or(&none);
    let affinity = Affinity::new(pod, spec, cache, namespace_labels);
    let filter = Filter::new(pod, spec, affinity, Spread::new(pod, spec, cache));
    let mut refusals = Vec::new();
    let mut candidates: Vec<&NodeInfo> = Vec::new();
    for node in cache.nodes.values() {
        match filter.refusal(node) {
            Some(refusal) => refusals.push(refusal),
            None => candidates.push(node),
        }
    }
    match candidates[..] {
        [] => nowhere(pod, &refusals),
        [only] => Decision::Node(only.name().to_owned()),
        _ => {
            let wishes = Wishes {
                crowdedness: spread::crowdedness(pod, spec, cache, alike),
                neighbours: affinity::preference(pod, spec, cache, namespace_labels),
            };
            let scores = score::scores(pod, spec, &candidates, &wishes);
            let best = scores.iter().copied().fold(f64::MIN, f64::max);
            // Sums of products differ in their last digits by order alone.
            let good = |score: f64| best - score < 1e-6;
            let scored = candidates.iter().zip(scores);
            let best: Vec<_> = scored.filter(|(_, score)| good(*score)).collect();
            Decision::Node(best[tie % best.len()].0.name().to_owned())
        }
    }
}

/// The text counts nodes by reason, and says whether preemption would help.
fn nowhere(pod: &PodInfo, refusals: &[Refusal]) -> Decision {
    if refusals.is_empty() {
        return Decision::Nowhere {
            message: "no nodes available to schedule pods".into(),
            wake: Wake::NODE,
        };
    }
    let total = refusals.len();
    let reasons = refusals.iter().flat_map(|refusal| &refusal.reasons);
    let reasons = counted(reasons.map(AsRef::as_ref));
    let wake = refusals
        .iter()
        .fold(Wake::NODE, |wake, refusal| wake.or(refusal.wake));
    let policy = pod
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.preemption_policy.as_deref());
    let preemption = match policy {
        Some("Never") => "not eligible due to preemptionPolicy=Never".to_owned(),
        _ => {
            let reason = |refusal: &Refusal| match refusal.by_pods {
                true => "No preemption victims found for incoming pod",
                false => "Preemption is not helpful for scheduling",
            };
            let reasons = counted(refusals.iter().map(reason));
            format!("0/{total} nodes are available: {reasons}")
        }
    };
    Decision::Nowhere {
        message: format!("0/{total} nodes are available: {reasons}. preemption: {preemption}."),
        wake,
    }
}

fn counted<'r>(reasons: impl Iterator<Item = &'r str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    parts.join(", ")
}
