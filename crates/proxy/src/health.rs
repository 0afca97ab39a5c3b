//! How well the proxy keeps up, as kube-proxy tells it at `/healthz` and `/livez`.
//!
//! A family is unhealthy when a change has been waiting for longer than a minute. `/healthz` also fails on
//! a node that is about to be removed, so that load balancers stop sending to it (KEP-3836).

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::dataplane::Family;

/// Twice kube-proxy's `syncPeriod`.
const OVERDUE: Duration = Duration::from_secs(60);

/// The health of all families.
#[derive(Debug, Default)]
pub(crate) struct Health {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    updated: [Option<Timestamp>; 2],
    queued: [Option<Timestamp>; 2],
    node_eligible: bool,
}

/// An answer to a question about health.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub healthy: bool,
    pub body: Value,
}

impl Health {
    /// A change is waiting.
    pub(crate) fn queued(&self, family: Family, now: Timestamp) {
        self.inner.lock().queued[family as usize].get_or_insert(now);
    }

    /// The kernel is as desired.
    pub(crate) fn updated(&self, family: Family, now: Timestamp) {
        let mut inner = self.inner.lock();
        inner.queued[family as usize] = None;
        inner.updated[family as usize] = Some(now);
    }

    /// Whether load balancers may send to this node.
    pub(crate) fn set_node_eligible(&self, eligible: bool) {
        self.inner.lock().node_eligible = eligible;
    }

    /// Whether no change is overdue.
    pub(crate) fn is_healthy(&self, now: Timestamp) -> bool {
        let inner = self.inner.lock();
        Family::BOTH
            .into_iter()
            .all(|family| inner.is_healthy(family, now))
    }

    /// What `/livez` says.
    pub(crate) fn livez(&self, now: Timestamp) -> Report {
        self.inner.lock().report(now, None)
    }

    /// What `/healthz` says.
    pub(crate) fn healthz(&self, now: Timestamp) -> Report {
        let inner = self.inner.lock();
        inner.report(now, Some(inner.node_eligible))
    }
}

impl Inner {
    fn is_healthy(&self, family: Family, now: Timestamp) -> bool {
        let index = family as usize;
        let overdue = self.queued[index].is_some_and(|queued| {
            let waited = now.duration_since(queued);
            Duration::try_from(waited).is_ok_and(|waited| waited >= OVERDUE)
        });
        // One that has never been in step is starting.
        self.updated[index].is_none() || !overdue
    }

    fn report(&self, now: Timestamp, node_eligible: Option<bool>) -> Report {
        let mut status = Map::new();
        for family in Family::BOTH {
            if let Some(updated) = self.updated[family as usize] {
                let healthy = self.is_healthy(family, now);
                let told = json!({"lastUpdated": updated.to_string(), "healthy": healthy});
                status.insert(family.name().to_owned(), told);
            }
        }
        let live = Family::BOTH
            .into_iter()
            .all(|family| self.is_healthy(family, now));
        let healthy = live && node_eligible.unwrap_or(true);
        // As older kube-proxies: the time of an answer that all is well is now.
        let last = if healthy {
            Some(now)
        } else {
            self.updated.iter().flatten().max().copied()
        };
        let last = last.map_or_else(
            || "0001-01-01T00:00:00Z".to_owned(),
            |last| last.to_string(),
        );
        let mut body = Map::new();
        body.insert("lastUpdated".to_owned(), last.into());
        body.insert("currentTime".to_owned(), now.to_string().into());
        if let Some(eligible) = node_eligible {
            body.insert("nodeEligible".to_owned(), eligible.into());
        }
        body.insert("healthy".to_owned(), live.into());
        if !status.is_empty() {
            body.insert("status".to_owned(), status.into());
        }
        Report {
            healthy,
            body: body.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn a_change_that_waits_for_a_minute_is_overdue() {
        let health = Health::default();
        health.set_node_eligible(true);
        health.queued(Family::V4, at(0));
        assert!(health.is_healthy(at(500)), "starting");
        health.updated(Family::V4, at(501));
        health.queued(Family::V4, at(510));
        health.queued(Family::V4, at(560));
        assert!(health.healthz(at(569)).healthy);
        let overdue = health.healthz(at(570));
        assert!(!overdue.healthy, "the oldest change counts");
        assert_eq!(
            overdue.body,
            json!({
                "lastUpdated": "1970-01-01T00:08:21Z", "currentTime": "1970-01-01T00:09:30Z",
                "nodeEligible": true, "healthy": false,
                "status": {"IPv4": {"lastUpdated": "1970-01-01T00:08:21Z", "healthy": false}},
            })
        );
        health.updated(Family::V4, at(571));
        assert!(health.healthz(at(900)).healthy);
    }

    #[test]
    fn a_node_that_leaves_fails_healthz_but_lives() {
        let health = Health::default();
        health.set_node_eligible(false);
        assert!(!health.healthz(at(1)).healthy);
        assert!(health.livez(at(1)).healthy);
        assert_eq!(health.livez(at(1)).body.get("nodeEligible"), None);
    }
}
