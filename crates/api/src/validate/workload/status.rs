//! Statuses that controllers write.

use super::super::checks::{Errors, int, non_negative, some};
use crate::field::{Error, Path};
use serde_json::Value;

struct Counts {
    /// All of them in the order in which they are looked at.
    all: &'static [&'static str],
    /// Those that are no more than `replicas`.
    parts: &'static [&'static str],
    /// What `availableReplicas` may not be above of.
    ready: &'static str,
    collisions: bool,
}

fn counts(plural: &str) -> Counts {
    match plural {
        "deployments" => Counts {
            all: &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            parts: &["updatedReplicas", "readyReplicas", "availableReplicas"],
            ready: "readyReplicas",
            collisions: true,
        },
        "statefulsets" => Counts {
            all: &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            parts: &[
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ],
            ready: "status.readyReplicas",
            collisions: true,
        },
        _ => Counts {
            all: &[
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "observedGeneration",
                "terminatingReplicas",
            ],
            parts: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
            ready: "readyReplicas",
            collisions: false,
        },
    }
}

/// Counts of replicas.
pub(in super::super) fn replica_status(
    errors: &mut Errors,
    plural: &str,
    old: &Value,
    new: &Value,
) {
    let (status, path) = (&new["status"], Path::root("status"));
    let counts = counts(plural);
    for member in counts.all {
        non_negative(errors, &path, status, member);
    }
    let all = int(status, "replicas");
    for member in counts.parts {
        let count = int(status, member);
        if count > all {
            let detail = "cannot be greater than status.replicas";
            errors.push(Error::invalid(&path.field(member), count, detail));
        }
    }
    let available = int(status, "availableReplicas");
    if available > int(status, "readyReplicas") {
        let detail = format!("cannot be greater than {}", counts.ready);
        errors.push(Error::invalid(
            &path.field("availableReplicas"),
            available,
            detail,
        ));
    }
    if counts.collisions {
        collisions(errors, old, new);
    }
}

/// The count of name collisions only grows.
fn collisions(errors: &mut Errors, old: &Value, new: &Value) {
    let count = |object: &Value| some(&object["status"], "collisionCount").and_then(Value::as_i64);
    if let Some(before) = count(old)
        && count(new).is_none_or(|now| now < before)
    {
        let path = Path::root("status");
        let shown = count(new).unwrap_or(0);
        errors.push(Error::invalid(
            &path.field("collisionCount"),
            shown,
            "cannot be decremented",
        ));
    }
}

pub(in super::super) fn daemon_status(errors: &mut Errors, old: &Value, new: &Value) {
    let path = Path::root("status");
    for member in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ] {
        non_negative(errors, &path, &new["status"], member);
    }
    collisions(errors, old, new);
}
