//! When to try again what the API server, or the kernel, did not do.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// Doubling pauses, from [`Retry::FIRST`] to [`Retry::LONGEST`]: a server that restarts is back
/// within the first ones, and one that stays away is missed by nobody for longer than the last.
#[derive(Debug)]
pub struct Retry {
    next: Duration,
}

impl Retry {
    /// The first pause.
    pub const FIRST: Duration = Duration::from_millis(50);
    /// The longest pause.
    pub const LONGEST: Duration = Duration::from_secs(1);

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.pause())
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_start_quickly_and_stay_frequent() {
        let mut retry = Retry::default();
        let waits: Vec<_> = retry
            .by_ref()
            .take(7)
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        retry.reset();
        assert_eq!(retry.pause(), Retry::FIRST);
    }
}
