//! What is derived from all objects below a prefix, kept up to date by the changes alone.
//!
//! A snapshot subscribes to the store and takes in what has happened when somebody asks, so that it costs nothing while
//! nothing changes and no request reads the objects again. The store tells subscribers of a change before it tells the
//! writer, so whoever has seen the answer to a write sees its effect here.
//!
//! Deliberately absent: any task of its own.

use std::sync::Arc;

use karve_store::{Event, Range, Store, Watch};
use parking_lot::Mutex;

/// What can be derived from objects.
pub trait Derived: Default + Clone {
    /// Takes one object in: a new one, or a new version of one. `value` is what the store holds.
    fn put(&mut self, key: &str, value: &[u8]);
    /// Forgets an object.
    fn remove(&mut self, key: &str);
}

/// What is derived from all objects below a prefix.
pub struct Snapshot<T> {
    prefix: &'static str,
    inner: Mutex<Option<Inner<T>>>,
}

struct Inner<T> {
    watch: Watch,
    derived: Arc<T>,
}

impl<T: Derived> Snapshot<T> {
    /// Of the objects whose keys begin with `prefix`, which ends at a slash.
    pub fn new(prefix: &'static str) -> Snapshot<T> {
        Snapshot {
            prefix,
            inner: Mutex::new(None),
        }
    }

    /// What is derived from the present objects.
    pub fn get(&self, store: &Store) -> Arc<T> {
        let mut slot = self.inner.lock();
        if let Some(inner) = slot.as_mut().filter(|inner| !inner.watch.lagged()) {
            while let Some(event) = inner.watch.ready() {
                take_in(Arc::make_mut(&mut inner.derived), &event);
            }
            return inner.derived.clone();
        }
        let inner = slot.insert(Self::read(self.prefix, store));
        inner.derived.clone()
    }

    fn read(prefix: &str, store: &Store) -> Inner<T> {
        let range = Range {
            prefix,
            ..Range::default()
        };
        let (page, watch) = store
            .range_and_watch(&range)
            .expect("the present is always readable");
        let mut derived = T::default();
        for entry in &page.entries {
            derived.put(entry.key(), entry.value());
        }
        Inner {
            watch,
            derived: Arc::new(derived),
        }
    }
}

fn take_in<T: Derived>(derived: &mut T, event: &Event) {
    match event.current() {
        Some(entry) => derived.put(entry.key(), entry.value()),
        None => derived.remove(event.key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karve_store::{Op, Options, Value};
    use std::collections::BTreeMap;

    impl Derived for BTreeMap<String, Vec<u8>> {
        fn put(&mut self, key: &str, value: &[u8]) {
            self.insert(key.to_owned(), value.to_vec());
        }

        fn remove(&mut self, key: &str) {
            BTreeMap::remove(self, key);
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
        let snapshot: Snapshot<BTreeMap<String, Vec<u8>>> = Snapshot::new("/a/");
        let put = |key: &str| {
            let op = Op::create(key, Value::plain("x"));
            store.commit_blocking(vec![op]).expect("new")[0].revision()
        };
        let keys = || snapshot.get(&store).keys().cloned().collect::<Vec<_>>();
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
