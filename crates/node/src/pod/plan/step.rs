//! The words in which a plan speaks.

use k8s_openapi::jiff::Timestamp;

use crate::pod::memory::Trouble;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the sandbox, with the volumes and the network.
    CreateSandbox,
    /// Start a container: image, config, create, start.
    Start(Start),
    /// Tell by an event that a container will be in back-off.
    AnnounceBackOff {
        /// Its name.
        name: String,
        /// The end that the back-off counts from.
        ended: Timestamp,
    },
    /// Show that a container waits in back-off.
    BackOff {
        /// Its name.
        name: String,
        /// The waiting state and until when.
        trouble: Trouble,
    },
    /// Stop a running container.
    Stop(Stop),
    /// The deadline has come.
    ExceedDeadline,
    /// Take the sandbox's network down.
    StopSandbox,
    /// Remove a dead container that nothing refers to.
    Remove {
        /// The runtime's id.
        id: String,
    },
    /// Nothing of the pod runs: write the last status and let the API forget it.
    Finish,
    /// Remove everything that is left.
    CleanUp,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// The number of this attempt.
    pub attempt: u32,
    /// The end of the attempt before, which the back-off counts from.
    pub after: Option<Timestamp>,
}

/// A container to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The runtime's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace: i64,
    /// The event's text.
    pub message: String,
}

/// What to do now, and when to ask again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be done in order.
    pub steps: Vec<Step>,
    /// The latest moment to ask again, when nothing happens before.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    pub(super) fn now(steps: Vec<Step>) -> Plan {
        Plan {
            steps,
            wake_at: None,
        }
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |old| old.min(at)));
    }
}
