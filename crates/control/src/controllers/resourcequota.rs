//! Keeps the status of ResourceQuotas: what their namespaces use.
//!
//! The API server charges a quota in the same commit as the object that it charges it for. So what is listed after a
//! version of a quota was read has all that this version was charged for, and usage that was counted so may replace
//! what that version says: a later charge makes a later version, and the write is refused. Usage is therefore counted
//! from fresh lists, never from stores that may be behind, and only when something may have become less.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::{
    api::core::v1::{Pod, ResourceQuota, Service},
    jiff::Timestamp,
};
use karve_api::{
    amounts::{self, Amounts},
    quota::{Evaluator, tracked, usage},
};
use kube::api::{ListParams, Request};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Context, inventory::Inventory};
use crate::{
    pod,
    queue::{Outcome, Queue},
    watch::{Key, Store, index},
    write::{self, Part, Writer, merge_diff},
};

/// Quotas that are counted at once.
const PARALLEL: usize = 4;
/// Everything is counted again so often, as upstream does: pods that should be gone stop counting by themselves.
const RESYNC: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a quota's usage is not known.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("list {path}")]
    List {
        path: String,
        #[source]
        source: kube::Error,
    },
    #[error("list {0}: no answer within {DEADLINE:?}")]
    Deadline(String),
    #[error(transparent)]
    Write(#[from] write::Error),
}

struct Controller {
    context: Context,
    quotas: Writer<ResourceQuota>,
    inventory: Arc<Inventory>,
}

/// Runs the controller until shutdown. Keys are quotas.
pub(super) async fn run(context: Context, inventory: Arc<Inventory>, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    subscribe(&context, &inventory, &queue);
    let controller = Arc::new(Controller {
        quotas: Writer::new(&context.client, &context.kinds.resource_quotas),
        context,
        inventory,
    });
    let reconcile = move |key: Key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("resourcequota", PARALLEL, shutdown, reconcile)
        .await;
}

fn subscribe(context: &Context, inventory: &Inventory, queue: &Queue<Key>) {
    let kinds = &context.kinds;
    let changed = queue.clone();
    kinds.resource_quotas.subscribe(move |change| {
        if let Some(quota) = change.new.filter(|quota| is_dirty(quota)) {
            changed.add(Key::of(&**quota));
        }
    });
    let (changed, quotas) = (queue.clone(), Arc::clone(&kinds.resource_quotas));
    inventory.subscribe(move |_, observed| {
        if observed.gone {
            add_all(&changed, &quotas, &observed.object.key.namespace);
        }
    });
    let (changed, quotas) = (queue.clone(), Arc::clone(&kinds.resource_quotas));
    kinds.pods.subscribe(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && frees(old, new)
        {
            add_all(&changed, &quotas, &Key::of(&**new).namespace);
        }
    });
    let (changed, quotas) = (queue.clone(), Arc::clone(&kinds.resource_quotas));
    kinds.services.subscribe(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && counts_otherwise(old, new)
        {
            add_all(&changed, &quotas, &Key::of(&**new).namespace);
        }
    });
}

fn add_all(queue: &Queue<Key>, quotas: &Store<ResourceQuota>, namespace: &str) {
    if namespace.is_empty() {
        return;
    }
    let quotas = quotas.indexed(index::namespace(namespace));
    quotas.iter().for_each(|quota| queue.add(Key::of(&**quota)));
}

/// Whether the status is not one for this spec.
fn is_dirty(quota: &ResourceQuota) -> bool {
    let hard = quota
        .spec
        .as_ref()
        .and_then(|spec| spec.hard.clone())
        .unwrap_or_default();
    let status = quota.status.as_ref();
    let known = status.and_then(|status| status.hard.clone());
    known.is_none_or(|known| known != hard) || status.is_none_or(|status| status.used.is_none())
}

/// Whether a pod uses less than before.
fn frees(old: &Pod, new: &Pod) -> bool {
    let resources = |pod: &Pod| {
        let spec = pod.spec.iter();
        let containers = spec.flat_map(|spec| spec.containers.iter());
        containers
            .map(|container| container.resources.clone())
            .collect::<Vec<_>>()
    };
    let deadline = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|spec| spec.active_deadline_seconds)
    };
    !pod::is_finished(old) && pod::is_finished(new)
        || deadline(old).is_some() != deadline(new).is_some()
        || resources(old) != resources(new)
}

/// Whether a Service may need fewer ports or balancers than before.
fn counts_otherwise(old: &Service, new: &Service) -> bool {
    let counted = |service: &Service| {
        let spec = service.spec.as_ref()?;
        let ports = spec.ports.as_ref().map_or(0, Vec::len);
        Some((
            spec.type_.clone(),
            ports,
            spec.allocate_load_balancer_node_ports,
        ))
    };
    counted(old) != counted(new)
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, Error> {
        // First the quota, then what it counts: the order makes the count good. The store's version may be old, then
        // the write is refused.
        let Some(quota) = self.context.kinds.resource_quotas.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let quota = serde_json::to_value(&*quota).expect("API types have string keys only");
        let hard = amounts::read(&quota["spec"]["hard"]);
        let names: Vec<&str> = hard.keys().map(String::as_str).collect();
        let counts = tracked(names.iter().copied())
            .into_iter()
            .map(|(group, plural)| self.count(&quota, &names, group, plural));
        let (mut counted, mut failed) = (Amounts::new(), None);
        for count in join_all(counts).await {
            match count {
                Ok(count) => counted.extend(count),
                // The rest is told all the same.
                Err(err) => failed = Some(err),
            }
        }
        let status = status(&quota, &hard, counted);
        if let Some(difference) = merge_diff(&quota["status"], &status) {
            let version = &quota["metadata"]["resourceVersion"];
            let patch = json!({"metadata": {"resourceVersion": version}, "status": difference});
            self.quotas.merge(&key, Part::Status, patch).await?;
        }
        failed.map_or(Ok(Outcome::After(RESYNC)), Err)
    }

    /// What the objects of one kind use.
    async fn count(
        &self,
        quota: &Value,
        names: &[&str],
        group: String,
        plural: String,
    ) -> Result<Amounts, Error> {
        let found = (
            self.inventory.resource_named(&group, &plural),
            Evaluator::of(&group, &plural),
        );
        let (Some(resource), Some(evaluator)) = found else {
            // What the server does not have is not counted.
            return Ok(Amounts::new());
        };
        let path = resource.path(quota["metadata"]["namespace"].as_str());
        let whole = !matches!(evaluator, Evaluator::Count { .. });
        let objects = self.list(path, whole).await?;
        Ok(usage(quota, names, &evaluator, &objects, Timestamp::now()))
    }

    async fn list(&self, path: String, whole: bool) -> Result<Vec<Value>, Error> {
        let (request, params) = (Request::new(&path), ListParams::default());
        let request = match whole {
            true => request.list(&params),
            false => request.list_metadata(&params),
        };
        let answer = async {
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.context.client.request::<Value>(request).await
        };
        match timeout(DEADLINE, answer).await {
            Ok(Ok(mut list)) => match list["items"].take() {
                Value::Array(items) => Ok(items),
                _ => Ok(Vec::new()),
            },
            Ok(Err(source)) => Err(Error::List { path, source }),
            Err(_) => Err(Error::Deadline(path)),
        }
    }
}

/// The status that a quota should have. What could not be counted stays as it was.
fn status(quota: &Value, hard: &Amounts, counted: Amounts) -> Value {
    let mut used = amounts::read(&quota["status"]["used"]);
    used.extend(counted);
    used.retain(|name, _| hard.contains_key(name));
    let before = amounts::read(&quota["status"]["used"]);
    let used: BTreeMap<String, _> = used
        .into_iter()
        // Equal amounts keep their spelling.
        .map(|(name, amount)| match before.get(&name) {
            Some(same) if *same == amount => (name, same.clone()),
            _ => (name, amount),
        })
        .collect();
    json!({"hard": quota["spec"]["hard"], "used": amounts::to_value(&used)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(value: Value) -> ResourceQuota {
        serde_json::from_value(value).expect("a quota")
    }

    #[test]
    fn quotas_without_a_status_for_their_spec_are_counted() {
        let rows = [
            (json!({"spec": {"hard": {"pods": "1"}}}), true),
            (
                json!({"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}}}),
                true,
            ),
            (
                json!({"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "2"}, "used": {}}}),
                true,
            ),
            (
                json!({"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}, "used": {}}}),
                false,
            ),
        ];
        for (value, want) in rows {
            assert_eq!(is_dirty(&quota(value.clone())), want, "{value}");
        }
    }

    #[test]
    fn status_counts_what_is_hard_and_keeps_what_is_unknown() {
        let quota = json!({"spec": {"hard": {"pods": "2", "count/x.example.com": "1", "cpu": "1"}},
            "status": {"used": {"count/x.example.com": "1", "secrets": "3", "cpu": "0.5"}}});
        let counted = amounts::read(&json!({"pods": "1", "cpu": "500m", "services": "9"}));
        let status = status(&quota, &amounts::read(&quota["spec"]["hard"]), counted);
        assert_eq!(status["used"]["pods"], "1");
        assert_eq!(status["used"]["count/x.example.com"], "1");
        assert_eq!(status["used"].as_object().map(|used| used.len()), Some(3));
    }

    #[test]
    fn only_what_may_use_less_is_counted_again() {
        let pod = |phase: &str, cpu: &str| -> Pod {
            serde_json::from_value(json!({"status": {"phase": phase}, "spec": {"containers": [
                {"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
            .expect("a pod")
        };
        assert!(frees(&pod("Running", "1"), &pod("Succeeded", "1")));
        assert!(!frees(&pod("Pending", "1"), &pod("Running", "1")));
        assert!(frees(&pod("Running", "2"), &pod("Running", "1")));
    }
}
