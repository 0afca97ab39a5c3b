//! One pod on this node: from its assignment to its last trace.
//!
//! [`worker`] is the loop: look at the runtime, [`plan`], write the status ([`writer`]), do a step. Everything that
//! decides is pure; [`start`] and [`sandbox`] do what was decided.

pub mod backoff;
mod container;
mod deadline;
mod downward;
mod env;
mod images;
mod memory;
mod names;
pub mod paths;
mod plan;
mod resolver;
mod runtime;
mod sandbox;
pub mod services;
mod start;
mod volumes;
pub mod worker;
mod writer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use karve_runtime::Runtime;
use karve_watch::ObjectName;
use kube::Client;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::events::Recorder;
use crate::objects::{All, One, Shared};
use crate::registration::{Allocatable, Machine};
use crate::server::Statuses;

pub use images::Images;
pub use resolver::Resolver;

/// What all pods of the node share.
pub struct Node {
    /// The API.
    pub client: Client,
    /// The runtime.
    pub runtime: Runtime,
    /// How images are reached.
    pub images: Images,
    /// Where events go.
    pub events: Recorder,
    /// The node's name.
    pub name: String,
    /// The node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// The machine, for limits that follow from it.
    pub machine: Machine,
    /// What pods resolve names with.
    pub resolver: Resolver,
    /// Where pods' directories and logs are.
    pub data_dir: PathBuf,
    /// The addresses for pods, once a controller gave the node some.
    pub pod_cidr: watch::Receiver<Option<Ipv4Net>>,
    /// This node's object.
    pub own: watch::Receiver<Option<Arc<k8s_openapi::api::core::v1::Node>>>,
    /// What the node has for pods.
    pub allocatable: Allocatable,
    /// The Services of the cluster, for their variables.
    pub services: Arc<Services>,
    /// The ConfigMaps that pods' volumes show.
    pub config_maps: Shared<One<ConfigMap>>,
    /// The Secrets that pods' volumes show.
    pub secrets: Shared<One<Secret>>,
    /// The trust bundles, for the same.
    pub bundles: Shared<All<ClusterTrustBundle>>,
    /// What was computed for each pod, for the kubelet API.
    pub statuses: Arc<Statuses>,
}

/// The Services that containers are told of, kept by the watch.
#[derive(Debug, Default)]
pub struct Services {
    /// By namespace and name.
    pub known: RwLock<std::collections::BTreeMap<ObjectName, services::Brief>>,
    /// True once the first list is complete.
    pub synced: watch::Sender<bool>,
}
