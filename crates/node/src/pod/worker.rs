//! The loop of one pod: look, plan, write the status, do a step, look again.
//!
//! It is woken by changes of the pod, by events of the runtime and by the clock, and asks for nothing in between. It
//! holds nothing that a new agent needs: after a restart of the agent the same loop finds what runs and leaves it be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::images::PullFailure;
use super::memory::{Memory, Retry};
use super::plan::{self, End, Plan, Start, Step, Stop};
use super::start::{self, Started};
use super::volumes::{Keeper, Progress};
use super::writer::{self, Wanted};
use super::{Node, deadline, paths, runtime, sandbox};
use crate::events::About;
use crate::observed::Observed;
use crate::status::{self, Verdict, Waiting};

/// The pod as the watch shows it.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The newest version of the pod.
    pub pod: Arc<Pod>,
    /// True once the API no longer has it.
    pub gone: bool,
}

/// How long until the runtime is asked again after it failed to answer.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);

/// Runs the pod until nothing of it is left.
///
/// A pod with a `refusal` is only told of it.
pub async fn run(
    node: Arc<Node>,
    assignment: watch::Receiver<Assignment>,
    exits: Arc<Notify>,
    refusal: Option<Verdict>,
) {
    let pod = assignment.borrow().pod.clone();
    let (recorded, receiver) = watch::channel(pod.clone());
    let wanted = watch::Sender::new(Wanted::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(writer::run(
        node.client.clone(),
        wanted.subscribe(),
        receiver,
    ));
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let worker = Worker {
        node,
        assignment,
        exits,
        uid,
        previous: pod.status.clone().unwrap_or_default(),
        memory: Memory::default(),
        pull_failures: BTreeMap::new(),
        verdict: None,
        refusal,
        refused: false,
        ending: None,
        recorded,
        wanted,
        volumes: None,
        stops: JoinSet::new(),
    };
    worker.run().await;
}

struct Worker {
    node: Arc<Node>,
    assignment: watch::Receiver<Assignment>,
    exits: Arc<Notify>,
    uid: String,
    previous: PodStatus,
    memory: Memory,
    pull_failures: BTreeMap<String, PullFailure>,
    verdict: Option<Verdict>,
    refusal: Option<Verdict>,
    refused: bool,
    /// Which end, of which generation, the status has told of.
    ending: Option<(End, Option<i64>)>,
    recorded: watch::Sender<Arc<Pod>>,
    wanted: watch::Sender<Wanted>,
    /// Keeps the pod's volumes while it runs.
    volumes: Option<Keeper>,
    stops: JoinSet<(String, Result<(), karve_runtime::RuntimeError>)>,
}

/// Whether the loop goes on at once, waits, or is over.
enum Next {
    Again,
    Wait(Option<Timestamp>),
    Over,
}

impl Worker {
    async fn run(mut self) {
        loop {
            match self.turn().await {
                Next::Again => {}
                Next::Wait(until) => self.wait(until).await,
                Next::Over => return,
            }
        }
    }

    async fn turn(&mut self) -> Next {
        let Assignment { pod, gone } = self.assignment.borrow_and_update().clone();
        self.recorded.send_replace(pod.clone());
        let Some(spec) = pod.spec.clone() else {
            return Next::Wait(None);
        };
        let observed = match self.node.runtime.pod_status(&self.uid).await {
            Ok(status) => runtime::observed(status.as_ref(), &pod, &self.node.data_dir),
            Err(err) => {
                tracing::warn!(
                    pod = self.uid,
                    err = &err as &dyn std::error::Error,
                    "runtime does not answer"
                );
                tokio::time::sleep(RUNTIME_RETRY).await;
                return Next::Again;
            }
        };
        self.tell_refusal(&pod);
        let end = self.end(&pod, gone);
        if end.is_some() && self.memory.grace.is_none() {
            self.memory.grace = pod
                .metadata
                .deletion_grace_period_seconds
                .or(spec.termination_grace_period_seconds);
        }
        let now = Timestamp::now();
        // Of a refused pod, or one that was over before this agent began, there is nothing more to tell; of one that is
        // being ended nothing until all of it is, as upstream: its end is one change of the status.
        let ending = end.map(|end| (end, pod.metadata.generation));
        let alive = observed.any_alive() || observed.sandbox_ready();
        let told = self.refused
            || (self.is_over() && observed == Observed::default())
            || (ending.is_some() && alive && self.ending == ending);
        if !told {
            self.ending = ending;
            self.publish(&pod, &observed, end, now);
        }
        let volumes = self.volumes(end);
        let Plan { steps, wake_at } = plan::plan(&plan::Inputs {
            pod: &pod,
            end,
            observed: &observed,
            volumes,
            memory: &self.memory,
            terminal: self.is_over(),
            deadline: deadline::deadline(&pod, self.previous.start_time.as_ref().map(|t| t.0)),
            now,
        });
        let mut next = Next::Wait(wake_at);
        for step in steps {
            match self.perform(&pod, &spec, &observed, step).await {
                Performed::Changed => next = Next::Again,
                Performed::Waiting => {}
                Performed::Over => return Next::Over,
            }
            // A pod that changed is planned anew before anything else is done for it.
            if self.assignment.has_changed().unwrap_or(true) {
                return Next::Again;
            }
        }
        next
    }

    fn is_over(&self) -> bool {
        let phase = self.previous.phase.as_deref();
        phase.is_some_and(status::is_terminal)
    }

    /// How far the pod's volumes are, which are kept from the first plan until the pod is over.
    fn volumes(&mut self, end: Option<End>) -> Progress {
        if self.refused || self.is_over() {
            self.volumes = None;
        } else if self.volumes.is_none() && end.is_none() {
            let dir = paths::pod_dir(&self.node.data_dir, &self.uid);
            self.volumes = Some(Keeper::start(
                self.node.clone(),
                self.assignment.clone(),
                dir,
            ));
        }
        self.volumes
            .as_mut()
            .map_or(Progress::Pending, Keeper::progress)
    }

    /// Tells once why the pod may not run here.
    fn tell_refusal(&mut self, pod: &Pod) {
        let Some(refusal) = self.refusal.take() else {
            return;
        };
        let (about, message) = (About::pod(pod), refusal.message.clone());
        self.node.events.warning(about, &refusal.reason, message);
        let status = status::rejected(pod, &self.previous, &refusal, Timestamp::now());
        self.hand_over(status);
        self.refused = true;
    }

    fn end(&self, pod: &Pod, gone: bool) -> Option<End> {
        if gone {
            Some(End::Gone)
        } else if pod.metadata.deletion_timestamp.is_some() {
            Some(End::Deleted)
        } else {
            self.verdict.as_ref().map(|_| End::Failed)
        }
    }

    /// Computes the status and hands it to the writer.
    fn publish(&mut self, pod: &Pod, observed: &Observed, end: Option<End>, now: Timestamp) {
        let waiting: BTreeMap<String, Waiting> = self
            .memory
            .troubles
            .iter()
            .map(|(name, t)| (name.clone(), t.waiting.clone()))
            .collect();
        let status = status::status(&status::Inputs {
            pod,
            previous: &self.previous,
            observed,
            waiting: &waiting,
            verdict: self.verdict.as_ref(),
            ended: end.is_some(),
            host_ips: &self.node.host_ips,
            now,
        });
        self.hand_over(status);
    }

    fn hand_over(&mut self, status: PodStatus) {
        self.previous = status.clone();
        self.node
            .statuses
            .write()
            .insert(self.uid.clone(), status.clone());
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.status.as_ref() != Some(&status);
            wanted.status = Some(status);
            changed
        });
    }

    async fn perform(
        &mut self,
        pod: &Pod,
        spec: &PodSpec,
        observed: &Observed,
        step: Step,
    ) -> Performed {
        match step {
            Step::CreateSandbox => self.create_sandbox(pod, spec).await,
            Step::Start(start) => self.start(pod, spec, observed, start).await,
            Step::AnnounceBackOff { name, ended } => {
                let init = spec
                    .init_containers
                    .iter()
                    .flatten()
                    .any(|c| c.name == name);
                let text = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    plan::pod_text(pod)
                );
                let about = About::container(pod, &name, init);
                self.node.events.warning(about, "BackOff", text);
                self.memory.announced.insert(name, ended);
                Performed::Changed
            }
            Step::BackOff { name, trouble } => {
                self.memory.troubles.insert(name, trouble);
                Performed::Changed
            }
            Step::Stop(stop) => self.stop(pod, stop),
            Step::ExceedDeadline => {
                let verdict = deadline::exceeded();
                self.node
                    .events
                    .normal(About::pod(pod), &verdict.reason, verdict.message.clone());
                self.verdict = Some(verdict);
                Performed::Changed
            }
            Step::StopSandbox => match self.node.runtime.stop_sandbox(&self.uid).await {
                Ok(()) => Performed::Changed,
                Err(err) => {
                    tracing::warn!(
                        pod = self.uid,
                        err = &err as &dyn std::error::Error,
                        "sandbox not stopped"
                    );
                    tokio::time::sleep(RUNTIME_RETRY).await;
                    Performed::Changed
                }
            },
            Step::Remove { id } => {
                if let Err(err) = self.node.runtime.remove_container(&id).await {
                    tracing::warn!(
                        pod = self.uid,
                        container = id,
                        err = &err as &dyn std::error::Error,
                        "container not removed"
                    );
                    tokio::time::sleep(RUNTIME_RETRY).await;
                }
                Performed::Changed
            }
            Step::Finish => {
                self.wanted
                    .send_if_modified(|wanted| !std::mem::replace(&mut wanted.remove, true));
                Performed::Waiting
            }
            Step::CleanUp => self.clean_up(pod).await,
        }
    }

    async fn create_sandbox(&mut self, pod: &Pod, spec: &PodSpec) -> Performed {
        let node = self.node.clone();
        match sandbox::create(&node, pod, spec, superseded(&self.assignment)).await {
            Ok(()) => {
                self.memory.sandbox_trouble = Some(Retry::after(None, Timestamp::now()));
                Performed::Changed
            }
            Err(sandbox::Error::Superseded) => {
                // Should it turn out not to be ready, it is not tried again at once.
                self.memory.sandbox_trouble = Some(Retry::after(None, Timestamp::now()));
                Performed::Changed
            }
            Err(err) => {
                let retry = Retry::after(self.memory.sandbox_trouble.as_ref(), Timestamp::now());
                let at = if err.is_final() {
                    Timestamp::MAX
                } else {
                    retry.at
                };
                self.memory.sandbox_trouble = Some(Retry { at, ..retry });
                Performed::Changed
            }
        }
    }

    async fn start(
        &mut self,
        pod: &Pod,
        spec: &PodSpec,
        observed: &Observed,
        start: Start,
    ) -> Performed {
        if let Some(exit) = start.after {
            self.memory
                .restarts
                .next(&start.name, exit, Timestamp::now());
        }
        let ctx = start::Context {
            node: &self.node.clone(),
            pod,
            spec,
            pod_ips: self.pod_ips(spec, observed),
            pulls: &self.memory.pulls.clone(),
            pull_failures: &self.pull_failures.clone(),
        };
        let started = start::start(&ctx, &start, superseded(&self.assignment)).await;
        let image = || {
            let mut all = spec
                .containers
                .iter()
                .chain(spec.init_containers.iter().flatten());
            all.find(|c| c.name == start.name)
                .and_then(|c| c.image.clone())
                .unwrap_or_default()
        };
        match started {
            Started::Superseded => {}
            Started::Yes => {
                self.memory.troubles.remove(&start.name);
            }
            Started::No(trouble) => {
                self.memory.troubles.insert(start.name.clone(), trouble);
            }
            Started::NotPulled(trouble) => {
                let at = Timestamp::now();
                self.memory.pulls.next(&image(), at, at);
                let error = trouble.waiting.message.clone();
                let failure = PullFailure {
                    at,
                    error,
                    announced: false,
                };
                self.pull_failures.insert(image(), failure);
                self.memory.troubles.insert(start.name.clone(), trouble);
            }
            Started::NotPulledYet(trouble) => {
                if let Some(failure) = self.pull_failures.get_mut(&image()) {
                    failure.announced = true;
                }
                self.memory.troubles.insert(start.name.clone(), trouble);
            }
        }
        Performed::Changed
    }

    fn pod_ips(&self, spec: &PodSpec, observed: &Observed) -> Vec<IpAddr> {
        match spec.host_network {
            Some(true) => self.node.host_ips.clone(),
            _ => observed
                .sandbox
                .as_ref()
                .and_then(|s| s.ip)
                .into_iter()
                .collect(),
        }
    }

    fn stop(&mut self, pod: &Pod, stop: Stop) -> Performed {
        self.node.events.normal(
            About::container(pod, &stop.name, stop.init),
            "Killing",
            stop.message,
        );
        self.memory.stopping.insert(stop.id.clone());
        let runtime = self.node.runtime.clone();
        let grace = Duration::from_secs(u64::try_from(stop.grace).unwrap_or(1));
        self.stops.spawn(async move {
            let result = runtime.stop_container(&stop.id, grace).await;
            (stop.id, result)
        });
        Performed::Waiting
    }

    async fn clean_up(&mut self, pod: &Pod) -> Performed {
        if let Err(err) = self.node.runtime.remove_sandbox(&self.uid).await {
            tracing::warn!(
                pod = self.uid,
                err = &err as &dyn std::error::Error,
                "sandbox not removed"
            );
            tokio::time::sleep(RUNTIME_RETRY).await;
            return Performed::Changed;
        }
        for dir in [
            paths::pod_dir(&self.node.data_dir, &self.uid),
            paths::logs(&self.node.data_dir, pod),
        ] {
            match tokio::fs::remove_dir_all(&dir).await {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(pod = self.uid, dir = %dir.display(), err = &err as &dyn std::error::Error, "directory not removed");
                }
                _ => {}
            }
        }
        self.node.statuses.write().remove(&self.uid);
        Performed::Over
    }

    /// Waits for anything that may change the plan.
    async fn wait(&mut self, until: Option<Timestamp>) {
        let pause = until.filter(|at| *at != Timestamp::MAX).map(|at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
        });
        tokio::select! {
            changed = self.assignment.changed() => if changed.is_err() {
                // The agent stops; the pod lives on.
                std::future::pending::<()>().await;
            },
            () = self.exits.notified() => {}
            () = advanced(&mut self.volumes) => {}
            Some(stopped) = self.stops.join_next() => self.stopped(stopped).await,
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }

    async fn stopped(
        &mut self,
        stopped: Result<(String, Result<(), karve_runtime::RuntimeError>), tokio::task::JoinError>,
    ) {
        let Ok((id, result)) = stopped else { return };
        self.memory.stopping.remove(&id);
        if let Err(err) = result {
            tracing::warn!(
                pod = self.uid,
                container = id,
                err = &err as &dyn std::error::Error,
                "container not stopped"
            );
            tokio::time::sleep(RUNTIME_RETRY).await;
        }
    }
}

/// Waits for progress with the volumes.
async fn advanced(volumes: &mut Option<Keeper>) {
    match volumes {
        Some(keeper) => keeper.advanced().await,
        None => std::future::pending().await,
    }
}

/// Ends once the pod is to be ended: what may take long (a pull, waiting for addresses) need not be waited for then.
fn superseded(assignment: &watch::Receiver<Assignment>) -> impl Future<Output = ()> + use<> {
    let mut assignment = assignment.clone();
    async move {
        let ending = |a: &Assignment| a.gone || a.pod.metadata.deletion_timestamp.is_some();
        if assignment.wait_for(ending).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a step led to.
enum Performed {
    /// Something is different: look again.
    Changed,
    /// Its end will be told by an event.
    Waiting,
    /// Nothing of the pod is left.
    Over,
}
