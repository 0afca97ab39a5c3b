//! Services and EndpointSlices from the API server.
//!
//! A watch that breaks is resumed, or listed anew; what a new list lacks was deleted meanwhile. The
//! state is only ever updated, so that a list that comes in piece by piece takes nothing away.

use std::collections::HashSet;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};

use crate::objects::{self, ObjectName};
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

/// Something that the API server said.
#[derive(Debug)]
pub(crate) enum Change {
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
}

/// All changes, from now on and without end.
pub(crate) fn changes(
    client: &Client,
) -> impl Stream<Item = Result<Change, watcher::Error>> + use<> {
    let services = watch(Api::all(client.clone()), watcher::Config::default());
    let slices = watch(Api::all(client.clone()), watcher::Config::default());
    stream::select(
        services
            .backoff(Retry::default())
            .map(|event| event.map(Change::Service)),
        slices
            .backoff(Retry::default())
            .map(|event| event.map(Change::Slice)),
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

/// Takes changes into the state.
#[derive(Debug)]
pub(crate) struct Intake {
    node_name: String,
    services: Listing,
    slices: Listing,
}

impl Intake {
    /// Nothing taken in yet; `node_name` is this node's name.
    pub(crate) fn new(node_name: String) -> Self {
        Self {
            node_name,
            services: Listing::default(),
            slices: Listing::default(),
        }
    }

    /// Whether both kinds have been listed: before that, what is missing may merely not have come.
    pub(crate) fn complete(&self) -> bool {
        self.services.complete && self.slices.complete
    }

    /// Takes one change in.
    pub(crate) fn take(&mut self, state: &mut State, change: Change) {
        match change {
            Change::Service(event) => match event {
                Event::Init => self.services.seen.clear(),
                Event::Apply(service) => {
                    let parsed = objects::Service::parse(&service);
                    state.set_service(ObjectName::of(&service.metadata), parsed);
                }
                Event::InitApply(service) => {
                    let name = ObjectName::of(&service.metadata);
                    self.services.seen.insert(name.clone());
                    state.set_service(name, objects::Service::parse(&service));
                }
                Event::Delete(service) => {
                    state.set_service(ObjectName::of(&service.metadata), None)
                }
                Event::InitDone => {
                    for gone in self.services.finish(state.service_names()) {
                        state.set_service(gone, None);
                    }
                }
            },
            Change::Slice(event) => match event {
                Event::Init => self.slices.seen.clear(),
                Event::Apply(slice) => {
                    let parsed = objects::Slice::parse(&slice, &self.node_name);
                    state.set_slice(ObjectName::of(&slice.metadata), parsed);
                }
                Event::InitApply(slice) => {
                    let name = ObjectName::of(&slice.metadata);
                    self.slices.seen.insert(name.clone());
                    state.set_slice(name, objects::Slice::parse(&slice, &self.node_name));
                }
                Event::Delete(slice) => state.set_slice(ObjectName::of(&slice.metadata), None),
                Event::InitDone => {
                    for gone in self.slices.finish(state.slice_names()) {
                        state.set_slice(gone, None);
                    }
                }
            },
        }
    }
}

impl Listing {
    /// Ends a list; returns which of the `known` objects it lacked.
    fn finish<'a>(&mut self, known: impl Iterator<Item = &'a ObjectName>) -> Vec<ObjectName> {
        self.complete = true;
        let seen = std::mem::take(&mut self.seen);
        known
            .filter(|name| !seen.contains(*name))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests;
