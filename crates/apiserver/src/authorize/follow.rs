//! Facts of stored objects, indexed as they change.
//!
//! The store queues each change for its watchers before it acknowledges the write. Whoever asks first applies what is
//! queued, so an answer knows every write that was acknowledged before it, nothing runs in the background, and nothing
//! is decoded twice. A queue that overflowed while nobody asked is made good by one pass over the objects.

use std::fmt;

use karve_store::{Lagged, Range, Store, Watch};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// What is kept of objects.
pub trait Index: Default {
    /// The prefixes of the keys of its objects.
    const PREFIXES: &'static [&'static str];

    /// The object at `key` is now `value`; `None`: it is gone.
    fn apply(&mut self, key: &str, value: Option<&[u8]>);
}

/// An index and its place in the history of the store.
pub struct Follow<I> {
    store: Store,
    /// Empty before the first question.
    watches: Mutex<Vec<Watch>>,
    index: RwLock<I>,
}

impl<I: Index> Follow<I> {
    /// An index that is built when it is first asked.
    pub fn new(store: Store) -> Follow<I> {
        Follow {
            store,
            watches: Mutex::default(),
            index: RwLock::default(),
        }
    }

    /// The index as of now.
    pub fn read(&self) -> RwLockReadGuard<'_, I> {
        let mut watches = self.watches.lock();
        if watches.is_empty() || self.catch_up(&mut watches).is_err() {
            self.rebuild(&mut watches);
        }
        // Readers that wait here see at least what they came for.
        drop(watches);
        self.index.read()
    }

    fn catch_up(&self, watches: &mut [Watch]) -> Result<(), Lagged> {
        let mut index = None;
        for watch in watches {
            while let Some(event) = watch.ready() {
                let index = index.get_or_insert_with(|| self.index.write());
                let value = event.current().map(|entry| &**entry.value());
                index.apply(event.key(), value);
            }
            if watch.lagged() {
                return Err(Lagged);
            }
        }
        Ok(())
    }

    fn rebuild(&self, watches: &mut Vec<Watch>) {
        let mut fresh = I::default();
        watches.clear();
        for prefix in I::PREFIXES {
            let range = Range {
                prefix,
                ..Range::default()
            };
            let (page, watch) = self
                .store
                .range_and_watch(&range)
                .expect("the present is always readable");
            for entry in &page.entries {
                fresh.apply(entry.key(), Some(entry.value()));
            }
            watches.push(watch);
        }
        *self.index.write() = fresh;
    }
}

impl<I> fmt::Debug for Follow<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").finish_non_exhaustive()
    }
}
