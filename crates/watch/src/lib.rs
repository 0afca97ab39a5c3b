//! Watches of API objects that come back by themselves, and the events that their readers write on Services.
//!
//! A watch that breaks is resumed where it stopped, or listed anew: at first after 50 ms, never later
//! than after a second. Failures never reach the reader; [`Outages`] tells of them.
//!
//! Invariant: [`notices`] takes nothing away that is still there. A list that comes in piece by piece
//! only adds; what it lacks was deleted meanwhile, and is told as gone when the list is complete.
//!
//! Absent on purpose: a store of objects. Each reader keeps the facts it needs.

mod name;
mod outages;
mod retry;
mod service_event;

use std::collections::HashSet;
use std::fmt::Debug;
use std::future;

use futures::{Stream, StreamExt, stream};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

pub use self::name::ObjectName;
pub use self::outages::Outages;
pub use self::retry::Retry;
pub use self::service_event::{ServiceEvent, record_service_event};

/// The events of a watch, without end.
pub fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    outages: &Outages,
) -> impl Stream<Item = Event<K>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let outages = outages.clone();
    let mut warned = false;
    let attempts = watcher(api, config).backoff(Retry::default());
    attempts.filter_map(move |event| {
        let kind = K::kind(&());
        future::ready(match event {
            Ok(event) => {
                if std::mem::take(&mut warned) {
                    tracing::info!(%kind, "watch resumed");
                }
                Some(event)
            }
            Err(err) => {
                warned |= outages.tell(&kind, &err);
                None
            }
        })
    })
}

/// What a watch says about the objects of one kind, as facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<T> {
    /// What an object is now; `None` when it is gone, or does not concern us any more.
    Changed(ObjectName, Option<T>),
    /// All that is there has been told. Comes after each list.
    Complete,
}

/// Notices about the objects of `api`, without end. Those that `parse` to `None` do not concern us.
pub fn notices<K, T, P>(
    api: Api<K>,
    config: watcher::Config,
    outages: &Outages,
    parse: P,
) -> impl Stream<Item = Notice<T>> + Send + use<K, T, P>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send,
    P: Fn(&K) -> Option<T> + Send,
{
    let mut listing = Listing::default();
    events(api, config, outages).flat_map(move |event| stream::iter(listing.take(event, &parse)))
}

/// What the reader of [`notices`] knows of.
#[derive(Debug, Default)]
struct Listing {
    known: HashSet<ObjectName>,
    /// What was known before the list under way, and has not come again.
    stale: HashSet<ObjectName>,
}

impl Listing {
    fn take<K: Resource, T>(
        &mut self,
        event: Event<K>,
        parse: impl Fn(&K) -> Option<T>,
    ) -> Vec<Notice<T>> {
        let changed = match event {
            Event::Init => {
                self.stale.extend(self.known.drain());
                None
            }
            Event::InitDone => {
                let gone = self.stale.drain();
                let gone = gone.map(|name| Notice::Changed(name, None));
                return gone.chain([Notice::Complete]).collect();
            }
            Event::InitApply(object) | Event::Apply(object) => {
                self.set(ObjectName::of(&object), parse(&object))
            }
            Event::Delete(object) => self.set(ObjectName::of(&object), None),
        };
        changed.into_iter().collect()
    }

    fn set<T>(&mut self, name: ObjectName, facts: Option<T>) -> Option<Notice<T>> {
        let stale = self.stale.remove(&name);
        let known = match facts {
            Some(_) => !self.known.insert(name.clone()),
            None => self.known.remove(&name),
        };
        (facts.is_some() || known || stale).then_some(Notice::Changed(name, facts))
    }
}

#[cfg(test)]
mod tests;
