//! Which change of the world a write of endpoints answers to.
//!
//! Written into the annotation `endpoints.kubernetes.io/last-change-trigger-time`,
//! from which proxies measure how long the whole chain takes.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Pod, Service},
    jiff::Timestamp,
};

use crate::pod;

pub(in crate::controllers) const ANNOTATION: &str =
    "endpoints.kubernetes.io/last-change-trigger-time";

/// The times of a Service and its pods that were seen last.
#[derive(Default)]
pub(in crate::controllers) struct TriggerTime {
    service: Option<Timestamp>,
    /// When a pod became ready, or stopped being so, and which of them.
    pods: HashMap<String, (Timestamp, bool)>,
}

impl TriggerTime {
    /// What is seen now, and the earliest time that is new, if any; of a Service that is new its own creation.
    ///
    /// The new state is to be kept once it has been written: until then the change is still unanswered. Times are whole
    /// seconds, so that readiness that changed within one is new, too.
    pub(in crate::controllers) fn observe(
        &self,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> (Self, Option<Timestamp>) {
        let mut earliest: Option<Timestamp> = None;
        let mut seen = HashMap::with_capacity(pods.len());
        for pod in pods {
            let ready = pod::condition(pod, "Ready");
            let Some(changed) = ready.and_then(|ready| ready.last_transition_time.as_ref()) else {
                continue;
            };
            let now = (changed.0, pod::is_ready(pod));
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let is_new = |before: &(Timestamp, bool)| {
                now.0 > before.0 || (now.0 == before.0 && now.1 != before.1)
            };
            if self.pods.get(name).is_none_or(is_new) {
                earliest = Some(earliest.map_or(now.0, |other| other.min(now.0)));
            }
            seen.insert(name.to_owned(), now);
        }
        let created = service
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        if self.service.is_none() {
            earliest = created;
        }
        let now = Self {
            service: created,
            pods: seen,
        };
        (now, earliest)
    }
}

/// A time as the annotation has it: RFC 3339 with all its digits.
pub(in crate::controllers) fn text(time: Timestamp) -> String {
    time.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        serde_json::from_value(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:05Z"}}))
            .unwrap()
    }

    fn pod(status: &str, second: u32) -> Arc<Pod> {
        let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z")});
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": "a"}, "status": {"conditions": [condition]}}),
            )
            .unwrap(),
        )
    }

    #[test]
    fn what_is_new_triggers() {
        let second = |time: Option<Timestamp>| time.map(|time| time.as_second() % 60);
        let (known, first) = TriggerTime::default().observe(&service(), &[pod("True", 1)]);
        assert_eq!(
            second(first),
            Some(5),
            "a new Service counts by its own creation"
        );
        let (known, again) = known.observe(&service(), &[pod("True", 1)]);
        assert_eq!(second(again), None);
        let (known, later) = known.observe(&service(), &[pod("False", 7)]);
        assert_eq!(second(later), Some(7));
        let (known, same_second) = known.observe(&service(), &[pod("True", 7)]);
        assert_eq!(second(same_second), Some(7));
        let (_, gone) = known.observe(&service(), &[]);
        assert_eq!(second(gone), None);
    }
}
