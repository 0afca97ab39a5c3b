//! What a pod's worker remembers between plans. All of it may be lost with the agent without harm.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::backoff::Backoff;
use crate::status::Waiting;

/// What was tried, what failed, and what is under way.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Back-off of restarts, by container name.
    pub restarts: Backoff,
    /// Back-off of image pulls, by image.
    pub pulls: Backoff,
    /// Containers that could not be started, by name.
    pub troubles: BTreeMap<String, Trouble>,
    /// The ends whose back-off was told by an event, by container name.
    pub announced: BTreeMap<String, Timestamp>,
    /// What keeps the sandbox or the volumes from being there.
    pub sandbox_trouble: Option<Retry>,
    /// Containers that are being stopped, by id.
    pub stopping: BTreeSet<String>,
    /// The grace period that the end of the pod began with: a later, shorter one changes nothing.
    pub grace: Option<i64>,
}

/// A container that could not be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// What the status says meanwhile.
    pub waiting: Waiting,
    /// When to try again.
    pub retry_at: Timestamp,
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// When to try again.
    pub at: Timestamp,
    /// How long the last pause was.
    pub delay: SignedDuration,
}

impl Retry {
    const LONGEST: SignedDuration = SignedDuration::from_secs(128);

    /// The next try: after half a second, then twice as long as before (upstream's volume back-off).
    pub fn after(before: Option<&Retry>, now: Timestamp) -> Retry {
        let delay = before.map_or(SignedDuration::from_millis(500), |r| {
            (r.delay * 2).min(Self::LONGEST)
        });
        Retry {
            at: now + delay,
            delay,
        }
    }
}
