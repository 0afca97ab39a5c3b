//! What keeps volumes from being made: what was told of it, and when each is tried again. Pure.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::pod::memory::Retry;

/// Troubles by volume.
#[derive(Debug, Default)]
pub struct Troubles(BTreeMap<String, Trouble>);

#[derive(Debug)]
struct Trouble {
    text: String,
    retry: Retry,
}

impl Troubles {
    /// Notes a failure. Whether it is to be told: another one than before, or the same after its pause. One that is
    /// `last` will be the same always.
    pub fn is_news(&mut self, volume: &str, text: &str, last: bool, now: Timestamp) -> bool {
        let before = self.0.get(volume).filter(|trouble| trouble.text == text);
        if before.is_some_and(|trouble| trouble.retry.at > now) {
            return false;
        }
        let mut retry = Retry::after(before.map(|trouble| &trouble.retry), now);
        if last {
            retry.at = Timestamp::MAX;
        }
        let text = text.to_owned();
        self.0.insert(volume.to_owned(), Trouble { text, retry });
        true
    }

    /// When a volume is tried again.
    pub fn retry_at(&self, volume: &str) -> Timestamp {
        self.0
            .get(volume)
            .map_or(Timestamp::MAX, |trouble| trouble.retry.at)
    }

    /// The volume was made.
    pub fn over(&mut self, volume: &str) {
        self.0.remove(volume);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_failure_is_told_when_it_is_new_and_after_each_pause() {
        let at = |millis: i64| Timestamp::from_millisecond(1_000_000_000 + millis).expect("small");
        let mut troubles = Troubles::default();
        let rows = [
            (0, "a", true, 500),
            (100, "a", false, 500),
            (500, "a", true, 1500),
            (600, "b", true, 1100),
            (1100, "b", true, 2100),
        ];
        for (now, text, news, next) in rows {
            assert_eq!(troubles.is_news("v", text, false, at(now)), news, "{now}");
            assert_eq!(troubles.retry_at("v"), at(next), "{now}");
        }
        troubles.over("v");
        assert!(troubles.is_news("v", "b", false, at(1200)));
        let pause = troubles.retry_at("v").duration_since(at(1200));
        assert_eq!(pause, SignedDuration::from_millis(500));
        assert!(troubles.is_news("w", "never", true, at(0)));
        assert_eq!(troubles.retry_at("w"), Timestamp::MAX);
    }
}
