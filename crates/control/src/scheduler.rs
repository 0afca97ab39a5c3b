//! The scheduler: gives every pod a node.
//!
//! Pods are decided on one by one, in order of priority, against a cache that
//! already counts every decision made before ([`cache`]). Decisions are carried
//! out in parallel, by binding. A pod that fits nowhere waits, without being
//! looked at, until something happens that may help it.
//!
//! Deviation: there is no preemption yet; a pod of high priority waits.

mod affinity;
mod cache;
mod decide;
pub(crate) mod filter;
mod quantity;
mod resources;
mod score;
mod spread;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use self::quantity::milli;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Binding, Node, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Client, Resource,
    api::{PostParams, Request},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    cache::{Cache, PodInfo},
    decide::{Decision, decide},
    filter::Wake,
    spread::Alike,
    waiting::Waiting,
};
use crate::{
    event::{Kind, Recorder, reference},
    ownership::controller_of,
    pod, selector,
    watch::{Change, Key, Kinds, index},
    write::{Part, Writer},
};

const NAME: &str = "default-scheduler";
/// Decisions that are carried out at once.
const PARALLEL: usize = 64;
const BIND_DEADLINE: Duration = Duration::from_secs(10);

/// The scheduler; follows the stores from its creation on.
pub(crate) struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    kinds: Kinds,
    pods: Writer<Pod>,
    recorder: Recorder,
    state: Mutex<State>,
    /// There may be something to decide.
    work: Notify,
}

#[derive(Default)]
struct State {
    cache: Cache,
    waiting: Waiting,
}

impl Scheduler {
    /// Subscribes to pods and nodes, before their stores are filled.
    pub(crate) fn new(kinds: &Kinds, client: Client, recorder: &Recorder) -> Self {
        let inner = Arc::new(Inner {
            pods: Writer::new(&client, &kinds.pods),
            client,
            kinds: kinds.clone(),
            recorder: recorder.component(NAME),
            state: Mutex::default(),
            work: Notify::new(),
        });
        let weak = Arc::downgrade(&inner);
        kinds.pods.subscribe(move |change| {
            if let Some(inner) = weak.upgrade() {
                inner.state.lock().pod_changed(&change);
                inner.work.notify_one();
            }
        });
        let weak = Arc::downgrade(&inner);
        kinds.nodes.subscribe(move |change| {
            if let Some(inner) = weak.upgrade() {
                inner.state.lock().node_changed(&change);
                inner.work.notify_one();
            }
        });
        Self { inner }
    }

    /// Schedules until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(PARALLEL));
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let permit = Arc::clone(&permits).acquire_owned();
            let permit = tokio::select! {
                () = shutdown.cancelled() => return,
                permit = permit => permit.expect("the semaphore is never closed"),
            };
            let Some((info, decision)) = self.inner.next() else {
                drop(permit);
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.inner.work.notified() => continue,
                }
            };
            let inner = Arc::clone(&self.inner);
            tasks.spawn(async move {
                inner.carry_out(info, decision).await;
                drop(permit);
            });
        }
    }
}

/// A pod that this scheduler has to find a node for.
fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let gated = spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty());
    let name = spec.scheduler_name.as_deref().unwrap_or(NAME);
    pod::node_name(pod).is_none() && pod::is_active(pod) && !gated && name == NAME
}

impl State {
    fn pod_changed(&mut self, change: &Change<'_, Pod>) {
        let Some(pod) = change.latest() else {
            return;
        };
        let key = Key::of(&**pod);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let here = change.new.filter(|pod| !pod::is_finished(pod));
        let node = here.and_then(|pod| pod::node_name(pod));
        match (here, node) {
            (Some(pod), Some(node)) => {
                self.waiting.remove(&key);
                self.cache.place(node, Arc::new(PodInfo::new(pod)));
                self.waiting.wake(Wake::PLACED);
            }
            (Some(pod), None) if is_ours(pod) => {
                if change.old.is_none_or(|old| differs(old, pod)) {
                    self.waiting.add(&key, pod);
                }
            }
            _ => {
                self.waiting.remove(&key);
                if self.cache.take_away(uid) {
                    self.waiting.wake(Wake::FREED);
                }
            }
        }
    }

    fn node_changed(&mut self, change: &Change<'_, Node>) {
        match (change.old, change.new) {
            (_, None) => {
                let name = change.old.and_then(|node| node.metadata.name.as_deref());
                self.cache.remove_node(name.unwrap_or_default());
            }
            (Some(old), Some(new)) if is_same_to_pods(old, new) => {}
            (_, Some(node)) => {
                self.cache.set_node(node);
                self.waiting.wake(Wake::NODE);
            }
        }
    }
}

/// True if another try may end otherwise than the last.
fn differs(old: &Pod, new: &Pod) -> bool {
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || !is_ours(old)
}

/// Heartbeats change a node often, and nothing that a pod could notice.
fn is_same_to_pods(old: &Node, new: &Node) -> bool {
    let allocatable = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.clone())
    };
    old.spec == new.spec
        && old.metadata.labels == new.metadata.labels
        && allocatable(old) == allocatable(new)
}

impl Inner {
    /// Decides on the next pod; a node counts it from now on.
    fn next(&self) -> Option<(Arc<PodInfo>, Decision)> {
        let priority = |key: &Key| {
            let pod = self.kinds.pods.get(key);
            pod.and_then(|pod| pod.spec.as_ref()?.priority).unwrap_or(0)
        };
        loop {
            let mut state = self.state.lock();
            let key = state.waiting.take(priority)?;
            let Some(pod) = self.kinds.pods.get(&key).filter(|pod| is_ours(pod)) else {
                state.waiting.remove(&key);
                continue;
            };
            let info = Arc::new(PodInfo::new(&pod));
            let alike = self.alike(&pod);
            let labels = |namespace: &str| self.namespace_labels(namespace);
            let tie = rand::random::<u32>() as usize;
            let decision = decide(&info, &state.cache, alike.as_ref(), &labels, tie);
            match &decision {
                Decision::Node(node) => state.cache.place(node, Arc::clone(&info)),
                Decision::Nowhere { wake, .. } => state.waiting.wait(&key, *wake),
            }
            return Some((info, decision));
        }
    }

    fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let namespace = self.kinds.namespaces.get(&Key::new("", namespace));
        namespace
            .and_then(|namespace| namespace.metadata.labels.clone())
            .unwrap_or_default()
    }

    /// Which pods this one should be spread among.
    fn alike(&self, pod: &Pod) -> Option<Alike> {
        if let Some(owner) = controller_of(&pod.metadata) {
            return Some(Alike::Owner(owner.uid.clone()));
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut wanted = BTreeMap::new();
        for (name, value) in pod.metadata.labels.iter().flatten() {
            for service in self
                .kinds
                .services
                .indexed(index::label(namespace, name, value))
            {
                let all = service.spec.as_ref().and_then(|spec| spec.selector.clone());
                let selects =
                    |all: &BTreeMap<_, _>| selector::contains(all, pod.metadata.labels.as_ref());
                let same_namespace = service.metadata.namespace.as_deref() == Some(namespace);
                wanted.extend(
                    all.filter(|all| same_namespace && selects(all))
                        .into_iter()
                        .flatten(),
                );
            }
        }
        (!wanted.is_empty()).then_some(Alike::Labels(wanted))
    }

    async fn carry_out(&self, info: Arc<PodInfo>, decision: Decision) {
        let key = Key::of(&*info.pod);
        match decision {
            Decision::Node(node) => match self.bind(&info.pod, &node).await {
                Ok(()) => {
                    let message = format!("Successfully assigned {key} to {node}");
                    self.tell(&info.pod, Kind::Normal, "Scheduled", message, "Binding");
                }
                Err(err) => {
                    tracing::debug!(pod = %key, node, err = &err as &dyn std::error::Error, "binding failed");
                    self.state.lock().cache.take_away(info.uid());
                    self.retry(&key).await;
                }
            },
            Decision::Nowhere { message, .. } => self.report(&info.pod, message).await,
        }
    }

    /// Puts a pod back after a pause, unless it got a node in spite of all.
    async fn retry(&self, key: &Key) {
        let pause = self.state.lock().waiting.failed(key);
        sleep(pause).await;
        if let Some(pod) = self.kinds.pods.get(key) {
            let mut state = self.state.lock();
            match is_ours(&pod) {
                true => state.waiting.put_back(key, &pod),
                false => state.waiting.remove(key),
            }
            // A pod that was bound counts where it is.
            if let Some(node) = pod::node_name(&pod).filter(|_| !pod::is_finished(&pod)) {
                state.cache.place(node, Arc::new(PodInfo::new(&pod)));
            }
        }
        self.work.notify_one();
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), BindError> {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let binding = Binding {
            metadata: ObjectMeta {
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let bound = async {
            let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
            let request = Request::new(Pod::url_path(&(), Some(namespace)));
            let request = request.create_subresource("binding", name, &PostParams::default(), body);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request::<Value>(request).await
        };
        match timeout(BIND_DEADLINE, bound).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(err)) => Err(BindError::Refused(err)),
            Err(_) => Err(BindError::Deadline),
        }
    }

    /// Says on the pod why it waits, unless it says so already.
    async fn report(&self, pod: &Pod, message: String) {
        let key = Key::of(pod);
        let current = pod::condition(pod, "PodScheduled");
        let known = current.is_some_and(|current| {
            current.status == "False" && current.message.as_ref() == Some(&message)
        });
        if known {
            return;
        }
        self.tell(
            pod,
            Kind::Warning,
            "FailedScheduling",
            message.clone(),
            "Scheduling",
        );
        let since = current.filter(|current| current.status == "False");
        let since = since.and_then(|current| current.last_transition_time.clone());
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "observedGeneration": pod.metadata.generation,
            "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or_else(|| Time(Timestamp::now())),
        }]}});
        match self.pods.strategic(&key, Part::Status, patch).await {
            Err(err) if !err.is_not_found() => {
                tracing::debug!(pod = %key, err = &err as &dyn std::error::Error, "condition not written");
            }
            _ => {}
        }
    }

    fn tell(
        &self,
        pod: &Pod,
        kind: Kind,
        reason: &'static str,
        message: String,
        action: &'static str,
    ) {
        self.recorder
            .send(reference(pod), kind, reason, message, Some(action));
    }
}

#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("the API server refused the binding")]
    Refused(#[source] kube::Error),
    #[error("no answer within {BIND_DEADLINE:?}")]
    Deadline,
}
