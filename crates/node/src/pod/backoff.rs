//! Exponential back-off of restarts and image pulls, with upstream's rule of forgetting.
//!
//! Pure: the clock is passed in. A delay starts at [`INITIAL`], doubles with each [`Backoff::next`] up to [`MAX`] and
//! starts over when the event comes later than twice [`MAX`] after the last one (client-go `flowcontrol.Backoff`).

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The first delay.
pub const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// The longest delay.
pub const MAX: SignedDuration = SignedDuration::from_secs(300);

/// Delays by key: a container's name or an image.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// The moment until which `key` must wait after an event (an exit, a failed pull) at `event`, if it is in back-off.
    pub fn until(&self, key: &str, event: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        (!entry.forgotten(event)).then(|| event + entry.delay)
    }

    /// The current delay of `key`.
    pub fn delay(&self, key: &str) -> SignedDuration {
        self.entries
            .get(key)
            .map_or(SignedDuration::ZERO, |e| e.delay)
    }

    /// Notes that `key` is tried again at `now` after an event at `event`: the next delay.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        match self.entries.get_mut(key) {
            Some(entry) if !entry.forgotten(event) => {
                entry.delay = (entry.delay * 2).min(MAX);
                entry.updated = now;
            }
            _ => {
                self.entries.insert(
                    key.to_owned(),
                    Entry {
                        delay: INITIAL,
                        updated: now,
                    },
                );
            }
        }
    }
}

impl Entry {
    fn forgotten(&self, event: Timestamp) -> bool {
        event.duration_since(self.updated) > MAX * 2
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(d: SignedDuration) -> String {
    let secs = d.as_secs();
    match (secs / 3600, secs % 3600 / 60, secs % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + secs).expect("small")
    }

    #[test]
    fn first_event_is_not_in_backoff_and_delays_double_to_five_minutes() {
        let mut b = Backoff::default();
        assert_eq!(b.until("c", at(0)), None);
        let mut now = 0;
        for want in [10, 20, 40, 80, 160, 300, 300] {
            b.next("c", at(now), at(now));
            now += 1;
            assert_eq!(b.until("c", at(now)), Some(at(now + want)));
            now += want;
        }
    }

    #[test]
    fn ten_quiet_minutes_forget_the_past() {
        let mut b = Backoff::default();
        b.next("c", at(0), at(0));
        b.next("c", at(10), at(10));
        assert_eq!(b.until("c", at(610)), Some(at(630)));
        assert_eq!(b.until("c", at(611)), None);
        b.next("c", at(611), at(611));
        assert_eq!(b.delay("c"), INITIAL);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (secs, want) in [
            (10, "10s"),
            (80, "1m20s"),
            (160, "2m40s"),
            (300, "5m0s"),
            (3600, "1h0m0s"),
        ] {
            assert_eq!(go_duration(SignedDuration::from_secs(secs)), want);
        }
    }
}
