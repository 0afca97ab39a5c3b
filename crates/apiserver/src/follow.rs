//! What is derived from stored objects, kept up to date by the changes alone.
//!
//! The store queues each change for its watchers before it acknowledges the write. Whoever asks first applies what is
//! queued, so an answer knows every write that was acknowledged before it, nothing runs in the background, and nothing
//! is decoded twice. A queue that overflowed while nobody asked is made good by one pass over the objects.
//!
//! A large index is read in place ([`Follow::read`]); a small one that is needed across awaits is shared as it was
//! ([`Follow::snapshot`]) and copied when it changes meanwhile.

use std::fmt;
use std::sync::Arc;

use karve_store::{Lagged, Range, Store, Watch};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// What is kept of objects.
pub trait Index: Default {
    /// The object at `key` is now `value`; `None`: it is gone.
    fn apply(&mut self, key: &str, value: Option<&[u8]>);
}

impl<I: Index + Clone> Index for Arc<I> {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        Arc::make_mut(self).apply(key, value);
    }
}

/// An index and its place in the history of the store.
pub struct Follow<I> {
    store: Store,
    /// Of the keys of its objects; each ends at a slash.
    prefixes: &'static [&'static str],
    /// Empty before the first question.
    watches: Mutex<Vec<Watch>>,
    index: RwLock<I>,
}

impl<I: Index> Follow<I> {
    /// An index that is built when it is first asked.
    pub fn new(store: Store, prefixes: &'static [&'static str]) -> Follow<I> {
        Follow {
            store,
            prefixes,
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
        for prefix in self.prefixes {
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

impl<I: Index + Clone> Follow<Arc<I>> {
    /// The index as of now, to keep.
    pub fn snapshot(&self) -> Arc<I> {
        self.read().clone()
    }
}

impl<I> fmt::Debug for Follow<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karve_store::{Op, Options, Value};
    use std::collections::BTreeMap;

    impl Index for BTreeMap<String, Vec<u8>> {
        fn apply(&mut self, key: &str, value: Option<&[u8]>) {
            match value {
                Some(value) => self.insert(key.to_owned(), value.to_vec()),
                None => self.remove(key),
            };
        }
    }

    #[test]
    fn follows_changes_also_when_it_was_cut_off() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let options = Options {
            watch_queue: 2,
            ..Options::default()
        };
        let store = Store::open(directory.path().join("state.db"), options).expect("store opens");
        let follow: Follow<Arc<BTreeMap<String, Vec<u8>>>> = Follow::new(store.clone(), &["/a/"]);
        let put = |key: &str| {
            let op = Op::create(key, Value::plain("x"));
            store.commit_blocking(vec![op]).expect("new")[0].revision()
        };
        let keys = || follow.snapshot().keys().cloned().collect::<Vec<_>>();
        let first = put("/a/1");
        assert_eq!(keys(), ["/a/1"]);
        put("/b/1");
        put("/a/2");
        assert_eq!(keys(), ["/a/1", "/a/2"]);
        store
            .commit_blocking(vec![Op::delete("/a/1", first)])
            .expect("there");
        assert_eq!(keys(), ["/a/2"]);
        (3..9).for_each(|n| {
            put(&format!("/a/{n}"));
        });
        assert_eq!(keys().len(), 7);
        put("/a/9");
        assert_eq!(keys().len(), 8);
    }
}
