//! How many seats each priority level has. Pure.
//!
//! A level's nominal seats are its share of the server's. It keeps some of them for itself and lends the others while it
//! does not need them. DEVIATION: upstream moves seats between levels every ten seconds by past demand; here a seat that
//! is free is lent at once and comes back when its request ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Level;

/// The seats of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its share.
    pub nominal: u64,
    /// What others never get.
    pub kept: u64,
    /// The most that it may use.
    pub max: u64,
}

/// Seats for all levels of a server with `total` seats.
pub fn limits(total: u64, levels: &BTreeMap<Arc<str>, Level>) -> BTreeMap<Arc<str>, Limits> {
    let sum: i64 = levels.values().map(|level| level.shares).sum();
    let nominal = |level: &Level| match sum {
        0 => 0,
        sum => (total as f64 * level.shares as f64 / sum as f64).ceil() as u64,
    };
    let percent = |seats: u64, percent: i64| (seats as f64 * percent as f64 / 100.0).round() as u64;
    let lendable = |level: &Level| percent(nominal(level), level.lendable_percent);
    let all_lendable: u64 = levels.values().map(lendable).sum();
    let limits = levels.iter().map(|(name, level)| {
        let (nominal, lendable) = (nominal(level), lendable(level));
        let others = all_lendable - lendable;
        let borrowed = level
            .borrowing_percent
            .map_or(others, |p| percent(nominal, p).min(others));
        let limits = Limits {
            nominal,
            kept: nominal - lendable,
            max: nominal + borrowed,
        };
        (name.clone(), limits)
    });
    limits.collect()
}

impl Limits {
    /// The most seats for one request: a wide one must leave room for others (as upstream, 15% of a level).
    pub fn widest(&self) -> u64 {
        ((self.nominal as f64 * 0.15).ceil() as u64).clamp(1, 100)
    }
}

/// The seats that a list takes, by the number and the bytes of what it may read.
pub fn of_list(objects: u64, bytes: u64, limit: Option<u64>) -> u64 {
    /// A list is sent in pieces, so it never holds more than this.
    const HELD_MAX: u64 = 1_000_000;
    const BYTES_PER_SEAT: u64 = 100_000;
    let read = limit.filter(|n| *n > 0).map_or(objects, |n| n.min(objects));
    let average = bytes.checked_div(objects).unwrap_or(0);
    (read * average)
        .min(HELD_MAX)
        .div_ceil(BYTES_PER_SEAT)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::super::{bootstrap, config::Config};
    use super::*;

    #[test]
    fn seats_of_a_new_cluster_are_those_of_upstream() {
        let all = bootstrap::all();
        let levels = Config::build(&all.schemas, &all.levels).levels;
        let limits = limits(600, &levels);
        // Upstream's apiserver_flowcontrol_nominal_limit_seats and _lower_limit_seats with 400 + 200 in flight.
        let rows = [
            ("catch-all", 13, 13),
            ("exempt", 0, 0),
            ("global-default", 49, 24),
            ("leader-election", 25, 25),
            ("node-high", 98, 73),
            ("system", 74, 50),
            ("workload-high", 98, 49),
            ("workload-low", 245, 24),
        ];
        for (name, nominal, kept) in rows {
            let have = limits[name];
            assert_eq!((have.nominal, have.kept), (nominal, kept), "{name}");
        }
    }

    #[test]
    fn lists_take_seats_by_what_they_read() {
        assert_eq!(of_list(0, 0, None), 1);
        assert_eq!(of_list(1000, 1_000_000, Some(500)), 5);
        assert_eq!(of_list(10_000, 30_000_000, None), 10);
    }
}
