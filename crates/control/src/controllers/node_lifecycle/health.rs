//! Signs of life of a node.

use std::time::Duration;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeCondition},
};
use tokio::time::Instant;

/// How long a node without its own say may be silent.
const GRACE: Duration = Duration::from_secs(40);

/// Whether a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It counts as silent if nothing is heard for this long.
    Speaks {
        silent_in: Duration,
    },
    Silent,
}

/// The last sign of life, by our own clock: clocks of nodes may differ.
pub(super) struct Heard {
    sign: String,
    at: Instant,
}

impl Heard {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sign: String::new(),
            at: now,
        }
    }

    /// Compares with the last sign; a Lease says more than the Node's status,
    /// and one without a holder was given up: the node is known to be silent.
    pub(super) fn listen(&mut self, node: &Node, lease: Option<&Lease>, now: Instant) -> Health {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec.map(|spec| spec.holder_identity.as_deref().unwrap_or_default());
        if holder == Some("") {
            self.sign.clear();
            return Health::Silent;
        }
        let renewed = spec
            .and_then(|spec| spec.renew_time.as_ref())
            .map(|time| time.0);
        let heartbeat =
            condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.as_ref());
        let heartbeat = match lease {
            Some(_) => None,
            None => heartbeat.map(|time| time.0),
        };
        let sign = format!("{renewed:?} {heartbeat:?}");
        if sign != self.sign {
            self.sign = sign;
            self.at = now;
        }
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let grace = match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => GRACE,
        };
        match (self.at + grace).saturating_duration_since(now) {
            Duration::ZERO => Health::Silent,
            silent_in => Health::Speaks { silent_in },
        }
    }
}

pub(super) fn condition<'n>(node: &'n Node, kind: &str) -> Option<&'n NodeCondition> {
    let mut conditions = node.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind)
}

pub(super) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// It has been found to be silent.
pub(super) fn is_silent(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "Unknown")
}
