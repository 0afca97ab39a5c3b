//! Keeps the zone what the API says: one watch of Services, one of EndpointSlices.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::zone::Zone;

/// Follows both kinds until `shutdown`; the API being away is waited out.
pub(crate) async fn follow(
    client: kube::Client,
    zone: Arc<RwLock<Zone>>,
    shutdown: CancellationToken,
) {
    let services = events(Api::<Service>::all(client.clone()));
    let slices = events(Api::<EndpointSlice>::all(client));
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = apply(services, &zone, Zone::apply_service, Zone::remove_service, Zone::replace_services) => {}
        () = apply(slices, &zone, Zone::apply_slice, Zone::remove_slice, Zone::replace_slices) => {}
    }
}

fn events<K>(api: Api<K>) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
{
    watcher(api, watcher::Config::default()).backoff(Retry::default())
}

/// Waits between attempts to reach the API: 50 ms, doubling to 1 s, since a server that restarts is
/// back within that and a node's names should not stay old.
#[derive(Default)]
struct Retry {
    failures: u32,
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(50) * (1 << self.failures.min(5));
        self.failures += 1;
        Some(wait.min(Duration::from_secs(1)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

async fn apply<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    zone: &RwLock<Zone>,
    set: fn(&mut Zone, &K),
    remove: fn(&mut Zone, &K),
    replace: fn(&mut Zone, &[K]),
) {
    pin_mut!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(err) => {
                tracing::debug!(err = %err, "watch interrupted");
                continue;
            }
        };
        let mut zone = zone
            .write()
            .expect("no reader or writer of the zone panics");
        match event {
            Event::Apply(object) => set(&mut zone, &object),
            Event::Delete(object) => remove(&mut zone, &object),
            Event::Init => listed.clear(),
            Event::InitApply(object) => listed.push(object),
            Event::InitDone => replace(&mut zone, &std::mem::take(&mut listed)),
        }
    }
}
