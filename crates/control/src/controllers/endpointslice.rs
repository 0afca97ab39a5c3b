//! EndpointSlices: which pods answer for a Service.
//!
//! [`endpoint`] says what a pod is as an endpoint, [`plan`] how the endpoints
//! of a Service are packed into slices so that few slices change, [`trigger`]
//! which change of the world a write stands for (measured by proxies).

mod endpoint;
mod hints;
mod plan;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod topology;
pub(super) mod trigger;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::future::try_join_all;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::api::DeleteParams;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::{
    plan::{Plan, family_of},
    trigger::TriggerTime,
};
use super::{Context, SERVICE_NAME_LABEL};
use crate::{
    event::{Kind, Recorder},
    queue::{Outcome, Queue},
    selector,
    watch::{Key, Store, index},
    write::{self, Part, Writer},
};

pub(super) use self::{
    endpoint::{address, hostname, is_same_address, ports, publishes_not_ready, target},
    plan::is_headless,
};

/// Services that are worked on at once.
const PARALLEL: usize = 32;

pub(super) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

struct Controller {
    context: Context,
    slices: Writer<EndpointSlice>,
    triggers: Mutex<HashMap<Key, Arc<TriggerTime>>>,
    /// Services that have hints by the capacity of zones.
    hinted: Arc<Mutex<HashSet<Key>>>,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue = Queue::new();
    let hinted = Arc::default();
    subscribe(&context, &queue, &hinted);
    let controller = Arc::new(Controller {
        slices: Writer::new(&context.client, &context.kinds.endpoint_slices),
        triggers: Mutex::default(),
        hinted,
        recorder: context.recorder.component("endpoint-slice-controller"),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("endpointslice", PARALLEL, shutdown, reconcile)
        .await;
}

fn subscribe(context: &Context, queue: &Queue<Key>, hinted: &Arc<Mutex<HashSet<Key>>>) {
    let kinds = &context.kinds;
    subscribe_to_services_and_pods(context, queue, endpoint::is_same);
    let changed = queue.clone();
    kinds.endpoint_slices.subscribe(move |change| {
        for slice in change.sides().filter(|slice| is_managed(slice)) {
            if let Some(service) = service_of(slice) {
                changed.add(service);
            }
        }
    });
    // The zone of a node is part of its pods' endpoints, and its capacity of hints.
    let (changed, hinted) = (queue.clone(), Arc::clone(hinted));
    let (services, pods) = (Arc::clone(&kinds.services), Arc::clone(&kinds.pods));
    kinds.nodes.subscribe(move |change| {
        let (old, new) = (
            change.old.map(|node| &**node),
            change.new.map(|node| &**node),
        );
        if old.map(topology::capacity) != new.map(topology::capacity) {
            changed.add_all(hinted.lock().iter().cloned());
        }
        if let Some(node) = new
            && old.is_none_or(|old| hints::zone_of(old) != hints::zone_of(node))
        {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            for pod in pods.indexed(index::node(name)) {
                changed.add_all(selecting(&services, &pod));
            }
        }
    });
}

/// Adds the key of every Service whose own object changed, or a pod of which is not the same any more.
pub(super) fn subscribe_to_services_and_pods(
    context: &Context,
    queue: &Queue<Key>,
    is_same: fn(&Pod, &Pod) -> bool,
) {
    let kinds = &context.kinds;
    let changed = queue.clone();
    kinds.services.subscribe(move |change| {
        if let Some(service) = change.latest() {
            changed.add(Key::of(&**service));
        }
    });
    let (changed, services) = (queue.clone(), Arc::clone(&kinds.services));
    kinds.pods.subscribe(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && is_same(old, new)
        {
            return;
        }
        for pod in change.sides() {
            selecting(&services, pod).for_each(|key| changed.add(key));
        }
    });
}

/// The family whose addresses the older Endpoints show.
pub(super) fn primary_family(service: &Service) -> plan::Family {
    plan::families(service)[0]
}

/// The Services that select a pod.
fn selecting<'p>(services: &Store<Service>, pod: &'p Pod) -> impl Iterator<Item = Key> + use<'p> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.iter().flatten();
    let mut found = Vec::new();
    for (name, value) in labels {
        found.extend(services.indexed(index::label(namespace, name, value)));
    }
    let selects = move |service: &Arc<Service>| {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        service.metadata.namespace.as_deref() == Some(namespace)
            && selector.is_some_and(|all| selector::contains(all, pod.metadata.labels.as_ref()))
    };
    found
        .into_iter()
        .filter(selects)
        .map(|service| Key::of(&*service))
}

/// The pods that a Service selects, in order of their names.
pub(super) fn selected(pods: &Store<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    let Some(wanted) = wanted else {
        return Vec::new();
    };
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let entry = |(name, value): (&String, &String)| index::label(namespace, name, value);
    let entries: Vec<u64> = wanted.iter().map(entry).collect();
    let Some(rarest) = pods.rarest(&entries) else {
        return Vec::new();
    };
    let mut found = pods.indexed(rarest);
    found.retain(|pod| {
        pod.metadata.namespace.as_deref() == Some(namespace)
            && selector::contains(wanted, pod.metadata.labels.as_ref())
    });
    found
}

/// A Service for which this controller makes endpoints.
pub(super) fn has_endpoints(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        let selects = spec.selector.as_ref().is_some_and(|all| !all.is_empty());
        selects && spec.type_.as_deref() != Some("ExternalName")
    })
}

/// The Service that a slice is for.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    Some(Key::new(namespace, service))
}

fn is_managed(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY_LABEL))
        .is_some_and(|by| by == MANAGED_BY)
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let kinds = &self.context.kinds;
        let service = kinds
            .services
            .get(&key)
            .filter(|service| has_endpoints(service));
        let Some(service) = service else {
            // Slices of a deleted Service are the garbage collector's.
            self.triggers.lock().remove(&key);
            self.hinted.lock().remove(&key);
            return Ok(Outcome::Settled);
        };
        let pods = selected(&kinds.pods, &service);
        let known = self.triggers.lock().get(&key).cloned().unwrap_or_default();
        let (seen, triggered) = known.observe(&service, &pods);
        let zone = |node: &str| {
            let node = kinds.nodes.get(&Key::new("", node))?;
            Some(hints::zone_of(&node).map(str::to_owned))
        };
        let shares = || topology::shares(&kinds.nodes.all());
        let nodes = plan::Nodes {
            zone: &zone,
            shares: &shares,
        };
        let mut existing = kinds
            .endpoint_slices
            .indexed(index::slices_of(&key.namespace, &key.name));
        existing.retain(|slice| {
            service_of(slice).as_ref() == Some(&key)
                && is_managed(slice)
                && slice.metadata.deletion_timestamp.is_none()
        });
        for family in plan::families(&service) {
            let of_family = existing
                .iter()
                .filter(|slice| family_of(slice) == Some(family));
            let slices: Vec<_> = of_family.cloned().collect();
            let plan = plan::plan(&service, &pods, &slices, family, &nodes, triggered);
            self.tell_of_hints(&service, &key, family, &plan);
            if let Err(err) = self.apply(plan).await {
                return self.give_up(&service, err);
            }
        }
        for slice in existing.iter().filter(|slice| {
            family_of(slice).is_none_or(|family| !plan::families(&service).contains(&family))
        }) {
            self.delete(slice).await?;
        }
        self.triggers.lock().insert(key, Arc::new(seen));
        Ok(Outcome::Settled)
    }

    /// Says when hints by capacity begin, end, or can't be given.
    fn tell_of_hints(&self, service: &Service, key: &Key, family: plan::Family, plan: &Plan) {
        let had = match &plan.hinted {
            Some(Ok(())) => !self.hinted.lock().insert(key.clone()),
            _ => self.hinted.lock().remove(key),
        };
        let (kind, reason, text) = match (&plan.hinted, had) {
            (Some(Ok(())), false) => (
                Kind::Normal,
                "TopologyAwareHintsEnabled",
                "Topology Aware Hints has been enabled",
            ),
            (Some(Err(why)), _) => (Kind::Warning, "TopologyAwareHintsDisabled", why.as_str()),
            (None, true) => (
                Kind::Warning,
                "TopologyAwareHintsDisabled",
                "Topology Aware Hints has been disabled",
            ),
            _ => return,
        };
        let message = format!("{text}, addressType: {}", family.as_str());
        self.recorder.record(service, kind, reason, message);
    }

    fn give_up(&self, service: &Service, err: write::Error) -> Result<Outcome, write::Error> {
        // A conflict only means that the next try knows more.
        let conflict = err.status().is_some_and(|status| status.code == 409);
        if err.is_namespace_terminating() || err.is_not_found() {
            return Ok(Outcome::Settled);
        }
        if !conflict {
            let name = Key::of(service);
            let message = format!(
                "Error updating Endpoint Slices for Service {name}: {}",
                err.message()
            );
            self.recorder.record(
                service,
                Kind::Warning,
                "FailedToUpdateEndpointSlices",
                message,
            );
        }
        Err(err)
    }

    async fn apply(&self, plan: Plan) -> Result<(), write::Error> {
        let updates = plan.update.into_iter().map(|(slice, patch)| async move {
            self.slices
                .merge(&Key::of(&*slice), Part::Main, patch)
                .await
        });
        let creates = plan.create.iter().map(|slice| self.slices.create(slice));
        let deletes = plan.delete.iter().map(|slice| self.delete(slice));
        try_join_all(creates).await?;
        try_join_all(updates).await?;
        try_join_all(deletes).await?;
        Ok(())
    }

    async fn delete(&self, slice: &EndpointSlice) -> Result<(), write::Error> {
        let uid = slice.metadata.uid.as_deref();
        self.slices
            .delete(&Key::of(slice), uid, DeleteParams::default())
            .await
    }
}
