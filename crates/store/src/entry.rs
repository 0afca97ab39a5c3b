//! What is written, kept and told: operations, entries and events.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// A value that is about to be written. It may have one place into which its revision is written as decimal digits,
/// so that what is stored and read needs no more work per reader.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Vec<u8>,
    stamp: Option<usize>,
}

impl Value {
    /// A value that is kept as it is.
    pub fn plain(bytes: impl Into<Vec<u8>>) -> Value {
        Value {
            bytes: bytes.into(),
            stamp: None,
        }
    }

    /// A value into which the revision is inserted before the byte `at` (at most the length).
    pub fn stamped(bytes: impl Into<Vec<u8>>, at: usize) -> Value {
        let bytes = bytes.into();
        let at = at.min(bytes.len());
        Value {
            bytes,
            stamp: Some(at),
        }
    }

    /// The bytes as they are at `revision`.
    pub fn at_revision(&self, revision: u64) -> Bytes {
        match self.stamp {
            None => Bytes::copy_from_slice(&self.bytes),
            Some(at) => splice(&self.bytes[..at], revision, &self.bytes[at..]),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.bytes.len())
    }
}

fn splice(before: &[u8], revision: u64, after: &[u8]) -> Bytes {
    let digits = revision.to_string();
    let mut bytes = Vec::with_capacity(before.len() + digits.len() + after.len());
    bytes.extend_from_slice(before);
    bytes.extend_from_slice(digits.as_bytes());
    bytes.extend_from_slice(after);
    bytes.into()
}

/// What must be true of the key for the operation to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key does not exist.
    Absent,
    /// The key exists and was last changed at this revision.
    Revision(u64),
}

/// What happens to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It has this value.
    Put(Value),
    /// It is gone. A key that does not exist is a conflict, whatever was expected.
    Delete,
}

/// One change of one key. Several in one commit happen all or not at all, each with its own revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The key.
    pub key: Arc<str>,
    /// The condition.
    pub expect: Expect,
    /// The change.
    pub action: Action,
}

impl Op {
    /// A new key.
    pub fn create(key: impl Into<Arc<str>>, value: Value) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Absent,
            action: Action::Put(value),
        }
    }

    /// A new value for a key that was last changed at `revision`.
    pub fn update(key: impl Into<Arc<str>>, revision: u64, value: Value) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Revision(revision),
            action: Action::Put(value),
        }
    }

    /// The end of a key that was last changed at `revision`.
    pub fn delete(key: impl Into<Arc<str>>, revision: u64) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Revision(revision),
            action: Action::Delete,
        }
    }
}

/// A place where the reader of an entry or event keeps what it derived from the bytes, for as long as these live.
#[derive(Default)]
struct View(OnceLock<Box<dyn Any + Send + Sync>>);

impl View {
    fn get<T: Any + Send + Sync>(&self, derive: impl FnOnce() -> T) -> &T {
        self.0
            .get_or_init(|| Box::new(derive()))
            .downcast_ref()
            .expect("a store has one reader, which derives one type of view")
    }
}

/// One version of one key.
pub struct Entry {
    pub(crate) key: Arc<str>,
    pub(crate) value: Bytes,
    pub(crate) stamp: Option<usize>,
    pub(crate) create_revision: u64,
    pub(crate) mod_revision: u64,
    /// Where the engine keeps it.
    pub(crate) row: i64,
    view: View,
}

impl Entry {
    pub(crate) fn new(
        key: Arc<str>,
        (value, stamp): (Bytes, Option<usize>),
        (create_revision, mod_revision): (u64, u64),
        row: i64,
    ) -> Entry {
        Entry {
            key,
            value,
            stamp,
            create_revision,
            mod_revision,
            row,
            view: View::default(),
        }
    }

    pub(crate) fn write(key: Arc<str>, value: &Value, revisions: (u64, u64), row: i64) -> Entry {
        Entry::new(
            key,
            (value.at_revision(revisions.1), value.stamp),
            revisions,
            row,
        )
    }

    /// The key.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The bytes, with the revision written into its place.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// When the key came to be.
    pub fn create_revision(&self) -> u64 {
        self.create_revision
    }

    /// When this version was written.
    pub fn revision(&self) -> u64 {
        self.mod_revision
    }

    /// The bytes with another revision in the place of the own one: what a deletion tells of the last version.
    pub fn restamped(&self, revision: u64) -> Bytes {
        match self.stamp {
            None => self.value.clone(),
            Some(at) => {
                let digits = self.mod_revision.to_string().len();
                splice(&self.value[..at], revision, &self.value[at + digits..])
            }
        }
    }

    /// The same version with other bytes: what a reader made of them.
    pub fn with_value(&self, value: Bytes) -> Entry {
        Entry::new(
            self.key.clone(),
            (value, None),
            (self.create_revision, self.mod_revision),
            self.row,
        )
    }

    /// What the reader derives from this version; derived once, kept while the version lives.
    ///
    /// # Panics
    /// When two readers of one store derive different types.
    pub fn view<T: Any + Send + Sync>(&self, derive: impl FnOnce(&Entry) -> T) -> &T {
        self.view.get(|| derive(self))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.mod_revision)
    }
}

/// One change that has happened.
pub struct Event {
    pub(crate) revision: u64,
    pub(crate) current: Option<Arc<Entry>>,
    pub(crate) previous: Option<Arc<Entry>>,
    view: View,
}

impl Event {
    pub(crate) fn new(
        revision: u64,
        current: Option<Arc<Entry>>,
        previous: Option<Arc<Entry>>,
    ) -> Event {
        Event {
            revision,
            current,
            previous,
            view: View::default(),
        }
    }

    /// When it happened.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The key that changed.
    pub fn key(&self) -> &Arc<str> {
        let entry = self.current.as_ref().or(self.previous.as_ref());
        &entry
            .expect("an event has a version before or after it")
            .key
    }

    /// The version that it made; `None` for a deletion.
    pub fn current(&self) -> Option<&Arc<Entry>> {
        self.current.as_ref()
    }

    /// The version that it replaced; `None` for a creation.
    pub fn previous(&self) -> Option<&Arc<Entry>> {
        self.previous.as_ref()
    }

    /// As [`Entry::view`].
    pub fn view<T: Any + Send + Sync>(&self, derive: impl FnOnce(&Event) -> T) -> &T {
        self.view.get(|| derive(self))
    }

    pub(crate) fn weight(&self) -> usize {
        let bytes = |e: &Option<Arc<Entry>>| e.as_ref().map_or(0, |e| e.value.len() + e.key.len());
        bytes(&self.current) + bytes(&self.previous) + EVENT_OVERHEAD
    }
}

/// Roughly what an event and its two entries cost beside their bytes.
const EVENT_OVERHEAD: usize = 256;

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:?} -> {:?}",
            self.revision, self.previous, self.current
        )
    }
}
