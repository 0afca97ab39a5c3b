//! The controllers: each brings one kind of object to what its spec asks for.
//!
//! All have the same shape: changes of watched objects put keys into a queue;
//! for each key a pure plan is made from the stores and carried out.

mod certificate;
mod clusterrole_aggregation;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod gc;
mod inventory;
mod ip_address;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod replicaset;
mod resourcequota;
mod root_ca;
mod service_account;
mod service_account_tokens;
mod service_cidr;
mod taint_eviction;

use std::sync::Arc;

use ipnet::Ipv4Net;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::certificate::Authority;
use self::inventory::Inventory;
use crate::{event::Recorder, watch::Kinds};

/// The namespace of the leases by which nodes say that they live.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";
/// The ConfigMap with the cluster's CA that every namespace has.
pub(crate) const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";
/// The label by which an EndpointSlice names its Service.
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What every controller works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) kinds: Kinds,
    pub(crate) recorder: Recorder,
}

/// The API under the identities that may delete anything.
pub(crate) struct Cleaners {
    pub(crate) garbage: Client,
    pub(crate) namespaces: Client,
}

/// Starts all controllers. The stores have been filled.
pub(crate) fn start(
    context: &Context,
    cluster_cidr: Ipv4Net,
    root_ca_pem: Arc<str>,
    authority: Option<Arc<Authority>>,
    cleaners: Cleaners,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let context = || context.clone();
    let token = || shutdown.clone();
    tasks.spawn(node_ipam::run(context(), cluster_cidr, token()));
    tasks.spawn(service_account::run(context(), token()));
    tasks.spawn(root_ca::run(context(), Arc::clone(&root_ca_pem), token()));
    tasks.spawn(service_account_tokens::run(context(), root_ca_pem, token()));
    tasks.spawn(deployment::run(context(), token()));
    tasks.spawn(replicaset::run(context(), token()));
    tasks.spawn(replicaset::run_older(context(), token()));
    tasks.spawn(disruption::run(context(), token()));
    tasks.spawn(endpointslice::run(context(), token()));
    tasks.spawn(endpoints::run(context(), token()));
    tasks.spawn(endpointslice_mirroring::run(context(), token()));
    tasks.spawn(service_cidr::run(context(), token()));
    tasks.spawn(ip_address::run(context(), token()));
    tasks.spawn(node_lifecycle::run(context(), token()));
    tasks.spawn(taint_eviction::run(context(), token()));
    tasks.spawn(pod_gc::run(context(), token()));
    tasks.spawn(clusterrole_aggregation::run(context(), token()));
    tasks.spawn(certificate::run(context(), authority, token()));
    tasks.spawn(cleaning(context(), cleaners, token()));
}

/// Starts what removes things and what counts them; it needs to know all kinds first.
async fn cleaning(context: Context, cleaners: Cleaners, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let inventory = Inventory::new();
    let start = inventory.start(&context.client, &context.kinds, &mut tasks, &shutdown);
    if shutdown.run_until_cancelled(start).await.is_none() {
        return;
    }
    let (client, kinds) = (context.client.clone(), context.kinds.clone());
    tasks.spawn(Arc::clone(&inventory).keep_up(client, kinds, shutdown.clone()));
    let garbage = Context {
        client: cleaners.garbage,
        ..context.clone()
    };
    let namespaces = Context {
        client: cleaners.namespaces,
        ..context.clone()
    };
    tasks.spawn(gc::run(garbage, Arc::clone(&inventory), shutdown.clone()));
    tasks.spawn(resourcequota::run(
        context,
        Arc::clone(&inventory),
        shutdown.clone(),
    ));
    tasks.spawn(namespace::run(namespaces, inventory, shutdown));
    while let Some(ended) = tasks.join_next().await {
        if let Err(err) = ended {
            // A bug: end the whole, as for every other part.
            std::panic::resume_unwind(err.into_panic());
        }
    }
}
