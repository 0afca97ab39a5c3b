//! How many entries there are in each collection, and how large they are: known at any moment without looking.
//!
//! A collection is what keys share up to their third slash: `/core/pods/`.

use std::collections::BTreeMap;

use crate::{Entry, Event};

/// Entries of one collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub entries: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// Counts by collection.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<Box<str>, Count>);

impl Counts {
    pub(crate) fn add(&mut self, entry: &Entry) {
        let collection = collection(&entry.key);
        if !self.0.contains_key(collection) {
            self.0.insert(collection.into(), Count::default());
        }
        if let Some(count) = self.0.get_mut(collection) {
            count.entries += 1;
            count.bytes += entry.value.len() as u64;
        }
    }

    fn remove(&mut self, entry: &Entry) {
        let collection = collection(&entry.key);
        if let Some(count) = self.0.get_mut(collection) {
            count.entries -= 1;
            count.bytes -= entry.value.len() as u64;
            if count.entries == 0 {
                self.0.remove(collection);
            }
        }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        if let Some(before) = event.previous() {
            self.remove(before);
        }
        if let Some(after) = event.current() {
            self.add(after);
        }
    }

    pub(crate) fn of(&self, collection: &str) -> Count {
        self.0.get(collection).copied().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<(String, Count)> {
        self.0
            .iter()
            .map(|(name, count)| (name.to_string(), *count))
            .collect()
    }
}

fn collection(key: &str) -> &str {
    let third = key.match_indices('/').nth(2);
    third.map_or(key, |(at, _)| &key[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_end_at_the_third_slash() {
        for (key, want) in [
            ("/core/pods/a/b", "/core/pods/"),
            ("/core/nodes/n", "/core/nodes/"),
            ("/x", "/x"),
        ] {
            assert_eq!(collection(key), want, "{key}");
        }
    }
}
