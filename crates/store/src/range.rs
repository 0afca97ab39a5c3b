//! Reading many keys.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::Entry;

/// Which keys to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    /// Keys that begin with it.
    pub prefix: &'a str,
    /// Only keys behind this one.
    pub after: Option<&'a str>,
    /// At most so many.
    pub limit: Option<usize>,
    /// As they were at this revision; `None` is now.
    pub at: Option<u64>,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order of keys.
    pub entries: Vec<Arc<Entry>>,
    /// The revision at which all of them were so.
    pub revision: u64,
    /// How many more keys there are behind the limit.
    pub remaining: usize,
}

type Index = BTreeMap<Arc<str>, Arc<Entry>>;

pub(crate) fn now<'a>(index: &'a Index, range: &Range<'a>) -> impl Iterator<Item = &'a Arc<Entry>> {
    let prefix = range.prefix;
    let start = match range.after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    index
        .range::<str, _>((start, Bound::Unbounded))
        .map(|(_, entry)| entry)
        .take_while(move |entry| entry.key.starts_with(prefix))
}

/// Merges the present with what some keys held in the past.
pub(crate) fn past(
    present: Vec<Arc<Entry>>,
    mut then: BTreeMap<Arc<str>, Option<Arc<Entry>>>,
    after: Option<&str>,
) -> Vec<Arc<Entry>> {
    let mut merged: BTreeMap<Arc<str>, Arc<Entry>> =
        present.into_iter().map(|e| (e.key.clone(), e)).collect();
    if let Some(after) = after {
        then = then.split_off(after);
        then.remove(after);
    }
    for (key, entry) in then {
        match entry {
            Some(entry) => merged.insert(key, entry),
            None => merged.remove(&key),
        };
    }
    merged.into_values().collect()
}
