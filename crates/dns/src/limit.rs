//! How much one client may ask of others: a flood of outside names from one Pod must not starve the rest. Cluster
//! names and kept answers are never counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use parking_lot::Mutex;

/// Names from elsewhere that one client may ask for in a second, in the long run.
const RATE: f64 = 1000.0;
/// And at once.
const BURST: f64 = 2000.0;
/// Clients remembered. Beyond that, the table begins anew: everybody gets a full bucket, never an empty one.
const CLIENTS_MAX: usize = 8192;

/// Buckets by client.
#[derive(Debug, Default)]
pub struct Limit {
    clients: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Limit {
    /// Whether `client` may ask one more.
    pub fn allows(&self, client: IpAddr, now: Instant) -> bool {
        let mut clients = self.clients.lock();
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&client) {
            clients.clear();
        }
        let (tokens, last) = clients.entry(client).or_insert((BURST, now));
        let passed = now.saturating_duration_since(*last).as_secs_f64();
        *tokens = (*tokens + passed * RATE).min(BURST);
        *last = now;
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_ends_at_the_burst_and_others_are_not_hurt() {
        let limit = Limit::default();
        let now = Instant::now();
        let [one, other] = [1, 2].map(|n| IpAddr::from([10, 244, 1, n]));
        let allowed = (0..5000).filter(|_| limit.allows(one, now)).count();
        assert_eq!(allowed, 2000);
        assert!(limit.allows(other, now));
        let later = now + Duration::from_millis(500);
        let allowed = (0..5000).filter(|_| limit.allows(one, later)).count();
        assert_eq!(allowed, 500);
    }
}
