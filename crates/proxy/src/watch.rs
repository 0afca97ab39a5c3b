//! Services and EndpointSlices from the API server.
//!
//! A watch that breaks is resumed, or listed anew; what a new list lacks was deleted meanwhile. The
//! state is only ever updated, so that a list that comes in piece by piece takes nothing away.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt, stream};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tracing::{debug, warn};

use crate::objects::{ObjectName, Service, Slice};
use crate::state::State;

/// First and longest wait before a broken watch is resumed.
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
    /// An object was made or changed; `None` when it is not proxied.
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

/// Something that the API server said.
#[derive(Debug)]
pub(crate) enum Change {
    Service(Notice<Service>),
    Slice(Notice<(ObjectName, Slice)>),
}

/// All changes, from now on and without end, as seen from the node `node_name`.
pub(crate) fn changes(
    client: &Client,
    node_name: String,
) -> impl Stream<Item = Result<Change, watcher::Error>> + use<> {
    let services = watcher(Api::all(client.clone()), watcher::Config::default());
    let slices = watcher(Api::all(client.clone()), watcher::Config::default());
    stream::select(
        services
            .backoff(Retry::default())
            .map_ok(|event| Change::Service(Notice::parse(event, Service::parse))),
        slices.backoff(Retry::default()).map_ok(move |event| {
            Change::Slice(Notice::parse(event, |slice| {
                Slice::parse(slice, &node_name)
            }))
        }),
    )
}

/// One kind's progress.
#[derive(Debug, Default)]
struct Listing {
    /// A whole list has come in.
    complete: bool,
    /// What the list under way has brought so far.
    seen: HashSet<ObjectName>,
}

impl Listing {
    /// Takes one notice in by `set`; `known` tells what was taken in before.
    fn take<T>(
        &mut self,
        state: &mut State,
        notice: Notice<T>,
        known: impl Fn(&State) -> Vec<ObjectName>,
        set: impl Fn(&mut State, ObjectName, Option<T>),
    ) {
        match notice {
            Notice::ListBegins => self.seen.clear(),
            Notice::Listed(name, facts) => {
                self.seen.insert(name.clone());
                set(state, name, facts);
            }
            Notice::ListEnds => {
                self.complete = true;
                let seen = std::mem::take(&mut self.seen);
                let gone = known(state).into_iter().filter(|name| !seen.contains(name));
                gone.for_each(|name| set(state, name, None));
            }
            Notice::Changed(name, facts) => set(state, name, facts),
            Notice::Deleted(name) => set(state, name, None),
        }
    }
}

/// Takes changes into the state.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    services: Listing,
    slices: Listing,
}

impl Intake {
    /// Whether both kinds have been listed: before that, what is missing may merely not have come.
    pub(crate) fn complete(&self) -> bool {
        self.services.complete && self.slices.complete
    }

    /// Takes one change in.
    pub(crate) fn take(&mut self, state: &mut State, change: Change) {
        match change {
            Change::Service(notice) => {
                self.services
                    .take(state, notice, State::service_names, State::set_service);
            }
            Change::Slice(notice) => {
                self.slices
                    .take(state, notice, State::slice_names, State::set_slice);
            }
        }
    }
}

#[cfg(test)]
mod tests;
