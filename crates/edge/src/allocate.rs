//! Which Service has which address: MetalLB's controller.
//!
//! Services of type LoadBalancer without a `loadBalancerClass` get an address of the pools, which are
//! in a ConfigMap of MetalLB 0.9's format and may change at any time. `status.loadBalancer` is the
//! only memory: addresses found there are kept while the pools allow them. Without pools nothing is
//! done at all, and `EXTERNAL-IP` stays `<pending>`.

mod allocator;
mod controller;
mod request;

use std::error::Error as StdError;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use karve_watch::{Notice, ObjectName, Outages, Retry, notices, record_service_event};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::controller::{Action, Controller};
use self::request::Request;
use crate::objects::Objects;
use crate::pools::{self, Configured};

/// Longest wait for the API server.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Who writes the events.
const COMPONENT: &str = "metallb-controller";
/// Most changes taken in before they are acted upon.
const CHANGES_MAX: usize = 1024;

/// Where the pools are.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the ConfigMap.
    pub namespace: String,
    /// Name of the ConfigMap.
    pub config_map: String,
}

impl Default for Options {
    /// MetalLB's own.
    fn default() -> Self {
        Self {
            namespace: "metallb-system".to_owned(),
            config_map: "config".to_owned(),
        }
    }
}

/// Why the allocator can't run. It always can, so far.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// An address that could not be written to its Service.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("update status of service {0}")]
    Patch(ObjectName, #[source] kube::Error),
    #[error("update status of service {0} in time")]
    Late(ObjectName),
}

/// Something that the API server said.
enum Change {
    Service(Notice<Request>),
    Pools(Notice<String>),
}

/// Runs the allocator until `shutdown`.
///
/// # Errors
/// None so far: what fails is logged and tried again.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut changes = watches(&client, &options);
    let mut known = Known::default();
    let mut configured = Configured::default();
    let mut controller = Controller::default();
    let mut retry = Retry::default();
    let mut wait = None;
    loop {
        let retry_due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            next = changes.next() => next,
            () = retry_due => None,
        };
        known.take(&mut changes, next, &mut controller);
        // Before both lists are in, an address may look free, or a pool missing, that is not.
        if !known.services.complete() || !known.config_maps.complete() {
            continue;
        }
        follow_pools(&mut configured, &known.config_maps, &mut controller);
        let failed = act(&client, controller.converge(&known.services)).await;
        wait = if failed.is_empty() {
            retry = Retry::default();
            None
        } else {
            Some(retry.pause())
        };
        controller.mark(failed);
    }
}

type Changes = SelectAll<BoxStream<'static, Change>>;

fn watches(client: &Client, options: &Options) -> Changes {
    let (config, outages) = (watcher::Config::default(), Outages::default());
    let services: Api<Service> = Api::all(client.clone());
    let services = notices(services, config.clone(), &outages, Request::parse);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &options.namespace);
    let ours = config.fields(&format!("metadata.name={}", options.config_map));
    let pools = notices(config_maps, ours, &outages, pools::text);
    let changes = [
        services.map(Change::Service).boxed(),
        pools.map(Change::Pools).boxed(),
    ];
    changes.into_iter().collect()
}

/// The objects as last seen.
#[derive(Default)]
struct Known {
    services: Objects<Request>,
    config_maps: Objects<String>,
}

impl Known {
    /// Takes in `next` and whatever else has come by now.
    fn take(
        &mut self,
        changes: &mut Changes,
        mut next: Option<Change>,
        controller: &mut Controller,
    ) {
        let mut taken = 0;
        while let Some(change) = next {
            match change {
                Change::Service(notice) => controller.mark(self.services.take(notice)),
                Change::Pools(notice) => drop(self.config_maps.take(notice)),
            }
            taken += 1;
            next = if taken < CHANGES_MAX {
                changes.next().now_or_never().flatten()
            } else {
                None
            };
        }
    }
}

/// Lets the controller use the pools of the ConfigMap.
fn follow_pools(
    configured: &mut Configured,
    config_maps: &Objects<String>,
    controller: &mut Controller,
) {
    match configured.follow(config_maps) {
        Ok(true) => {
            info!(
                pools = configured.pools().iter().count(),
                "load balancer pools set"
            );
            controller.set_pools(configured.pools().clone());
        }
        Ok(false) => {}
        Err(err) => warn!(err = &err as &dyn StdError, "load balancer pools ignored"),
    }
}

/// Does what was decided; returns the Services for which it has to be done again.
async fn act(client: &Client, actions: Vec<Action>) -> Vec<ObjectName> {
    let mut failed = Vec::new();
    for action in actions {
        match action {
            Action::Publish { service, ip } => {
                if let Err(err) = publish(client, &service, ip).await {
                    warn!(err = &err as &dyn StdError, "address not published");
                    failed.push(service);
                }
            }
            Action::Tell(event) => record_service_event(client, COMPONENT, None, event).await,
        }
    }
    failed
}

/// Writes a Service's address, or that it has none. A Service that is gone needs neither.
async fn publish(
    client: &Client,
    service: &ObjectName,
    ip: Option<std::net::Ipv4Addr>,
) -> Result<(), PublishError> {
    let api: Api<Service> = Api::namespaced(client.clone(), &service.namespace);
    let ingress = ip.map(|ip| json!([{"ip": ip, "ipMode": "VIP"}]));
    let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": ingress}}}));
    let params = PatchParams::default();
    let request = api.patch_status(&service.name, &params, &patch);
    match tokio::time::timeout(REQUEST_MAX, request).await {
        Ok(Ok(_)) => {
            info!(%service, ip = ip.map(|ip| ip.to_string()), "load balancer address published");
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(err)) => Err(PublishError::Patch(service.clone(), err)),
        Err(_) => Err(PublishError::Late(service.clone())),
    }
}
