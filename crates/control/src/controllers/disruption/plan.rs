//! The status that a PodDisruptionBudget should have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
    jiff::{SignedDuration, Timestamp},
};

use crate::{pod, selector};

/// An evicted pod should be gone by then.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

/// How many pods there should be.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) count: i32,
    /// Names of pods that nothing controls.
    pub(super) unmanaged: Vec<String>,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Sums {
    healthy: i32,
    desired: i32,
    expected: i32,
    disrupted: BTreeMap<String, Time>,
    /// Pods that should have gone by now.
    pub(super) not_deleted: Vec<Arc<Pod>>,
    /// When the next pod should have gone.
    pub(super) next_look: Option<Duration>,
}

fn spec(budget: &PodDisruptionBudget) -> PodDisruptionBudgetSpec {
    budget.spec.clone().unwrap_or_default()
}

/// True if the pod is one of the budget's; no selector selects nothing.
pub(super) fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| selector::matches(selector, pod.metadata.labels.as_ref()))
}

/// True if the number of pods that should be there matters, and not only that of those which are.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = spec(budget);
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// A number, or a percentage of `whole`, rounded up.
fn scaled(value: &IntOrString, whole: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let part = (i64::from(whole) * percent + 99).div_euclid(100);
            i32::try_from(part).unwrap_or(i32::MAX)
        }
    }
}

impl Sums {
    pub(super) fn count(
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
        expected: &Expected,
        now: Timestamp,
    ) -> Self {
        let spec = spec(budget);
        let desired = match (&spec.max_unavailable, &spec.min_available) {
            (Some(most), _) => expected
                .count
                .saturating_sub(scaled(most, expected.count))
                .max(0),
            (None, Some(least)) => scaled(least, expected.count),
            (None, None) => 0,
        };
        let mut sums = Self {
            healthy: 0,
            desired,
            expected: expected.count,
            disrupted: BTreeMap::new(),
            not_deleted: Vec::new(),
            next_look: None,
        };
        let noted = budget
            .status
            .as_ref()
            .and_then(|status| status.disrupted_pods.clone());
        let noted = noted.unwrap_or_default();
        for pod in pods.iter().filter(|pod| !pod::is_terminating(pod)) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let goes = noted
                .get(name)
                .is_some_and(|at| sums.note_disrupted(pod, name, at, now));
            sums.healthy += i32::from(!goes && pod::is_ready(pod));
        }
        sums
    }

    /// True if an evicted pod may still be expected to go.
    fn note_disrupted(&mut self, pod: &Arc<Pod>, name: &str, at: &Time, now: Timestamp) -> bool {
        let left = at.0.duration_since(now) + DELETION_TIMEOUT;
        let Ok(left) = Duration::try_from(left) else {
            self.not_deleted.push(Arc::clone(pod));
            return false;
        };
        self.next_look = Some(self.next_look.map_or(left, |next| next.min(left)));
        self.disrupted.insert(name.to_owned(), at.clone());
        !left.is_zero()
    }
}

/// The status that tells what was counted.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    sums: &Sums,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    // With no pod expected, the first ones to come may not be seen here yet.
    let allowed = match sums.expected {
        ..=0 => 0,
        _ => (sums.healthy - sums.desired).max(0),
    };
    let (value, reason) = match allowed {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    PodDisruptionBudgetStatus {
        conditions: Some(conditions(
            budget,
            value,
            reason,
            String::new(),
            budget.metadata.generation,
            now,
        )),
        current_healthy: Some(sums.healthy),
        desired_healthy: Some(sums.desired),
        disrupted_pods: Some(sums.disrupted.clone()).filter(|pods| !pods.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(sums.expected),
        observed_generation: budget.metadata.generation,
    }
}

/// The status of a budget that could not be counted: nothing may be disrupted.
pub(super) fn failed(
    budget: &PodDisruptionBudget,
    why: String,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let generation = old.observed_generation;
    PodDisruptionBudgetStatus {
        conditions: Some(conditions(
            budget,
            "False",
            "SyncFailed",
            why,
            generation,
            now,
        )),
        disruptions_allowed: Some(0),
        ..old
    }
}

fn conditions(
    budget: &PodDisruptionBudget,
    value: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let status = budget.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let mut condition = Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    match conditions
        .iter_mut()
        .find(|one| one.type_ == DISRUPTION_ALLOWED)
    {
        None => conditions.push(condition),
        Some(one) => {
            if one.status == condition.status {
                condition.last_transition_time = one.last_transition_time.clone();
            }
            *one = condition;
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn budget(spec: Value, disrupted: Value) -> PodDisruptionBudget {
        let object = json!({
            "metadata": {"name": "b", "namespace": "ns", "generation": 4},
            "spec": spec,
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
                "disruptedPods": disrupted},
        });
        serde_json::from_value(object).unwrap()
    }

    fn pods(names: &[&str]) -> Vec<Arc<Pod>> {
        let pod = |name: &&str| {
            let ready = if name.starts_with('r') {
                "True"
            } else {
                "False"
            };
            let object = json!({"metadata": {"name": name, "namespace": "ns"},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(serde_json::from_value(object).unwrap())
        };
        names.iter().map(pod).collect()
    }

    #[test]
    fn allowed_disruptions() {
        let table = [
            // spec, pods, expected; desired, healthy, allowed
            (
                json!({"minAvailable": 1}),
                &["r1", "r2", "n1"][..],
                3,
                (1, 2, 1),
            ),
            (json!({"minAvailable": 3}), &["r1", "r2"][..], 2, (3, 2, 0)),
            (
                json!({"minAvailable": "50%"}),
                &["r1", "r2", "r3"][..],
                3,
                (2, 3, 1),
            ),
            (
                json!({"minAvailable": "28%"}),
                &["r1", "r2"][..],
                7,
                (2, 2, 0),
            ),
            (
                json!({"maxUnavailable": 1}),
                &["r1", "r2", "r3"][..],
                3,
                (2, 3, 1),
            ),
            (
                json!({"maxUnavailable": "34%"}),
                &["r1", "r2", "r3"][..],
                3,
                (1, 3, 2),
            ),
            (json!({"maxUnavailable": 5}), &["r1"][..], 1, (0, 1, 1)),
            (json!({"minAvailable": 0}), &[][..], 0, (0, 0, 0)),
        ];
        let now: Timestamp = NOW.parse().unwrap();
        for (spec, names, count, (desired, healthy, allowed)) in table {
            let budget = budget(spec.clone(), json!({}));
            let expected = Expected {
                count,
                unmanaged: Vec::new(),
            };
            let sums = Sums::count(&budget, &pods(names), &expected, now);
            let status = status(&budget, &sums, now);
            let have = (
                status.desired_healthy,
                status.current_healthy,
                status.disruptions_allowed,
            );
            assert_eq!(
                have,
                (Some(desired), Some(healthy), Some(allowed)),
                "{spec} {names:?}"
            );
            let reason = if allowed > 0 {
                "SufficientPods"
            } else {
                "InsufficientPods"
            };
            assert_eq!(status.conditions.unwrap()[0].reason, reason);
        }
    }

    #[test]
    fn evicted_pods_count_as_gone_for_two_minutes() {
        let noted = json!({"r1": "2026-11-24T11:59:00Z", "r2": "2026-11-24T11:57:00Z", "r9": NOW});
        let budget = budget(json!({"minAvailable": 1}), noted);
        let expected = Expected {
            count: 3,
            unmanaged: Vec::new(),
        };
        let sums = Sums::count(
            &budget,
            &pods(&["r1", "r2", "r3"]),
            &expected,
            NOW.parse().unwrap(),
        );
        assert_eq!(sums.healthy, 2);
        assert_eq!(sums.disrupted.keys().collect::<Vec<_>>(), ["r1"]);
        assert_eq!(sums.next_look, Some(Duration::from_secs(60)));
        assert_eq!(sums.not_deleted.len(), 1);
    }

    #[test]
    fn budget_that_cannot_be_counted_allows_nothing() {
        let budget = budget(json!({"maxUnavailable": 1}), json!({}));
        let status = failed(
            &budget,
            "found no controllers for pod \"x\"".into(),
            NOW.parse().unwrap(),
        );
        assert_eq!(status.disruptions_allowed, Some(0));
        assert_eq!(status.conditions.unwrap()[0].reason, "SyncFailed");
    }
}
