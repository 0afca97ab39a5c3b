//! Objects of one kind as facts, kept by a watch.
//!
//! A watch that breaks is resumed, or listed anew; what a new list lacks was deleted meanwhile.
//! Objects are only ever replaced, so a list that comes in piece by piece takes nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use crate::ObjectName;

/// First and longest wait before something that failed is tried again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Doubling waits, from [`RETRY_MIN`] to [`RETRY_MAX`].
#[derive(Debug)]
pub(crate) struct Retry {
    next: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: RETRY_MIN }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(RETRY_MAX);
        Some(wait)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Most often that a broken watch is a warning; in between it is told at debug level, since it is
/// tried again every second while the API server is away.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Tells of broken watches.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    last_warned: Option<Instant>,
}

impl Outages {
    /// Tells of one.
    pub(crate) fn tell(&mut self, err: &watcher::Error) {
        let err: &dyn std::error::Error = err;
        if self
            .last_warned
            .is_some_and(|last| last.elapsed() < WARN_INTERVAL)
        {
            debug!(err, "watch interrupted");
        } else {
            warn!(err, "watch interrupted");
            self.last_warned = Some(Instant::now());
        }
    }
}

/// What the API server said about the objects of one kind, as facts.
#[derive(Debug, Clone)]
pub(crate) enum Notice<T> {
    /// A whole list begins.
    ListBegins,
    /// An object of that list.
    Listed(ObjectName, Option<T>),
    /// The list is complete.
    ListEnds,
    /// An object was made or changed; `None` when it does not concern us.
    Changed(ObjectName, Option<T>),
    /// An object was deleted.
    Deleted(ObjectName),
}

impl<T> Notice<T> {
    fn parse<K: ResourceExt>(event: Event<K>, parse: impl Fn(&K) -> Option<T>) -> Self {
        let name = |object: &K| ObjectName::of(object.meta());
        match event {
            Event::Init => Notice::ListBegins,
            Event::InitApply(object) => Notice::Listed(name(&object), parse(&object)),
            Event::InitDone => Notice::ListEnds,
            Event::Apply(object) => Notice::Changed(name(&object), parse(&object)),
            Event::Delete(object) => Notice::Deleted(name(&object)),
        }
    }
}

/// Notices about the objects of `api`, without end; `wrap` tells the kinds apart.
pub(crate) fn notices<K, T, C>(
    api: Api<K>,
    config: watcher::Config,
    parse: impl Fn(&K) -> Option<T> + Send + 'static,
    wrap: fn(Notice<T>) -> C,
) -> BoxStream<'static, Result<C, watcher::Error>>
where
    K: ResourceExt + Clone + DeserializeOwned + Debug + Send + 'static,
    T: 'static,
    C: 'static,
{
    let events = watcher(api, config).backoff(Retry::default());
    events
        .map_ok(move |event| wrap(Notice::parse(event, &parse)))
        .boxed()
}

/// The objects of one kind that concern us.
#[derive(Debug)]
pub(crate) struct Objects<T> {
    objects: BTreeMap<ObjectName, T>,
    complete: bool,
    /// What the list under way has brought so far.
    seen: BTreeSet<ObjectName>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            complete: false,
            seen: BTreeSet::new(),
        }
    }
}

impl<T: PartialEq> Objects<T> {
    /// Takes a notice in; returns which objects are new, different or gone.
    pub(crate) fn take(&mut self, notice: Notice<T>) -> Vec<ObjectName> {
        match notice {
            Notice::ListBegins => {
                self.seen.clear();
                Vec::new()
            }
            Notice::Listed(name, facts) => {
                self.seen.insert(name.clone());
                self.set(name, facts)
            }
            Notice::ListEnds => {
                self.complete = true;
                let seen = std::mem::take(&mut self.seen);
                let gone: Vec<_> = self
                    .objects
                    .keys()
                    .filter(|name| !seen.contains(name))
                    .cloned()
                    .collect();
                gone.iter().for_each(|name| drop(self.objects.remove(name)));
                gone
            }
            Notice::Changed(name, facts) => self.set(name, facts),
            Notice::Deleted(name) => self.set(name, None),
        }
    }

    fn set(&mut self, name: ObjectName, facts: Option<T>) -> Vec<ObjectName> {
        if self.objects.get(&name) == facts.as_ref() {
            return Vec::new();
        }
        match facts {
            Some(facts) => self.objects.insert(name.clone(), facts),
            None => self.objects.remove(&name),
        };
        vec![name]
    }
}

impl<T> Objects<T> {
    /// Whether a whole list has come in.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// One object.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<&T> {
        self.objects.get(name)
    }

    /// All objects, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.objects.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_lists_take_away_at_their_end() {
        let name = |name| ObjectName::new("default", name);
        let mut objects = Objects::default();
        assert!(objects.take(Notice::ListBegins).is_empty());
        assert_eq!(
            objects.take(Notice::Listed(name("a"), Some(1))),
            [name("a")]
        );
        assert!(
            objects.take(Notice::Listed(name("b"), None)).is_empty(),
            "does not concern us"
        );
        assert!(!objects.complete());
        assert!(objects.take(Notice::ListEnds).is_empty());
        assert!(objects.complete());
        assert!(
            objects.take(Notice::Changed(name("a"), Some(1))).is_empty(),
            "no difference"
        );
        assert_eq!(
            objects.take(Notice::Changed(name("c"), Some(3))),
            [name("c")]
        );
        objects.take(Notice::ListBegins);
        assert_eq!(
            objects.get(&name("a")),
            Some(&1),
            "not yet known to be gone"
        );
        objects.take(Notice::Listed(name("c"), Some(3)));
        assert_eq!(objects.take(Notice::ListEnds), [name("a")]);
        assert_eq!(objects.take(Notice::Deleted(name("c"))), [name("c")]);
        assert_eq!(objects.iter().count(), 0);
    }
}
