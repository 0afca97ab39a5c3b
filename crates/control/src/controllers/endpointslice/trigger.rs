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
    pods: HashMap<String, Timestamp>,
}

impl TriggerTime {
    /// What is seen now, and the earliest time that is new, if any.
    ///
    /// The new state is to be kept once it has been written: until then the
    /// change is still unanswered.
    pub(in crate::controllers) fn observe(
        &self,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> (Self, Option<Timestamp>) {
        let mut earliest: Option<Timestamp> = None;
        let mut note = |time: Timestamp, before: Option<Timestamp>| {
            if before.is_none_or(|before| time > before) {
                earliest = Some(earliest.map_or(time, |other| other.min(time)));
            }
        };
        let mut seen = HashMap::with_capacity(pods.len());
        for pod in pods {
            let changed =
                pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if let Some(changed) = changed {
                note(changed.0, self.pods.get(name).copied());
                seen.insert(name.to_owned(), changed.0);
            }
        }
        let created = service
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        if let Some(created) = created {
            note(created, self.service);
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
