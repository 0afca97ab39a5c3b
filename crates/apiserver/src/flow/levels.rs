//! The seats that are taken and the requests that wait, for all priority levels. No clock, no tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{Config, Level};
use super::queues::Queues;
use super::seats::{self, Limits};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has its seats.
    Seated(Place),
    /// It waits in a queue.
    Waiting(Place),
    /// It is refused.
    Refused(Reason),
}

/// Why a request is refused; upstream's words in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No seat, and the level has no queues.
    ConcurrencyLimit,
    /// No room in its queues.
    QueueFull,
    /// It waited too long.
    TimeOut,
}

impl Reason {
    /// As in `apiserver_flowcontrol_rejected_requests_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ConcurrencyLimit => "concurrency-limit",
            Reason::QueueFull => "queue-full",
            Reason::TimeOut => "time-out",
        }
    }
}

/// Where a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    level: Arc<str>,
    /// Tells a level from a later one of the same name.
    generation: u64,
    queue: Option<usize>,
    id: u64,
    seats: u64,
}

struct State<T> {
    generation: u64,
    exempt: bool,
    limits: Limits,
    taken: u64,
    requests: u64,
    queues: Option<Queues<T>>,
}

/// All levels. `T` wakes a request; it answers whether there is still somebody to wake.
pub struct Levels<T> {
    total: u64,
    states: BTreeMap<Arc<str>, State<T>>,
    next: u64,
}

/// What a level has, for metrics.
pub struct Usage<'a> {
    pub level: &'a str,
    pub limits: Limits,
    pub requests: u64,
    pub seats: u64,
    pub waiting: usize,
}

impl<T: FnOnce() -> bool> Levels<T> {
    /// Levels of a server with `total` seats.
    pub fn new(total: u64) -> Levels<T> {
        Levels {
            total,
            states: BTreeMap::new(),
            next: 0,
        }
    }

    /// Takes another configuration. Requests of levels that are gone go on, and hold no seats.
    pub fn configure(&mut self, config: &Config) {
        let limits = seats::limits(self.total, &config.levels);
        let mut before = std::mem::take(&mut self.states);
        for (name, level) in &config.levels {
            let state = before.remove(name);
            let limits = limits[name];
            let state = self.configured(state, level, limits);
            self.states.insert(name.clone(), state);
        }
        for queues in before.values_mut().filter_map(|s| s.queues.as_mut()) {
            queues.drain().for_each(|wake| {
                wake();
            });
        }
        self.dispatch();
    }

    fn configured(&mut self, before: Option<State<T>>, level: &Level, limits: Limits) -> State<T> {
        self.next += 1;
        let mut state = before.unwrap_or(State {
            generation: self.next,
            exempt: level.exempt,
            limits,
            taken: 0,
            requests: 0,
            queues: None,
        });
        state.limits = limits;
        state.exempt = level.exempt;
        if state.queues.as_ref().map(Queues::shape) != level.queuing {
            if let Some(queues) = &mut state.queues {
                queues.drain().for_each(|wake| {
                    wake();
                });
                // Those that were let through hold no seats either.
                state.generation = self.next;
                (state.taken, state.requests) = (0, 0);
            }
            state.queues = level.queuing.map(Queues::new);
        }
        state
    }

    /// The widest that a request of the level may be.
    pub fn widest(&self, level: &str) -> u64 {
        self.states.get(level).map_or(1, |s| s.limits.widest())
    }

    /// A request comes. `wake` is made when it has to wait.
    pub fn enter(
        &mut self,
        level: &Arc<str>,
        flow: u64,
        seats: u64,
        wake: impl FnOnce() -> T,
    ) -> Entry {
        let fits = self.fits(level, seats);
        self.next += 1;
        let id = self.next;
        let Some(state) = self.states.get_mut(level) else {
            return Entry::Refused(Reason::ConcurrencyLimit);
        };
        let place = |queue| Place {
            level: level.clone(),
            generation: state.generation,
            queue,
            id,
            seats,
        };
        let waits = state.queues.as_ref().is_some_and(|q| q.waiting() > 0);
        if state.exempt || fits && !waits {
            let place = place(None);
            state.taken += seats;
            state.requests += 1;
            return Entry::Seated(place);
        }
        match &mut state.queues {
            None => Entry::Refused(Reason::ConcurrencyLimit),
            Some(queues) => match queues.push(flow, id, seats, wake()) {
                Ok(queue) => Entry::Waiting(place(Some(queue))),
                Err(_) => Entry::Refused(Reason::QueueFull),
            },
        }
    }

    /// A request that waited gives up; false when it was just given its seats.
    pub fn give_up(&mut self, place: &Place) -> bool {
        let state = self.state(place);
        let queues = state.and_then(|s| s.queues.as_mut());
        let removed = queues
            .zip(place.queue)
            .map(|(q, at)| q.remove(at, place.id));
        removed.unwrap_or(false)
    }

    /// A request that had seats ends after `took` seconds.
    pub fn leave(&mut self, place: &Place, took: f64) {
        let Some(state) = self.state(place) else {
            return;
        };
        state.taken = state.taken.saturating_sub(place.seats);
        state.requests = state.requests.saturating_sub(1);
        if let (Some(queues), Some(at)) = (&mut state.queues, place.queue) {
            queues.ended(at, place.seats, took);
        }
        self.dispatch();
    }

    fn state(&mut self, place: &Place) -> Option<&mut State<T>> {
        let state = self.states.get_mut(&place.level)?;
        (state.generation == place.generation).then_some(state)
    }

    /// Gives free seats to those that wait.
    fn dispatch(&mut self) {
        let waits = |s: &State<T>| s.queues.as_ref().is_some_and(|q| q.waiting() > 0);
        if !self.states.values().any(waits) {
            return;
        }
        let names: Vec<Arc<str>> = self
            .states
            .iter()
            .filter(|(_, s)| waits(s))
            .map(|(n, _)| n.clone())
            .collect();
        for name in names {
            loop {
                let free = self.free(&name);
                let Some(state) = self.states.get_mut(&name) else {
                    break;
                };
                let next = state
                    .queues
                    .as_mut()
                    .and_then(|q| q.pop(|seats| seats <= free));
                let Some((seats, wake)) = next else {
                    break;
                };
                if wake() {
                    state.taken += seats;
                    state.requests += 1;
                }
            }
        }
    }

    fn fits(&self, level: &str, seats: u64) -> bool {
        seats <= self.free(level)
    }

    /// Seats that a request of the level could have: below its own limit, and without what other levels use or keep.
    /// A level that uses nothing always has one, however little the others left.
    fn free(&self, level: &str) -> u64 {
        let Some(state) = self.states.get(level) else {
            return 0;
        };
        let others = self
            .states
            .iter()
            .filter(|(name, s)| ***name != *level && !s.exempt);
        let held: u64 = others.map(|(_, s)| s.taken.max(s.limits.kept)).sum();
        let sum: u64 = self
            .states
            .values()
            .filter(|s| !s.exempt)
            .map(|s| s.limits.nominal)
            .sum();
        let most = state.limits.max.min(sum.saturating_sub(held)).max(1);
        most.saturating_sub(state.taken)
    }

    /// What each level has.
    pub fn usage(&self) -> impl Iterator<Item = Usage<'_>> {
        self.states.iter().map(|(level, state)| Usage {
            level,
            limits: state.limits,
            requests: state.requests,
            seats: state.taken,
            waiting: state.queues.as_ref().map_or(0, Queues::waiting),
        })
    }
}

#[cfg(test)]
mod tests;
