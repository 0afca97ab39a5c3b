//! The changes of the recent past, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{Entry, Error, Event};

/// A ring of the last events. Each revision is one event, so an event is found by arithmetic.
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    /// The newest revision whose successors are all here.
    floor: u64,
    weight: usize,
    weight_max: usize,
}

impl History {
    pub(crate) fn new(revision: u64, weight_max: usize) -> History {
        History {
            events: VecDeque::new(),
            floor: revision,
            weight: 0,
            weight_max,
        }
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.weight += event.weight();
        self.events.push_back(event);
        // The newest event always stays, however heavy.
        while self.weight > self.weight_max && self.events.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.weight -= event.weight();
            self.floor = event.revision;
        }
    }

    /// Forgets what happened up to `revision`.
    pub(crate) fn compact(&mut self, revision: u64) {
        while self.events.front().is_some_and(|e| e.revision <= revision) {
            self.drop_oldest();
        }
    }

    /// The events after `revision`, oldest first.
    pub(crate) fn after(
        &self,
        revision: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, Error> {
        if revision < self.floor {
            return Err(Error::Expired {
                requested: revision,
                oldest: self.floor,
            });
        }
        let skip = (revision - self.floor) as usize;
        Ok(self.events.range(skip.min(self.events.len())..))
    }

    /// How the present differs from the state at `revision`, for keys with the prefix: what those keys held then.
    pub(crate) fn undo(
        &self,
        revision: u64,
        prefix: &str,
    ) -> Result<BTreeMap<Arc<str>, Option<Arc<Entry>>>, Error> {
        let mut then = BTreeMap::new();
        for event in self
            .after(revision)?
            .rev()
            .filter(|e| e.key().starts_with(prefix))
        {
            then.insert(event.key().clone(), event.previous.clone());
        }
        Ok(then)
    }
}
