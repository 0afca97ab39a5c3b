//! How long refused clients are told to stay away: longer while many are refused. Pure; time comes in as seconds.

use std::collections::VecDeque;

/// As upstream.
const SECONDS_MAX: u64 = 32;

/// The refusals of one priority level.
#[derive(Debug)]
pub struct RetryAfter {
    /// Refusals by second, oldest first.
    history: VecDeque<(u64, u64)>,
    seconds: u64,
    raised_at: u64,
}

impl Default for RetryAfter {
    fn default() -> RetryAfter {
        RetryAfter {
            history: VecDeque::new(),
            seconds: 1,
            raised_at: 0,
        }
    }
}

impl RetryAfter {
    /// A request is refused in second `now`; answers what it is told.
    pub fn refused(&mut self, now: u64) -> u64 {
        match self.history.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => {
                self.reconsider(now);
                self.history.push_back((now, 1));
            }
        }
        self.seconds
    }

    /// Doubles when there were many refusals in the time that clients were told, and goes down when there were few.
    fn reconsider(&mut self, now: u64) {
        let recent = |second: u64| now.saturating_sub(second) <= self.seconds;
        let refused: u64 = self
            .history
            .iter()
            .filter(|(second, _)| recent(*second))
            .map(|(_, count)| count)
            .sum();
        if refused >= 3 * self.seconds && now.saturating_sub(self.raised_at) >= self.seconds {
            self.seconds = (2 * self.seconds).min(SECONDS_MAX);
            self.raised_at = now;
        } else if refused < self.seconds && self.seconds > 1 {
            self.seconds -= 1;
        }
        while self
            .history
            .front()
            .is_some_and(|(second, _)| now.saturating_sub(*second) > SECONDS_MAX)
        {
            self.history.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_stay_away_longer_while_many_are_refused() {
        let mut retry = RetryAfter::default();
        let told = |retry: &mut RetryAfter, second: u64, times: usize| {
            (0..times)
                .map(|_| retry.refused(second))
                .last()
                .unwrap_or(0)
        };
        assert_eq!(told(&mut retry, 100, 10), 1);
        assert_eq!(told(&mut retry, 101, 10), 2);
        assert_eq!(told(&mut retry, 102, 10), 2);
        assert_eq!(told(&mut retry, 103, 10), 4);
        assert_eq!(told(&mut retry, 200, 1), 3);
        assert_eq!(told(&mut retry, 300, 1), 2);
        for second in 0..1000 {
            told(&mut retry, 1000 + second, 1000);
        }
        assert_eq!(retry.refused(3000), 31);
    }
}
