//! The one thread that writes: checks, assigns revisions, commits in groups, then publishes.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::engine::Engine;
use crate::store::Shared;
use crate::{Action, Entry, Error, Event, Expect, Op};

/// What a writer gets.
pub(crate) type Answer = Result<Vec<Arc<Event>>, Error>;

/// A commit that waits for its turn.
pub(crate) struct Request {
    pub(crate) ops: Vec<Op>,
    pub(crate) answer: Box<dyn FnOnce(Answer) + Send>,
}

/// At most so many commits share one sync.
const GROUP_MAX: usize = 512;

/// Runs until all handles of the store are gone.
pub(crate) fn run(
    requests: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    mut engine: Box<dyn Engine>,
    mut next_row: i64,
) {
    while let Ok(first) = requests.recv() {
        let mut group = Group::new(&shared, next_row);
        let mut answers = Vec::new();
        let waiting = std::iter::once(first)
            .chain(requests.try_iter())
            .take(GROUP_MAX);
        for Request { ops, answer } in waiting {
            answers.push((group.add(ops), answer));
        }
        let Group {
            events,
            next_row: row,
            ..
        } = group;
        let began = Instant::now();
        let appended = match events.is_empty() {
            true => Ok(()),
            false => engine.append(&events),
        };
        if appended.is_ok() && !events.is_empty() {
            shared.tally.synced(answers.len(), began.elapsed());
        }
        match appended {
            Ok(()) => {
                next_row = row;
                shared.publish(&events);
                answers
                    .into_iter()
                    .for_each(|(answer, reply)| reply(answer));
            }
            Err(err) => {
                let err = Arc::new(err);
                tracing::error!(err = &*err as &dyn std::error::Error, "commit failed");
                // A conflict may have been judged against a write that did not happen, so all of them fail.
                answers
                    .into_iter()
                    .for_each(|(_, reply)| reply(Err(Error::Write(err.clone()))));
            }
        }
    }
}

/// Commits that will become durable together, laid over the present state.
struct Group<'a> {
    shared: &'a Shared,
    events: Vec<Arc<Event>>,
    overlay: HashMap<Arc<str>, Option<Arc<Entry>>>,
    revision: u64,
    next_row: i64,
}

impl<'a> Group<'a> {
    fn new(shared: &'a Shared, next_row: i64) -> Group<'a> {
        let revision = shared.state.read().revision;
        Group {
            shared,
            events: Vec::new(),
            overlay: HashMap::new(),
            revision,
            next_row,
        }
    }

    fn current(&self, key: &str) -> Option<Arc<Entry>> {
        match self.overlay.get(key) {
            Some(entry) => entry.clone(),
            None => self.shared.state.read().index.get(key).cloned(),
        }
    }

    /// All of the operations or none.
    fn add(&mut self, ops: Vec<Op>) -> Answer {
        let (start, revision, row) = (self.events.len(), self.revision, self.next_row);
        let mut replaced = Vec::new();
        for (i, op) in ops.into_iter().enumerate() {
            match self.add_one(i, op) {
                Ok((key, before)) => replaced.push((key, before)),
                Err(err) => {
                    for (key, before) in replaced.into_iter().rev() {
                        self.overlay.insert(key, before);
                    }
                    self.events.truncate(start);
                    (self.revision, self.next_row) = (revision, row);
                    return Err(err);
                }
            }
        }
        Ok(self.events[start..].to_vec())
    }

    fn add_one(&mut self, i: usize, op: Op) -> Result<(Arc<str>, Option<Arc<Entry>>), Error> {
        let before = self.current(&op.key);
        let fits = match op.expect {
            Expect::Any => before.is_some() || op.action != Action::Delete,
            Expect::Absent => before.is_none() && op.action != Action::Delete,
            Expect::Revision(wanted) => before.as_ref().is_some_and(|e| e.mod_revision == wanted),
        };
        if !fits {
            return Err(Error::Conflict {
                op: i,
                key: op.key,
                current: before,
            });
        }
        self.revision += 1;
        let after = match &op.action {
            Action::Delete => None,
            Action::Put(value) => {
                let (created, row) = match &before {
                    Some(entry) => (entry.create_revision, entry.row),
                    None => {
                        self.next_row += 1;
                        (self.revision, self.next_row - 1)
                    }
                };
                let key = before.as_ref().map_or(&op.key, |e| &e.key).clone();
                Some(Arc::new(Entry::write(
                    key,
                    value,
                    (created, self.revision),
                    row,
                )))
            }
        };
        self.overlay.insert(op.key.clone(), after.clone());
        self.events
            .push(Arc::new(Event::new(self.revision, after, before.clone())));
        Ok((op.key, before))
    }
}
