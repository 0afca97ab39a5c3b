//! The controllers: each brings one kind of object to what its spec asks for.
//!
//! All have the same shape: changes of watched objects put keys into a queue;
//! for each key a pure plan is made from the stores and carried out.

mod deployment;
mod endpoints;
mod endpointslice;
mod node_ipam;
mod replicaset;
mod root_ca;
mod service_account;

use std::sync::Arc;

use ipnet::Ipv4Net;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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

/// Starts all controllers. The stores have been filled.
pub(crate) fn start(
    context: &Context,
    cluster_cidr: Ipv4Net,
    root_ca_pem: Arc<str>,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let context = || context.clone();
    let shutdown = || shutdown.clone();
    tasks.spawn(deployment::run(context(), shutdown()));
    tasks.spawn(replicaset::run(context(), shutdown()));
    tasks.spawn(endpointslice::run(context(), shutdown()));
    tasks.spawn(endpoints::run(context(), shutdown()));
    tasks.spawn(service_account::run(context(), shutdown()));
    tasks.spawn(root_ca::run(context(), root_ca_pem, shutdown()));
    tasks.spawn(node_ipam::run(context(), cluster_cidr, shutdown()));
}
