//! The kinds that several controllers read, each watched once.

use std::{fmt::Debug, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        certificates::v1::CertificateSigningRequest,
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Endpoints, Namespace, Node, Pod, ReplicationController, ResourceQuota,
            Secret, Service, ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        networking::v1::{IPAddress, ServiceCIDR},
        policy::v1::PodDisruptionBudget,
        rbac::v1::ClusterRole,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Selection, Store, reflector};
use crate::{
    controllers::{NODE_LEASES, ROOT_CA_CONFIG_MAP},
    ownership::controller_of,
};

/// The shared stores.
#[derive(Clone)]
pub(crate) struct Kinds {
    /// By owner, node, namespace and label.
    pub(crate) pods: Arc<Store<Pod>>,
    /// By owner; those without an owner by namespace.
    pub(crate) replica_sets: Arc<Store<ReplicaSet>>,
    /// By namespace.
    pub(crate) replication_controllers: Arc<Store<ReplicationController>>,
    /// By namespace.
    pub(crate) disruption_budgets: Arc<Store<PodDisruptionBudget>>,
    /// By namespace.
    pub(crate) resource_quotas: Arc<Store<ResourceQuota>>,
    /// By namespace.
    pub(crate) deployments: Arc<Store<Deployment>>,
    /// By one label of their selector.
    pub(crate) services: Arc<Store<Service>>,
    /// By Service.
    pub(crate) endpoint_slices: Arc<Store<EndpointSlice>>,
    pub(crate) endpoints: Arc<Store<Endpoints>>,
    pub(crate) service_cidrs: Arc<Store<ServiceCIDR>>,
    pub(crate) ip_addresses: Arc<Store<IPAddress>>,
    pub(crate) nodes: Arc<Store<Node>>,
    /// Those of nodes only.
    pub(crate) leases: Arc<Store<Lease>>,
    pub(crate) namespaces: Arc<Store<Namespace>>,
    pub(crate) cluster_roles: Arc<Store<ClusterRole>>,
    pub(crate) signing_requests: Arc<Store<CertificateSigningRequest>>,
    /// Those with a ServiceAccount's token only. By namespace.
    pub(crate) token_secrets: Arc<Store<Secret>>,
    pub(crate) service_accounts: Arc<Store<ServiceAccount>>,
    /// Those called `kube-root-ca.crt` only.
    pub(crate) root_certificates: Arc<Store<ConfigMap>>,
}

impl Kinds {
    pub(crate) fn new() -> Self {
        Self {
            pods: Store::new(index::pod),
            replica_sets: Store::new(index::replica_set),
            replication_controllers: Store::new(index::of_namespace),
            disruption_budgets: Store::new(index::of_namespace),
            resource_quotas: Store::new(index::of_namespace),
            deployments: Store::new(index::of_namespace),
            services: Store::new(index::service),
            endpoint_slices: Store::new(index::endpoint_slice),
            endpoints: Store::new(|_, _| {}),
            service_cidrs: Store::new(|_, _| {}),
            ip_addresses: Store::new(|_, _| {}),
            nodes: Store::new(|_, _| {}),
            leases: Store::new(|_, _| {}),
            namespaces: Store::new(|_, _| {}),
            cluster_roles: Store::new(|_, _| {}),
            signing_requests: Store::new(|_, _| {}),
            token_secrets: Store::new(index::of_namespace),
            service_accounts: Store::new(|_, _| {}),
            root_certificates: Store::new(|_, _| {}),
        }
    }

    /// Starts one watch per kind.
    pub(crate) fn start(
        &self,
        client: &Client,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let mut start = Starter {
            client,
            tasks,
            shutdown,
        };
        start.watch(&self.pods, Selection::all::<Pod>());
        start.watch(&self.replica_sets, Selection::all::<ReplicaSet>());
        start.watch(
            &self.replication_controllers,
            Selection::all::<ReplicationController>(),
        );
        start.watch(
            &self.disruption_budgets,
            Selection::all::<PodDisruptionBudget>(),
        );
        start.watch(&self.resource_quotas, Selection::all::<ResourceQuota>());
        start.watch(&self.deployments, Selection::all::<Deployment>());
        start.watch(&self.services, Selection::all::<Service>());
        start.watch(&self.endpoint_slices, Selection::all::<EndpointSlice>());
        start.watch(&self.endpoints, Selection::all::<Endpoints>());
        start.watch(&self.service_cidrs, Selection::all::<ServiceCIDR>());
        start.watch(&self.ip_addresses, Selection::all::<IPAddress>());
        start.watch(&self.nodes, Selection::all::<Node>());
        start.watch(&self.leases, Selection::within::<Lease>(Some(NODE_LEASES)));
        start.watch(&self.namespaces, Selection::all::<Namespace>());
        start.watch(&self.cluster_roles, Selection::all::<ClusterRole>());
        start.watch(
            &self.signing_requests,
            Selection::all::<CertificateSigningRequest>(),
        );
        let tokens = Selection::all::<Secret>().with("type", "kubernetes.io/service-account-token");
        start.watch(&self.token_secrets, tokens);
        start.watch(&self.service_accounts, Selection::all::<ServiceAccount>());
        let certificates = Selection::all::<ConfigMap>().named(ROOT_CA_CONFIG_MAP);
        start.watch(&self.root_certificates, certificates);
    }

    /// Returns once every store has its first list.
    pub(crate) async fn synced(&self) {
        let stores: [BoxFuture<'_, ()>; 19] = [
            self.pods.synced().boxed(),
            self.replica_sets.synced().boxed(),
            self.replication_controllers.synced().boxed(),
            self.disruption_budgets.synced().boxed(),
            self.resource_quotas.synced().boxed(),
            self.deployments.synced().boxed(),
            self.services.synced().boxed(),
            self.endpoint_slices.synced().boxed(),
            self.endpoints.synced().boxed(),
            self.service_cidrs.synced().boxed(),
            self.ip_addresses.synced().boxed(),
            self.nodes.synced().boxed(),
            self.leases.synced().boxed(),
            self.namespaces.synced().boxed(),
            self.cluster_roles.synced().boxed(),
            self.signing_requests.synced().boxed(),
            self.token_secrets.synced().boxed(),
            self.service_accounts.synced().boxed(),
            self.root_certificates.synced().boxed(),
        ];
        futures::future::join_all(stores).await;
    }
}

struct Starter<'a> {
    client: &'a Client,
    tasks: &'a mut JoinSet<()>,
    shutdown: &'a CancellationToken,
}

impl Starter<'_> {
    fn watch<K>(&mut self, store: &Arc<Store<K>>, selection: Selection)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let sink: Arc<dyn reflector::Sink<K>> = Arc::clone(store) as _;
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(reflector::run(
            self.client.clone(),
            selection,
            sink,
            shutdown,
        ));
    }
}

fn namespace_of(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// Index entries: hashes of what an object may be looked up by.
pub(crate) mod index {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;
    use crate::controllers::SERVICE_NAME_LABEL;

    fn entry(what: &str, parts: &[&str]) -> u64 {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        parts.hash(&mut hasher);
        hasher.finish()
    }

    /// Objects whose controlling owner has this UID.
    pub(crate) fn owner(uid: &str) -> u64 {
        entry("owner", &[uid])
    }

    /// Objects of a namespace that have no controlling owner.
    pub(crate) fn orphan(namespace: &str) -> u64 {
        entry("orphan", &[namespace])
    }

    pub(crate) fn namespace(namespace: &str) -> u64 {
        entry("namespace", &[namespace])
    }

    /// Pods of a node.
    pub(crate) fn node(name: &str) -> u64 {
        entry("node", &[name])
    }

    /// Objects with a label, or Services that select by it.
    pub(crate) fn label(namespace: &str, name: &str, value: &str) -> u64 {
        entry("label", &[namespace, name, value])
    }

    /// EndpointSlices of a Service.
    pub(crate) fn slices_of(namespace: &str, service: &str) -> u64 {
        entry("service", &[namespace, service])
    }

    fn ownership(meta: &ObjectMeta, entries: &mut Vec<u64>) {
        entries.push(match controller_of(meta) {
            Some(reference) => owner(&reference.uid),
            None => orphan(namespace_of(meta)),
        });
    }

    pub(super) fn of_namespace<K: Resource>(object: &K, entries: &mut Vec<u64>) {
        entries.push(namespace(namespace_of(object.meta())));
    }

    pub(super) fn pod(pod: &Pod, entries: &mut Vec<u64>) {
        ownership(&pod.metadata, entries);
        let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        entries.extend(name.map(node));
        of_namespace(pod, entries);
        let namespace = namespace_of(&pod.metadata);
        let labels = pod.metadata.labels.iter().flatten();
        entries.extend(labels.map(|(name, value)| label(namespace, name, value)));
    }

    pub(super) fn replica_set(set: &ReplicaSet, entries: &mut Vec<u64>) {
        ownership(&set.metadata, entries);
        entries.push(namespace(namespace_of(&set.metadata)));
    }

    /// A Service is under one label of its selector only: a pod has to have
    /// all of them, so looking under each of the pod's labels finds it.
    pub(super) fn service(service: &Service, entries: &mut Vec<u64>) {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let first = selector.and_then(|selector| selector.iter().next());
        let namespace = namespace_of(&service.metadata);
        entries.extend(first.map(|(name, value)| label(namespace, name, value)));
    }

    pub(super) fn endpoint_slice(slice: &EndpointSlice, entries: &mut Vec<u64>) {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let namespace = namespace_of(&slice.metadata);
        entries.extend(service.map(|service| slices_of(namespace, service)));
    }
}
