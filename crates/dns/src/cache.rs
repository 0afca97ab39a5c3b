//! Answers from elsewhere, kept for as long as they hold. Cluster names never come here.
//!
//! Two sides, answers and denials, each bounded in number; a full side lets a random entry go (as CoreDNS). Pure but
//! for the lock: time is passed in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::corefile::{Cache as Options, Side as SideOptions};
use crate::stored::{Aged, Kind, Stored};
use crate::wire::Lookup;

/// The octets that one side holds at most, whatever the number of entries.
const BYTES_MAX: usize = 16 << 20;

/// What the cache says.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nothing, or nothing that may be used.
    Miss,
    /// This, which holds.
    Fresh(Arc<Stored>, Aged),
    /// This, which holds, and it is time to ask anew.
    Prefetch(Arc<Stored>, Aged),
    /// This, which has ended not too long ago. It may be said only when nobody answers, if `verify`.
    Stale {
        /// What was said.
        stored: Arc<Stored>,
        /// With a TTL of none.
        aged: Aged,
        /// Ask first.
        verify: bool,
    },
}

/// Kept answers.
#[derive(Debug)]
pub struct Cache {
    options: Options,
    success: Mutex<Side>,
    denial: Mutex<Side>,
}

#[derive(Debug, Default)]
struct Side {
    index: HashMap<Arc<Lookup>, usize>,
    entries: Vec<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    key: Arc<Lookup>,
    stored: Arc<Stored>,
    came: Instant,
    holds: Duration,
    bounds: Option<(u32, u32)>,
    /// Questions without a gap, and when the last one came.
    asked: u32,
    last: Instant,
    fetching: bool,
}

impl Cache {
    /// An empty cache.
    pub fn new(options: Options) -> Cache {
        Cache {
            options,
            success: Mutex::default(),
            denial: Mutex::default(),
        }
    }

    /// Whether names like this one are kept.
    pub fn covers(&self, name: &str) -> bool {
        self.options.zones.iter().any(|zone| zone.covers(name))
    }

    /// Entries of the success and the denial side.
    pub fn len(&self) -> (usize, usize) {
        (
            self.success.lock().entries.len(),
            self.denial.lock().entries.len(),
        )
    }

    /// Looks for an answer.
    pub fn find(&self, lookup: &Lookup, now: Instant) -> Found {
        match self.find_in(&self.denial, lookup, now) {
            Found::Miss => self.find_in(&self.success, lookup, now),
            found => found,
        }
    }

    fn find_in(&self, side: &Mutex<Side>, lookup: &Lookup, now: Instant) -> Found {
        let mut side = side.lock();
        let Some(entry) = side.get(lookup) else {
            return Found::Miss;
        };
        let age = now.saturating_duration_since(entry.came);
        let stored = entry.stored.clone();
        if age < entry.holds {
            let aged = Aged {
                age: if self.options.keep_ttl {
                    Duration::ZERO
                } else {
                    age
                },
                bounds: entry.bounds,
                fixed: None,
            };
            return match self.is_due(entry, age, now) {
                true => Found::Prefetch(stored, aged),
                false => Found::Fresh(stored, aged),
            };
        }
        match self.options.serve_stale {
            Some(stale) if age < entry.holds + stale.up_to => Found::Stale {
                stored,
                aged: Aged {
                    fixed: Some(0),
                    ..Aged::default()
                },
                verify: stale.verify,
            },
            _ => Found::Miss,
        }
    }

    fn is_due(&self, entry: &mut Entry, age: Duration, now: Instant) -> bool {
        let Some(prefetch) = self.options.prefetch.filter(|p| p.amount > 0) else {
            return false;
        };
        let gap = now.saturating_duration_since(entry.last);
        entry.asked = if gap > prefetch.window {
            1
        } else {
            entry.asked + 1
        };
        entry.last = now;
        let rest = entry.holds.saturating_sub(age);
        let late = rest <= entry.holds * prefetch.percentage / 100;
        let due = late && entry.asked >= prefetch.amount && !entry.fetching;
        entry.fetching |= due;
        due
    }

    /// Keeps an answer, for the lowered `name`.
    pub fn keep(&self, lookup: &Lookup, name: &str, stored: &Arc<Stored>, now: Instant) {
        let kind = stored.kind();
        let (side, options) = match kind {
            Kind::Success => (&self.success, &self.options.success),
            Kind::Denial | Kind::Failure => (&self.denial, &self.options.denial),
        };
        let Some((holds, bounds)) = self.life(kind, options, name, stored) else {
            return;
        };
        let key = Arc::new(lookup.clone());
        let entry = Entry {
            key: key.clone(),
            stored: stored.clone(),
            came: now,
            holds,
            bounds,
            asked: 0,
            last: now,
            fetching: false,
        };
        // What is known of the other side is no longer true; a failure says nothing of an answer that may be
        // served stale.
        match kind {
            Kind::Success => self.denial.lock().remove(lookup),
            Kind::Denial => self.success.lock().remove(lookup),
            Kind::Failure => {}
        }
        side.lock().put(key, entry, options.capacity);
    }

    /// How long an answer is kept, and the bounds of its TTLs.
    fn life(
        &self,
        kind: Kind,
        options: &SideOptions,
        name: &str,
        stored: &Stored,
    ) -> Option<(Duration, Option<(u32, u32)>)> {
        if options.except.iter().any(|zone| zone.covers(name)) {
            return None;
        }
        if kind == Kind::Failure {
            let holds = self.options.servfail;
            let kept = stored.rcode() == crate::wire::rcode::SERVFAIL && !holds.is_zero();
            return kept.then_some((holds, None));
        }
        let ttl = Duration::from_secs(u64::from(stored.ttl()));
        if ttl.is_zero() {
            return None;
        }
        let holds = ttl.max(options.ttl_min).min(options.ttl_max);
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Some((
            holds,
            Some((seconds(options.ttl_min), seconds(options.ttl_max))),
        ))
    }
}

impl Side {
    fn get(&mut self, lookup: &Lookup) -> Option<&mut Entry> {
        let at = *self.index.get(lookup)?;
        self.entries.get_mut(at)
    }

    fn remove(&mut self, lookup: &Lookup) {
        if let Some(at) = self.index.get(lookup).copied() {
            self.remove_at(at);
        }
    }

    fn remove_at(&mut self, at: usize) {
        let old = self.entries.swap_remove(at);
        self.bytes -= old.stored.size();
        self.index.remove(&*old.key);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.key.clone(), at);
        }
    }

    fn put(&mut self, key: Arc<Lookup>, entry: Entry, capacity: usize) {
        self.remove(&key);
        if capacity == 0 {
            return;
        }
        let size = entry.stored.size();
        while !self.entries.is_empty()
            && (self.entries.len() >= capacity || self.bytes + size > BYTES_MAX)
        {
            self.remove_at(rand::random_range(0..self.entries.len()));
        }
        self.bytes += size;
        self.index.insert(key, self.entries.len());
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::plan::{Prefetch, Stale};
    use crate::wire::{IN, rtype};

    fn lookup(name: u8) -> Lookup {
        Lookup {
            name: [1, name, 0].into(),
            qtype: rtype::A,
            qclass: IN,
            dnssec_ok: false,
            checking_disabled: false,
            authentic_data: false,
        }
    }

    /// One address that lives for `ttl`; none: a failure.
    fn said(name: u8, ttl: Option<u32>) -> Arc<Stored> {
        let (code, count) = if ttl.is_some() { (0, 1) } else { (2, 0) };
        let mut message = vec![0, 0, 0x80, code, 0, 1, 0, count, 0, 0, 0, 0];
        message.extend_from_slice(&[1, name, 0, 0, 1, 0, 1]);
        if let Some(ttl) = ttl {
            message.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1]);
            message.extend_from_slice(&ttl.to_be_bytes());
            message.extend_from_slice(&[0, 4, 192, 0, 2, 1]);
        }
        Arc::new(Stored::take(&message, &lookup(name)).expect("an answer"))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_holds_for_its_time_and_then_may_be_said_late() {
        let start = Instant::now();
        for (stale, late) in [
            (None, false),
            (Some(seconds(60)), true),
            (Some(seconds(5)), false),
        ] {
            let cache = Cache::new(Options {
                serve_stale: stale.map(|up_to| Stale {
                    up_to,
                    verify: true,
                }),
                ..Options::default()
            });
            let answer = said(b'a', Some(20));
            cache.keep(&lookup(b'a'), "a", &answer, start);
            // A failure afterwards does not take it back.
            cache.keep(&lookup(b'b'), "b", &said(b'b', None), start);
            let found = |after| cache.find(&lookup(b'a'), start + seconds(after));
            assert!(matches!(found(19), Found::Fresh(_, aged) if aged.age == seconds(19)));
            assert_eq!(matches!(found(30), Found::Stale { .. }), late, "{stale:?}");
            assert_eq!(cache.len(), (1, 1));
        }
    }

    #[test]
    fn what_is_asked_for_often_is_fetched_early_and_once() {
        let start = Instant::now();
        let cache = Cache::new(Options {
            prefetch: Some(Prefetch {
                amount: 2,
                window: seconds(60),
                percentage: 20,
            }),
            ..Options::default()
        });
        cache.keep(&lookup(b'a'), "a", &said(b'a', Some(100)), start);
        let kinds: Vec<bool> = [10, 50, 85, 90]
            .map(|after| cache.find(&lookup(b'a'), start + seconds(after)))
            .iter()
            .map(|found| matches!(found, Found::Prefetch(..)))
            .collect();
        assert_eq!(kinds, [false, false, true, false]);
    }

    #[test]
    fn a_full_side_lets_one_go() {
        let now = Instant::now();
        let mut options = Options::default();
        options.success.capacity = 3;
        let cache = Cache::new(options);
        for name in b'a'..=b'z' {
            cache.keep(&lookup(name), "x", &said(name, Some(60)), now);
        }
        assert_eq!(cache.len(), (3, 0));
        assert!(matches!(cache.find(&lookup(b'z'), now), Found::Fresh(..)));
    }
}
