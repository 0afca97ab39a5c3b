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
    /// Takes note; returns the earliest time that is new, if any.
    pub(in crate::controllers) fn observe(
        &mut self,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Option<Timestamp> {
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
        if let Some(created) = &service.metadata.creation_timestamp {
            note(created.0, self.service);
            self.service = Some(created.0);
        }
        self.pods = seen;
        earliest
    }
}

/// A time as the annotation has it: RFC 3339 with all its digits.
pub(in crate::controllers) fn text(time: Timestamp) -> String {
    time.to_string()
}
