//! The handle that everybody has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};

use crate::committer::{self, Answer, Request};
use crate::counts::{Count, Counts};
use crate::engine::Engine;
use crate::history::History;
use crate::sqlite::Sqlite;
use crate::state::State;
use crate::statistics::{Statistics, Tally};
use crate::watch::{Hub, Watch};
use crate::{Entry, Error, Event, Op, Page, Range};

/// How much a store keeps in memory beyond the present state.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of past versions and events that are remembered for watches and pages.
    pub history_bytes: usize,
    /// Events that may wait for one watcher before it is cut off.
    pub watch_queue: usize,
    /// Commits that may wait for the committer; more writers wait in turn.
    pub commit_queue: usize,
    /// Whether a commit is on disk when it is acknowledged. Without it a crash of the machine (not of the process)
    /// may lose or break what was written.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            history_bytes: 16 << 20,
            watch_queue: 4096,
            commit_queue: 4096,
            durable: true,
        }
    }
}

/// What readers, watchers and the committer share.
pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    hub: Arc<Mutex<Hub>>,
    pub(crate) tally: Tally,
}

impl Shared {
    /// Lets durable events happen: for readers first, then for watchers. Whoever subscribes holds the hub, so it sees
    /// either the state before or all that comes after.
    pub(crate) fn publish(&self, events: &[Arc<Event>]) {
        let mut hub = self.hub.lock();
        self.state.write().apply(events);
        events.iter().for_each(|event| hub.publish(event));
    }
}

/// A store. Clones are the same store; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    turns: Arc<Semaphore>,
    options: Arc<Options>,
    path: Arc<Path>,
}

/// The committer thread; the last handle waits for its end, so that the files are closed after it.
struct Committer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there, and every writer was told that the store is closed.
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Opens the SQLite store at `path` (made when missing; its directory must exist) and reads it into memory.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Store, Error> {
        let path = path.as_ref();
        let engine = Sqlite::open(path, options.durable)?;
        Store::start(path, Box::new(engine), options).map_err(|err| Error::Open {
            path: path.into(),
            err: Arc::new(err),
        })
    }

    fn start(
        path: &Path,
        mut engine: Box<dyn Engine>,
        options: Options,
    ) -> Result<Store, crate::EngineError> {
        let mut index = BTreeMap::new();
        let mut next_row = 1;
        let mut counts = Counts::default();
        let revision = engine.load(&mut |entry| {
            next_row = next_row.max(entry.row + 1);
            counts.add(&entry);
            index.insert(entry.key.clone(), Arc::new(entry));
        })?;
        let history = History::new(revision, options.history_bytes);
        let shared = Arc::new(Shared {
            state: RwLock::new(State {
                index,
                history,
                revision,
                counts,
            }),
            hub: Arc::default(),
            tally: Tally::default(),
        });
        let (requests, queue) = mpsc::channel();
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-committer".into())
            .spawn(move || committer::run(queue, theirs, engine, next_row))?;
        let committer = Committer {
            requests: Some(requests),
            thread: Some(thread),
        };
        let turns = Arc::new(Semaphore::new(options.commit_queue));
        Ok(Store {
            shared,
            committer: Arc::new(committer),
            turns,
            options: Arc::new(options),
            path: path.into(),
        })
    }

    /// Whether nothing can be written any more: the committer has ended.
    pub fn is_closed(&self) -> bool {
        let thread = self.committer.thread.as_ref();
        thread.is_none_or(JoinHandle::is_finished)
    }

    /// How many entries a collection has; it is named by what its keys share up to their third slash.
    pub fn count(&self, collection: &str) -> Count {
        self.shared.state.read().counts.of(collection)
    }

    /// All collections, by name.
    pub fn counts(&self) -> Vec<(String, Count)> {
        self.shared.state.read().counts.all()
    }

    /// What the store has done since it was opened.
    pub fn statistics(&self) -> Statistics {
        let sizes = ["", "-wal"].map(|suffix| {
            let mut path = self.path.as_os_str().to_owned();
            path.push(suffix);
            std::fs::metadata(path).map_or(0, |meta| meta.len())
        });
        self.shared.tally.read(sizes.iter().sum())
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.shared.state.read().revision
    }

    /// What the key holds now.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.shared.state.read().index.get(key).cloned()
    }

    /// What many keys hold.
    ///
    /// # Errors
    /// [`Error::Expired`] or [`Error::Future`] when `range.at` is outside of the history.
    pub fn range(&self, range: &Range<'_>) -> Result<Page, Error> {
        self.shared.state.read().range(range)
    }

    /// Makes the changes, all or none, and answers when they are durable, with one event per operation. A caller that
    /// goes away does not undo them.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a key is not as expected; [`Error::Write`] when the engine failed.
    pub async fn commit(&self, ops: Vec<Op>) -> Answer {
        let turn = self
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.send(ops, move |result| {
            drop(turn);
            // The writer may be gone; the change has happened all the same.
            let _ = reply.send(result);
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// As [`Store::commit`], for threads that may block (and for the short work before a server starts).
    pub fn commit_blocking(&self, ops: Vec<Op>) -> Answer {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(ops, move |result| {
            let _ = reply.send(result);
        })?;
        answer.recv().map_err(|_| Error::Closed)?
    }

    fn send(
        &self,
        ops: Vec<Op>,
        answer: impl FnOnce(Answer) + Send + 'static,
    ) -> Result<(), Error> {
        let request = Request {
            ops,
            answer: Box::new(answer),
        };
        let requests = self.committer.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(request).map_err(|_| Error::Closed)
    }

    /// The changes after the revision `from` of keys below `prefix` (which ends with a `/`, or is a whole key).
    ///
    /// # Errors
    /// [`Error::Expired`] when history does not reach back that far. A revision in the future is waited for.
    pub fn watch(&self, prefix: &str, from: u64) -> Result<Watch, Error> {
        let mut hub = self.shared.hub.lock();
        let backlog = self
            .shared
            .state
            .read()
            .history
            .after(from)?
            .filter(|event| event.key().starts_with(prefix))
            .cloned()
            .collect();
        Ok(hub.subscribe(
            &self.shared.hub,
            prefix,
            from,
            backlog,
            self.options.watch_queue,
        ))
    }

    /// A page of the present and the changes that follow it, without a gap between them.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn range_and_watch(&self, range: &Range<'_>) -> Result<(Page, Watch), Error> {
        let mut hub = self.shared.hub.lock();
        let page = self.shared.state.read().range(range)?;
        let watch = hub.subscribe(
            &self.shared.hub,
            range.prefix,
            page.revision,
            Default::default(),
            self.options.watch_queue,
        );
        Ok((page, watch))
    }

    /// Forgets the history up to `revision`; the present stays.
    pub fn compact(&self, revision: u64) {
        self.shared.state.write().history.compact(revision);
    }

    /// The newest revision up to which every change is already queued for every watcher.
    pub fn published(&self) -> u64 {
        let _hub = self.shared.hub.lock();
        self.shared.state.read().revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watcher_that_goes_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(directory.path().join("state.db"), Options::default())
            .expect("store opens");
        let first = store.watch("/a/", store.revision()).expect("now");
        let second = store.watch("/a/b", store.revision()).expect("now");
        let watchers = || store.shared.hub.lock().watchers();
        assert_eq!(watchers(), 2);
        drop(second);
        assert_eq!(watchers(), 1);
        drop(first);
        assert_eq!(watchers(), 0);
    }
}
