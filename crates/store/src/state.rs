//! The present and the recent past, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::counts::Counts;
use crate::history::History;
use crate::range::{self, Page, Range};
use crate::{Entry, Error, Event};

pub(crate) struct State {
    pub(crate) index: BTreeMap<Arc<str>, Arc<Entry>>,
    pub(crate) history: History,
    pub(crate) revision: u64,
    pub(crate) counts: Counts,
}

impl State {
    /// Lets durable events happen.
    pub(crate) fn apply(&mut self, events: &[Arc<Event>]) {
        for event in events {
            self.counts.apply(event);
            match &event.current {
                Some(entry) => self.index.insert(entry.key.clone(), entry.clone()),
                None => self.index.remove(event.key()),
            };
            self.revision = event.revision;
            self.history.push(event.clone());
        }
    }

    pub(crate) fn range(&self, range: &Range<'_>) -> Result<Page, Error> {
        let limit = range.limit.unwrap_or(usize::MAX);
        let revision = match range.at {
            Some(at) if at > self.revision => {
                return Err(Error::Future {
                    requested: at,
                    current: self.revision,
                });
            }
            Some(at) => at,
            None => self.revision,
        };
        let then = match revision == self.revision {
            true => BTreeMap::new(),
            false => self.history.undo(revision, range.prefix)?,
        };
        let mut found = range::now(&self.index, range);
        if then.is_empty() {
            let entries = found.by_ref().take(limit).cloned().collect();
            return Ok(Page {
                entries,
                revision,
                remaining: found.count(),
            });
        }
        let mut found = range::past(found, then, range.from);
        let entries = found.by_ref().take(limit).collect();
        Ok(Page {
            entries,
            revision,
            remaining: found.count(),
        })
    }
}
