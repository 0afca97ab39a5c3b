//! The pods of this node: a watch of the API that gives each pod a worker, and events of the runtime that wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use karve_runtime::Event;
use karve_watch::{Notice, Outages, events, notices};
use kube::Api;
use kube::runtime::watcher;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::network::host_ports::{self, HostPorts};
use crate::pod::worker::{self, Assignment};
use crate::pod::{Node, paths, services};
use crate::status::Verdict;

/// Pods that are running on the node now, by UID; shared with the kubelet API.
pub type Pods = parking_lot::RwLock<BTreeMap<String, Arc<Pod>>>;

struct Handle {
    assignment: watch::Sender<Assignment>,
    exits: Arc<Notify>,
}

/// Runs the pods until shutdown, which leaves them running.
pub async fn run(
    node: Arc<Node>,
    pods: Arc<Pods>,
    host_ports: watch::Sender<Option<HostPorts>>,
    outages: Outages,
    shutdown: CancellationToken,
) {
    let api: Api<Pod> = Api::all(node.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));
    let stream = events(api, config, &outages);
    futures::pin_mut!(stream);
    let mut runtime = node.runtime.subscribe();
    let mut assigned = Assigned {
        node,
        pods,
        host_ports,
        handles: BTreeMap::new(),
        workers: JoinSet::new(),
        sweeping: JoinSet::new(),
        listed: None,
        refused: BTreeSet::new(),
        swept: false,
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(event) = stream.next() => assigned.on_pod(event).await,
            event = runtime.recv() => assigned.on_runtime(event),
            Some(ended) = assigned.workers.join_next() => assigned.on_end(ended),
        }
        assigned.tell_host_ports();
    }
}

struct Assigned {
    node: Arc<Node>,
    pods: Arc<Pods>,
    /// The ports of the node that lead to pods; none before the first list.
    host_ports: watch::Sender<Option<HostPorts>>,
    handles: BTreeMap<String, Handle>,
    workers: JoinSet<String>,
    /// Removals of what was found at the start.
    sweeping: JoinSet<()>,
    /// UIDs seen in the list that is being read.
    listed: Option<BTreeSet<String>>,
    /// Pods that were refused: they use nothing.
    refused: BTreeSet<String>,
    /// Whether what an earlier agent left behind was looked at.
    swept: bool,
}

impl Assigned {
    async fn on_pod(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed = Some(BTreeSet::new()),
            watcher::Event::InitApply(pod) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(uid(&pod).to_owned());
                }
                self.apply(pod);
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<String> = self
                    .handles
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                for uid in gone {
                    self.forget(&uid);
                }
                if !self.swept {
                    self.swept = true;
                    self.sweep(&listed).await;
                }
            }
            watcher::Event::Apply(pod) => self.apply(pod),
            watcher::Event::Delete(pod) => {
                self.forget(uid(&pod));
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        let uid = uid(&pod).to_owned();
        let assignment = Assignment {
            pod: Arc::new(pod),
            gone: false,
        };
        if let Some(handle) = self.handles.get(&uid) {
            self.pods.write().insert(uid, assignment.pod.clone());
            handle.assignment.send_replace(assignment);
            return;
        }
        let refusal = self.refusal(&assignment.pod);
        if refusal.is_some() {
            self.refused.insert(uid.clone());
        }
        self.pods
            .write()
            .insert(uid.clone(), assignment.pod.clone());
        tracing::info!(
            pod = uid,
            name = assignment.pod.metadata.name,
            "pod assigned"
        );
        let (sender, receiver) = watch::channel(assignment);
        let exits = Arc::new(Notify::new());
        self.handles.insert(
            uid.clone(),
            Handle {
                assignment: sender,
                exits: exits.clone(),
            },
        );
        let node = self.node.clone();
        self.workers.spawn(async move {
            worker::run(node, receiver, exits, refusal).await;
            uid
        });
    }

    /// Why a pod that is new here must not run. One that was started before an agent's restart was admitted then.
    fn refusal(&self, pod: &Pod) -> Option<Verdict> {
        let started = pod.status.as_ref().is_some_and(|s| s.start_time.is_some());
        if started || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let own = self.node.own.borrow().clone();
        let labels = own
            .and_then(|own| own.metadata.labels.clone())
            .unwrap_or_default();
        let node = admission::Node {
            name: &self.node.name,
            labels: &labels,
            allocatable: self.node.allocatable,
        };
        let pods = self.pods.read();
        let others = pods.iter().filter(|(uid, _)| !self.refused.contains(*uid));
        admission::refusal(pod, others.map(|(_, pod)| pod.as_ref()), node)
    }

    /// Tells which ports of the node lead to pods, once all pods are known.
    fn tell_host_ports(&self) {
        if !self.swept {
            return;
        }
        let ports = host_ports::plan(self.pods.read().values().map(Arc::as_ref));
        self.host_ports.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&ports);
            if changed {
                *known = Some(ports);
            }
            changed
        });
    }

    fn forget(&mut self, uid: &str) {
        if let Some(handle) = self.handles.get(uid) {
            handle
                .assignment
                .send_modify(|assignment| assignment.gone = true);
        }
    }

    /// Removes what the API no longer has: pods that were deleted while no agent ran, and their files.
    async fn sweep(&mut self, listed: &BTreeSet<String>) {
        let found = match self.node.runtime.list().await {
            Ok(found) => found,
            Err(err) => {
                tracing::warn!(
                    err = &err as &dyn std::error::Error,
                    "pods of the runtime not listed"
                );
                return;
            }
        };
        let mut removals = JoinSet::new();
        for uid in found
            .into_iter()
            .map(|pod| pod.sandbox.config.uid)
            .filter(|uid| !listed.contains(uid))
        {
            tracing::info!(pod = uid, "removing a pod that the API no longer has");
            let runtime = self.node.runtime.clone();
            removals.spawn(async move {
                if let Err(err) = runtime.remove_sandbox(&uid).await {
                    tracing::warn!(
                        pod = uid,
                        err = &err as &dyn std::error::Error,
                        "sandbox not removed"
                    );
                }
            });
        }
        let (node, listed) = (self.node.clone(), listed.clone());
        self.sweeping.spawn(async move {
            while removals.join_next().await.is_some() {}
            let swept =
                tokio::task::spawn_blocking(move || paths::sweep(&node.data_dir, &listed)).await;
            if let Err(err) = swept {
                tracing::error!(
                    err = &err as &dyn std::error::Error,
                    "files of old pods not removed"
                );
            }
        });
    }

    fn on_runtime(&mut self, event: Result<Event, RecvError>) {
        match event {
            Ok(event) => {
                if let Some(handle) = self.handles.get(&event.pod_uid) {
                    handle.exits.notify_one();
                }
            }
            // Some were missed: everybody looks.
            Err(RecvError::Lagged(_)) => self
                .handles
                .values()
                .for_each(|handle| handle.exits.notify_one()),
            Err(RecvError::Closed) => tracing::error!("runtime closed its events"),
        }
    }

    fn on_end(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.handles.remove(&uid);
                self.pods.write().remove(&uid);
                self.refused.remove(&uid);
                tracing::info!(pod = uid, "pod gone");
            }
            Err(err) => tracing::error!(err = &err as &dyn std::error::Error, "pod worker failed"),
        }
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Keeps the Services that containers are told of, until shutdown.
pub async fn watch_services(node: Arc<Node>, outages: Outages, shutdown: CancellationToken) {
    let api: Api<Service> = Api::all(node.client.clone());
    let stream = notices(api, watcher::Config::default(), &outages, services::brief);
    futures::pin_mut!(stream);
    loop {
        let notice = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(notice) = stream.next() => notice,
        };
        let known = &node.services.known;
        match notice {
            Notice::Changed(name, Some(brief)) => drop(known.write().insert(name, brief)),
            Notice::Changed(name, None) => drop(known.write().remove(&name)),
            Notice::Complete => drop(node.services.synced.send_replace(true)),
        }
    }
}
