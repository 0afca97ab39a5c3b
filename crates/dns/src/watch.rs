//! Keeps the zone what the API says: watches of Services and EndpointSlices, and of Namespaces and Pods for the names
//! that hang on them.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service as ApiService};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use karve_sys::memory;
use karve_watch::{Notice, Outages, notices};
use kube::Api;
use kube::runtime::watcher::Config;

use crate::engine::Engine;
use crate::walk::{Client, Surroundings};
use crate::zone::{Service, Slice};

/// When the last change of a slice's endpoints was caused, by its controller's account.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What is watched, besides Services and EndpointSlices.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only Services with these labels.
    pub labels: Option<String>,
    /// No EndpointSlices.
    pub no_endpoints: bool,
    /// Pods of this node (none: of all), for search walks and verified Pod names.
    pub pods: Option<Option<String>>,
    /// What search lists are made of.
    pub surroundings: Surroundings,
}

/// Follows the API until dropped; its being away is waited out.
pub async fn follow(client: kube::Client, engine: Arc<Engine>, scope: Scope) {
    let outages = Outages::default();
    let services = {
        let config = Config {
            label_selector: scope.labels.clone(),
            ..Config::default()
        };
        let api = Api::<ApiService>::all(client.clone());
        notices(api, config, &outages, |service| {
            Some(Service::from_api(service))
        })
    };
    let slices = async {
        if scope.no_endpoints {
            engine.zone.write().slices_complete();
            return std::future::pending().await;
        }
        let api = Api::<EndpointSlice>::all(client.clone());
        let slices = notices(api, Config::default(), &outages, |slice| {
            Some((Slice::from_api(slice), triggered(slice)))
        });
        follow_slices(slices, &engine).await;
    };
    let namespaces = {
        let api = Api::<Namespace>::all(client.clone());
        notices(api, Config::default(), &outages, |_| Some(()))
    };
    let pods = async {
        let Some(node) = &scope.pods else {
            return std::future::pending().await;
        };
        let mut config = Config::default();
        if let Some(node) = node {
            config = config.fields(&format!("spec.nodeName={node}"));
        }
        let api = Api::<Pod>::all(client.clone());
        let around = scope.surroundings.clone();
        let pods = notices(api, config, &outages, move |pod| {
            Some((addresses(pod), Client::of(pod, &around)))
        });
        follow_pods(pods, &engine).await;
    };
    tokio::join!(
        follow_services(services, &engine),
        slices,
        follow_namespaces(namespaces, &engine),
        pods,
    );
}

async fn follow_services(notices: impl Stream<Item = Notice<Option<Service>>>, engine: &Engine) {
    let mut notices = pin!(notices);
    while let Some(notice) = notices.next().await {
        let mut zone = engine.zone.write();
        match notice {
            Notice::Changed(name, service) => zone.set_service(&name, service.flatten()),
            Notice::Complete => zone.services_complete(),
        }
    }
}

type SliceFacts = (Option<(Box<str>, Slice)>, Option<Timestamp>);

async fn follow_slices(notices: impl Stream<Item = Notice<SliceFacts>>, engine: &Engine) {
    let mut notices = pin!(notices);
    let mut synced = false;
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Changed(name, facts) => {
                let (slice, caused) = facts.unwrap_or_default();
                engine.zone.write().set_slice(&name, slice);
                // What was there before we were says nothing of our speed.
                if let Some(caused) = caused.filter(|_| synced) {
                    let took = Timestamp::now().duration_since(caused);
                    let took = Duration::try_from(took).unwrap_or_default();
                    engine.metrics.programmed("headless_with_selector", took);
                }
            }
            Notice::Complete => {
                synced = true;
                engine.zone.write().slices_complete();
                // The pages of the list were far larger than what is kept of them.
                memory::give_back();
            }
        }
    }
}

async fn follow_namespaces(notices: impl Stream<Item = Notice<()>>, engine: &Engine) {
    let mut notices = pin!(notices);
    while let Some(notice) = notices.next().await {
        if let Notice::Changed(name, exists) = notice {
            engine
                .zone
                .write()
                .set_namespace(&name.name, exists.is_some());
        }
    }
}

type PodFacts = (Vec<IpAddr>, Option<Client>);

async fn follow_pods(notices: impl Stream<Item = Notice<PodFacts>>, engine: &Engine) {
    let mut notices = pin!(notices);
    while let Some(notice) = notices.next().await {
        if let Notice::Changed(name, facts) = notice {
            let (addresses, client) = facts.unwrap_or_default();
            engine.zone.write().set_pod(&name, &addresses);
            engine.clients.write().set(&name, client);
        }
    }
}

fn triggered(slice: &EndpointSlice) -> Option<Timestamp> {
    let annotations = slice.metadata.annotations.as_ref()?;
    annotations.get(TRIGGER)?.parse().ok()
}

/// The addresses of a Pod that is not over.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let ips = status.pod_ips.iter().flatten();
    ips.filter_map(|ip| ip.ip.parse().ok()).collect()
}
