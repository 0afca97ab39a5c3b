//! PodDisruptionBudgets: how many of their pods may go by eviction right now.
//!
//! [`plan`] counts; this module finds what a budget counts against: the scale of whatever controls its pods. The
//! eviction itself, in the API server, takes from `disruptionsAllowed` and notes the pod in `disruptedPods`, where it
//! stays until it is gone, or for two minutes.

mod plan;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    jiff::Timestamp,
};
use kube::{Client, api::Request};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::plan::{Expected, Sums};
use super::Context;
use crate::{
    event::{Kind, Recorder},
    ownership::controller_of,
    queue::{Outcome, Queue},
    selector,
    watch::{Key, Kinds, index},
    write::{self, Part, Writer, status_patch},
};

/// Budgets that are worked on at once.
const PARALLEL: usize = 4;

struct Controller {
    context: Context,
    budgets: Writer<PodDisruptionBudget>,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue = Queue::new();
    subscribe(&context.kinds, &queue);
    let controller = Arc::new(Controller {
        budgets: Writer::new(&context.client, &context.kinds.disruption_budgets),
        recorder: context.recorder.component("controllermanager"),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run("disruption", PARALLEL, shutdown, reconcile).await;
}

fn subscribe(kinds: &Kinds, queue: &Queue<Key>) {
    let changed = queue.clone();
    kinds.disruption_budgets.subscribe(move |change| {
        if let Some(budget) = change.new {
            changed.add(Key::of(&**budget));
        }
    });
    let (changed, budgets) = (queue.clone(), Arc::clone(&kinds.disruption_budgets));
    kinds.pods.subscribe(move |change| {
        for pod in change.sides() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let budgets = budgets.indexed(index::namespace(namespace));
            let covering = budgets.iter().filter(|budget| plan::covers(budget, pod));
            covering.for_each(|budget| changed.add(Key::of(&**budget)));
        }
    });
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let Some(budget) = self.context.kinds.disruption_budgets.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let pods = self.pods(&budget);
        if pods.is_empty() {
            self.tell(
                &budget,
                Kind::Normal,
                "NoPods",
                "No matching pods found".to_owned(),
            );
        }
        let now = Timestamp::now();
        let (status, next) = match self.expected(&budget, &pods).await {
            Ok(expected) => {
                if !expected.unmanaged.is_empty() {
                    self.tell_of_unmanaged(&budget);
                }
                let sums = Sums::count(&budget, &pods, &expected, now);
                for pod in &sums.not_deleted {
                    let namespace = &key.namespace;
                    // Upstream says the namespace twice.
                    let message = format!(
                        "Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"
                    );
                    self.recorder
                        .record(&**pod, Kind::Warning, "NotDeleted", message);
                }
                (plan::status(&budget, &sums, now), sums.next_look)
            }
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                self.tell(
                    &budget,
                    Kind::Warning,
                    "CalculateExpectedPodCountFailed",
                    message,
                );
                (plan::failed(&budget, why, now), None)
            }
        };
        self.write(&budget, &status).await?;
        Ok(next.map_or(Outcome::Settled, Outcome::After))
    }

    fn tell(
        &self,
        budget: &PodDisruptionBudget,
        kind: Kind,
        reason: &'static str,
        message: String,
    ) {
        self.recorder.record(budget, kind, reason, message);
    }

    fn tell_of_unmanaged(&self, budget: &PodDisruptionBudget) {
        let selector = budget
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.clone())
            .unwrap_or_default();
        let message = format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the \
             status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account \
             for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
            selector::go_text(&selector)
        );
        self.tell(budget, Kind::Warning, "UnmanagedPods", message);
    }

    fn pods(&self, budget: &PodDisruptionBudget) -> Vec<Arc<Pod>> {
        let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
        let mut pods = self.context.kinds.pods.indexed(index::namespace(namespace));
        pods.retain(|pod| plan::covers(budget, pod));
        pods
    }

    /// What the budget counts against.
    async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Expected, String> {
        let mut expected = Expected::default();
        if !plan::needs_scale(budget) {
            expected.count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            return Ok(expected);
        }
        let mut scales: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let Some(owner) = controller_of(&pod.metadata) else {
                expected.unmanaged.push(name.to_owned());
                continue;
            };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let (uid, scale) = self
                .scale(namespace, owner)
                .await?
                .ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
            scales.insert(uid, scale);
        }
        expected.count = scales
            .values()
            .fold(0, |sum, scale| sum.saturating_add(*scale));
        Ok(expected)
    }

    /// Who decides on the number of a pod's peers, and that number.
    async fn scale(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<(String, i32)>, String> {
        let kinds = &self.context.kinds;
        let key = Key::new(namespace, &owner.name);
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let ours = |uid: &Option<String>| uid.as_deref() == Some(owner.uid.as_str());
        match (group, owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let set = kinds
                    .replica_sets
                    .get(&key)
                    .filter(|set| ours(&set.metadata.uid));
                let Some(set) = set else { return Ok(None) };
                if let Some(over) =
                    controller_of(&set.metadata).filter(|over| over.kind == "Deployment")
                {
                    let deployment = kinds.deployments.get(&Key::new(namespace, &over.name));
                    let deployment =
                        deployment.filter(|one| one.metadata.uid.as_ref() == Some(&over.uid));
                    return Ok(
                        deployment.map(|one| (over.uid.clone(), one.spec.replicas.unwrap_or(1)))
                    );
                }
                Ok(Some((owner.uid.clone(), set.spec.replicas.unwrap_or(1))))
            }
            ("", "ReplicationController") => {
                let set = kinds
                    .replication_controllers
                    .get(&key)
                    .filter(|set| ours(&set.metadata.uid));
                let replicas = |set: Arc<k8s_openapi::api::core::v1::ReplicationController>| {
                    set.spec
                        .as_ref()
                        .and_then(|spec| spec.replicas)
                        .unwrap_or(1)
                };
                Ok(set.map(|set| (owner.uid.clone(), replicas(set))))
            }
            _ => scale_of(&self.context.client, namespace, owner).await,
        }
    }

    async fn write(
        &self,
        budget: &PodDisruptionBudget,
        status: &PodDisruptionBudgetStatus,
    ) -> Result<(), write::Error> {
        let old = budget.status.clone().unwrap_or_default();
        let Some(patch) = status_patch(budget, &old, status) else {
            return Ok(());
        };
        match self
            .budgets
            .merge(&Key::of(budget), Part::Status, patch)
            .await
        {
            Err(err) if !err.is_not_found() => Err(err),
            _ => Ok(()),
        }
    }
}

/// Asks for the scale of any kind that has one.
async fn scale_of(
    client: &Client,
    namespace: &str,
    owner: &OwnerReference,
) -> Result<Option<(String, i32)>, String> {
    let found = super::inventory::discover(client)
        .await
        .map_err(|err| err.to_string())?;
    let group = owner
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let resource = found
        .resources
        .iter()
        .find(|one| one.group == group && one.kind == owner.kind);
    let Some(resource) = resource else {
        return Err(format!(
            "no matches for kind \"{}\" in version \"{}\"",
            owner.kind, owner.api_version
        ));
    };
    let request = Request::new(resource.path(Some(namespace)));
    let request = request
        .get_subresource("scale", &owner.name)
        .map_err(|err| err.to_string())?;
    match client.request::<Value>(request).await {
        Ok(scale) => {
            let replicas = scale["spec"]["replicas"]
                .as_i64()
                .and_then(|n| i32::try_from(n).ok());
            let ours = scale["metadata"]["uid"] == *owner.uid;
            Ok(ours.then(|| (owner.uid.clone(), replicas.unwrap_or(0))))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(err) => Err(err.to_string()),
    }
}
