//! The objects of one kind, and who wants to know of changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Resource;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{Key, Sink};

/// Tells under which index entries an object is found.
///
/// An entry is the hash of what it stands for (see [`super::index`]): two
/// things may share one, so whoever looks up by index checks what it finds.
pub(crate) type Indexer<K> = fn(&K, &mut Vec<u64>);

/// What happened to one object; at least one side is present.
pub(crate) struct Change<'a, K> {
    pub(crate) old: Option<&'a Arc<K>>,
    pub(crate) new: Option<&'a Arc<K>>,
}

impl<K> Change<'_, K> {
    /// The newest known state: the last one, for an object that is gone.
    pub(crate) fn latest(&self) -> Option<&Arc<K>> {
        self.new.or(self.old)
    }

    /// Both sides that exist: for work that depends on either.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.into_iter().chain(self.new)
    }
}

type Handler<K> = Box<dyn Fn(Change<'_, K>) + Send + Sync>;

/// All objects of one kind (or of a selection of it).
pub(crate) struct Store<K> {
    contents: RwLock<Contents<K>>,
    /// Held while a change is made and told, so that all handlers see all
    /// changes in one order. Handlers only note work; they never write here.
    handlers: Mutex<Vec<Handler<K>>>,
    indexer: Indexer<K>,
    synced: watch::Sender<bool>,
}

struct Contents<K> {
    objects: BTreeMap<Key, Arc<K>>,
    index: BTreeSet<(u64, Key)>,
    /// The watch has shown everything up to this revision.
    revision: u64,
}

impl<K> Store<K>
where
    K: Resource + Clone,
{
    pub(crate) fn new(indexer: Indexer<K>) -> Arc<Self> {
        Arc::new(Self {
            contents: RwLock::new(Contents {
                objects: BTreeMap::new(),
                index: BTreeSet::new(),
                revision: 0,
            }),
            handlers: Mutex::new(Vec::new()),
            indexer,
            synced: watch::Sender::new(false),
        })
    }

    /// Calls `handler` for every object there is, and on every later change.
    pub(crate) fn subscribe(&self, handler: impl Fn(Change<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        for object in self.all() {
            handler(Change {
                old: None,
                new: Some(&object),
            });
        }
        handlers.push(Box::new(handler));
    }

    /// Returns once the first list is in.
    pub(crate) async fn synced(&self) {
        // The sender lives as long as `self`: the wait can only succeed.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.contents.read().objects.get(key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.contents.read().objects.values().cloned().collect()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.contents.read().objects.keys().cloned().collect()
    }

    /// Objects under one index entry; may hold some that only share its hash.
    pub(crate) fn indexed(&self, entry: u64) -> Vec<Arc<K>> {
        let contents = self.contents.read();
        let from = (entry, Key::new("", ""));
        contents
            .index
            .range(from..)
            .take_while(|(hash, _)| *hash == entry)
            .filter_map(|(_, key)| contents.objects.get(key).cloned())
            .collect()
    }

    /// The index entry among `entries` with the fewest objects, so that a
    /// lookup by several labels walks the shortest list.
    pub(crate) fn rarest(&self, entries: &[u64]) -> Option<u64> {
        let contents = self.contents.read();
        let count = |entry: u64| {
            let from = (entry, Key::new("", ""));
            let under = contents.index.range(from..);
            under.take_while(|(hash, _)| *hash == entry).count()
        };
        match entries {
            [only] => Some(*only),
            _ => entries.iter().copied().min_by_key(|entry| count(*entry)),
        }
    }

    /// Takes in the answer to a write of ours.
    ///
    /// If the watch is already past it, the store knows as much or more.
    pub(crate) fn wrote(&self, object: K) {
        let handlers = self.handlers.lock();
        if revision_of(&object) > self.contents.read().revision {
            self.put(&handlers, object);
        }
    }

    /// Notes that a delete of ours was accepted: until the watch shows what
    /// became of the object, it counts as terminating.
    pub(crate) fn deleting(&self, key: &Key, uid: Option<&str>, now: Timestamp) {
        let handlers = self.handlers.lock();
        let Some(current) = self.get(key) else { return };
        let meta = current.meta();
        if meta.uid.as_deref() != uid || meta.deletion_timestamp.is_some() {
            return;
        }
        let mut marked = K::clone(&current);
        marked.meta_mut().deletion_timestamp = Some(Time(now));
        let marked = self.contents.write().insert(self.indexer, marked);
        tell(&handlers, Some(&current), Some(&marked));
    }

    fn put(&self, handlers: &[Handler<K>], object: K) {
        let key = Key::of(&object);
        let old = self.get(&key);
        let revision = revision_of(&object);
        if let Some(old) = &old {
            let newer = revision == 0 || revision > revision_of(&**old);
            if !newer {
                return;
            }
        }
        let new = self.contents.write().insert(self.indexer, object);
        tell(handlers, old.as_ref(), Some(&new));
    }

    fn remove(&self, handlers: &[Handler<K>], key: &Key) {
        let old = self.contents.write().remove(self.indexer, key);
        tell(handlers, old.as_ref(), None);
    }
}

impl<K> Contents<K>
where
    K: Resource,
{
    fn insert(&mut self, indexer: Indexer<K>, mut object: K) -> Arc<K> {
        // Nobody here reads managed fields; they are often half of an object.
        object.meta_mut().managed_fields = None;
        let key = Key::of(&object);
        self.remove(indexer, &key);
        let object = Arc::new(object);
        let mut entries = Vec::new();
        indexer(&object, &mut entries);
        let entries = entries.into_iter().map(|entry| (entry, key.clone()));
        self.index.extend(entries);
        self.objects.insert(key, Arc::clone(&object));
        object
    }

    fn remove(&mut self, indexer: Indexer<K>, key: &Key) -> Option<Arc<K>> {
        let object = self.objects.remove(key)?;
        let mut entries = Vec::new();
        indexer(&object, &mut entries);
        for entry in entries {
            self.index.remove(&(entry, key.clone()));
        }
        Some(object)
    }
}

fn tell<K>(handlers: &[Handler<K>], old: Option<&Arc<K>>, new: Option<&Arc<K>>) {
    if old.is_none() && new.is_none() {
        return;
    }
    for handler in handlers {
        handler(Change { old, new });
    }
}

/// The revision that an object carries; 0 if it has none that can be compared.
fn revision_of<K: Resource>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

impl<K> Sink<K> for Store<K>
where
    K: Resource + Clone + Send + Sync,
{
    fn replace(&self, objects: Vec<K>, revision: u64) {
        let handlers = self.handlers.lock();
        let listed: HashSet<Key> = objects.iter().map(Key::of).collect();
        let gone: Vec<Key> = {
            let contents = self.contents.read();
            let missing = |(key, object): (&Key, &Arc<K>)| {
                let older = revision_of(&**object) <= revision;
                (older && !listed.contains(key)).then(|| key.clone())
            };
            contents.objects.iter().filter_map(missing).collect()
        };
        for key in gone {
            self.remove(&handlers, &key);
        }
        for object in objects {
            self.put(&handlers, object);
        }
        self.contents.write().revision = revision;
        drop(handlers);
        self.synced.send_replace(true);
    }

    fn apply(&self, object: K) {
        let handlers = self.handlers.lock();
        let revision = revision_of(&object);
        self.put(&handlers, object);
        let mut contents = self.contents.write();
        contents.revision = contents.revision.max(revision);
    }

    fn delete(&self, object: K) {
        let handlers = self.handlers.lock();
        let revision = revision_of(&object);
        let key = Key::of(&object);
        let current = self.get(&key);
        let recreated = |current: &Arc<K>| {
            current.meta().uid != object.meta().uid && revision_of(&**current) > revision
        };
        if !current.as_ref().is_some_and(recreated) {
            self.remove(&handlers, &key);
        }
        let mut contents = self.contents.write();
        contents.revision = contents.revision.max(revision);
    }

    fn progress(&self, revision: u64) {
        let mut contents = self.contents.write();
        contents.revision = contents.revision.max(revision);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, uid: &str, revision: u64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("ns".into());
        object.metadata.name = Some(name.into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(revision.to_string());
        object
    }

    fn store() -> Arc<Store<ConfigMap>> {
        Store::new(|object, entries| {
            let uid = object.metadata.uid.as_deref().unwrap_or_default();
            entries.push(uid.len() as u64);
        })
    }

    fn revision(store: &Store<ConfigMap>, name: &str) -> Option<u64> {
        store
            .get(&Key::new("ns", name))
            .map(|object| revision_of(&*object))
    }

    #[test]
    fn a_write_is_seen_before_the_watch_shows_it() {
        let store = store();
        store.replace(vec![], 5);
        store.wrote(object("a", "u1", 6));
        assert_eq!(revision(&store, "a"), Some(6));
    }

    #[test]
    fn a_late_answer_does_not_bring_back_a_deleted_object() {
        let store = store();
        store.replace(vec![], 5);
        store.apply(object("a", "u1", 6));
        store.delete(object("a", "u1", 7));
        store.wrote(object("a", "u1", 6));
        assert_eq!(revision(&store, "a"), None);
    }

    #[test]
    fn a_write_newer_than_a_list_survives_it() {
        let store = store();
        store.wrote(object("a", "u1", 9));
        store.replace(vec![object("b", "u2", 3)], 8);
        assert_eq!(revision(&store, "a"), Some(9));
        store.replace(vec![], 10);
        assert_eq!((store.all().len(), revision(&store, "a")), (0, None));
    }

    #[test]
    fn the_watch_echo_of_a_write_tells_nobody_twice() {
        let store = store();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        store.subscribe(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        store.wrote(object("a", "u1", 6));
        store.apply(object("a", "u1", 6));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn deletion_of_the_predecessor_keeps_a_recreated_object() {
        let store = store();
        store.apply(object("a", "u1", 6));
        store.wrote(object("a", "u2", 8));
        store.delete(object("a", "u1", 7));
        assert_eq!(revision(&store, "a"), Some(8));
    }

    #[test]
    fn an_accepted_delete_marks_the_object_until_the_watch_knows() {
        let store = store();
        store.apply(object("a", "u1", 6));
        let key = Key::new("ns", "a");
        store.deleting(&key, Some("other"), Timestamp::UNIX_EPOCH);
        let marked = || store.get(&key).unwrap().metadata.deletion_timestamp.clone();
        assert!(marked().is_none());
        store.deleting(&key, Some("u1"), Timestamp::UNIX_EPOCH);
        assert!(marked().is_some());
    }

    #[test]
    fn a_late_subscriber_is_told_of_what_is_there() {
        let store = store();
        store.apply(object("a", "u1", 1));
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        store.subscribe(move |change| {
            assert!(change.old.is_none());
            counter.fetch_add(1, Ordering::Relaxed);
        });
        store.apply(object("b", "u2", 2));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_index_follows_changes() {
        let store = store();
        store.apply(object("a", "u1", 1));
        store.apply(object("b", "u22", 2));
        assert_eq!(store.indexed(2).len(), 1);
        store.apply(object("a", "u333", 3));
        assert_eq!((store.indexed(2).len(), store.indexed(4).len()), (0, 1));
        assert_eq!(store.rarest(&[4, 2]), Some(2));
    }
}
