//! Keeps the zone what the API says: one watch of Services, one of EndpointSlices.

use std::sync::{Arc, RwLock};

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use karve_watch::{Outages, events};
use kube::Api;
use kube::runtime::watcher::{Config, Event};
use tokio_util::sync::CancellationToken;

use crate::zone::Zone;

/// Follows both kinds until `shutdown`; the API being away is waited out.
pub(crate) async fn follow(
    client: kube::Client,
    zone: Arc<RwLock<Zone>>,
    shutdown: CancellationToken,
) {
    let outages = Outages::default();
    let services = Api::<Service>::all(client.clone());
    let services = events(services, Config::default(), &outages);
    let slices = Api::<EndpointSlice>::all(client);
    let slices = events(slices, Config::default(), &outages);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = apply(services, &zone, Zone::apply_service, Zone::remove_service, Zone::replace_services) => {}
        () = apply(slices, &zone, Zone::apply_slice, Zone::remove_slice, Zone::replace_slices) => {}
    }
}

async fn apply<K>(
    events: impl Stream<Item = Event<K>>,
    zone: &RwLock<Zone>,
    set: fn(&mut Zone, &K),
    remove: fn(&mut Zone, &K),
    replace: fn(&mut Zone, &[K]),
) {
    pin_mut!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
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
