//! Tells of broken watches, without saying the same every second.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most often that a broken watch is a warning; in between it is told at debug level, since it is
/// tried again every second while the API server is away.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Tells of broken watches. The watches of one role share it: what one of them warns of, the others
/// need not.
#[derive(Debug, Clone, Default)]
pub struct Outages {
    last_warned: Arc<Mutex<Option<Instant>>>,
    wakes: Option<Arc<Notify>>,
}

impl Outages {
    /// Also wakes `wakes` at each failure.
    pub fn waking(wakes: Arc<Notify>) -> Self {
        Self {
            wakes: Some(wakes),
            ..Self::default()
        }
    }

    /// Tells of one failure; whether as a warning.
    pub(crate) fn tell(&self, kind: &str, err: &(dyn Error + 'static)) -> bool {
        let warning = self.is_due(Instant::now());
        if warning {
            tracing::warn!(kind, err, "watch interrupted");
        } else {
            tracing::debug!(kind, err, "watch interrupted");
        }
        if let Some(wakes) = &self.wakes {
            wakes.notify_one();
        }
        warning
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last_warned.lock();
        let due = last.is_none_or(|last| now.duration_since(last) >= WARN_INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_share_it_warn_once_a_minute() {
        let (outages, start) = (Outages::default(), Instant::now());
        let due = |seconds| outages.clone().is_due(start + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 59, 60, 61, 119, 180].map(due),
            [true, false, false, true, false, false, true]
        );
    }
}
