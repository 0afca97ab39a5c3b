//! `activeDeadlineSeconds`: how long a pod may be active on the node.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::status::Verdict;

/// When the pod must be ended, counted from its start time.
pub fn deadline(pod: &Pod, started: Option<Timestamp>) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    started?
        .checked_add(SignedDuration::from_secs(seconds))
        .ok()
}

/// What the status says of a pod whose deadline is over.
pub fn exceeded() -> Verdict {
    Verdict {
        reason: "DeadlineExceeded".to_owned(),
        message: "Pod was active on the node longer than the specified deadline".to_owned(),
    }
}
