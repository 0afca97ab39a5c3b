//! What to do next for one pod: a pure function of its spec, what the runtime holds, and what was tried before.
//!
//! The answer is a list of steps that may be done now and the moment at which to ask again. After any step, event or
//! change of the pod the worker asks anew; no step depends on which of them happened.
//!
//! Order, as upstream's `computePodActions`: sandbox, init containers one after the other (a sidecar only has to be
//! started), main containers in the order of the spec. A pod that is being ended gets its containers stopped (sidecars
//! after the others), then its sandbox, and is then over.
//!
//! Nothing is made before the pod's volumes are found, and no container started before they hold what they should.
//!
//! Absent: ephemeral containers, resizing, hooks and probes.

mod step;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::backoff::go_duration;
use super::memory::{Memory, Trouble};
use super::volumes::Progress;
use crate::observed::{self, Exit, Observed, State};
use crate::status::{Waiting, is_sidecar, restarts};

pub use step::{Plan, Start, Step, Stop};

/// How long before a restart the status says `CrashLoopBackOff`. Until then it shows how the container ended, as that of
/// upstream's kubelet since it syncs only when the back-off is over (v1.37; recorded scenario pod-crashloop-exit0).
pub const BACK_OFF_SHOWN: SignedDuration = SignedDuration::from_millis(700);
/// How many dead attempts of a container are kept: the last one, for `lastState` and its log.
const KEPT_DEAD: usize = 1;

/// Why a pod is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its deletion was asked for.
    Deleted,
    /// The API no longer knows it.
    Gone,
    /// This node decided that it failed.
    Failed,
}

/// All that a plan depends on.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Why it is being ended, if it is.
    pub end: Option<End>,
    /// What the runtime holds.
    pub observed: &'a Observed,
    /// How far the pod's volumes are.
    pub volumes: Progress,
    /// What was tried before.
    pub memory: &'a Memory,
    /// Whether the recorded phase is a terminal one.
    pub terminal: bool,
    /// When the pod must be ended by `activeDeadlineSeconds`.
    pub deadline: Option<Timestamp>,
    /// The time.
    pub now: Timestamp,
}

/// The next steps for a pod.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let Some(spec) = inputs.pod.spec.as_ref() else {
        return Plan::default();
    };
    if let Some(end) = inputs.end {
        return ending(inputs, spec, end);
    }
    if inputs.terminal || completed(inputs, spec) {
        return settling(inputs, spec);
    }
    if inputs
        .deadline
        .is_some_and(|deadline| deadline <= inputs.now)
    {
        return Plan::now(vec![Step::ExceedDeadline]);
    }
    let mut plan = running(inputs, spec);
    if let Some(deadline) = inputs.deadline {
        plan.wake(deadline);
    }
    plan
}

/// A pod that is being ended: containers, sandbox, record.
fn ending(inputs: &Inputs<'_>, spec: &PodSpec, end: End) -> Plan {
    let stops = stops(inputs, spec);
    if inputs.observed.any_alive() {
        return Plan::now(stops);
    }
    if inputs.observed.sandbox_ready() {
        return Plan::now(vec![Step::StopSandbox]);
    }
    match end {
        End::Deleted => Plan::now(vec![Step::Finish]),
        End::Gone => Plan::now(vec![Step::CleanUp]),
        End::Failed => Plan::default(),
    }
}

/// A pod whose work is done: sidecars and the sandbox go, records stay.
fn settling(inputs: &Inputs<'_>, spec: &PodSpec) -> Plan {
    if inputs.observed.any_alive() {
        return Plan::now(stops(inputs, spec));
    }
    if inputs.observed.sandbox_ready() {
        return Plan::now(vec![Step::StopSandbox]);
    }
    Plan::default()
}

/// Stops for what is alive: main containers at once, sidecars when no main container is left.
fn stops(inputs: &Inputs<'_>, spec: &PodSpec) -> Vec<Step> {
    let grace = inputs
        .memory
        .grace
        .or(spec.termination_grace_period_seconds)
        .unwrap_or(30)
        .max(1);
    let sidecar = |c: &observed::Container| {
        spec.init_containers
            .iter()
            .flatten()
            .any(|i| i.name == c.name && is_sidecar(i))
    };
    let alive: Vec<&observed::Container> = inputs
        .observed
        .containers
        .iter()
        .filter(|c| c.state.is_alive())
        .collect();
    let main_left = alive.iter().any(|c| !sidecar(c));
    let mut steps = Vec::new();
    for container in alive {
        if inputs.memory.stopping.contains(&container.id) || (main_left && sidecar(container)) {
            continue;
        }
        let init = spec
            .init_containers
            .iter()
            .flatten()
            .any(|i| i.name == container.name);
        let message = format!("Stopping container {}", container.name);
        steps.push(Step::Stop(Stop {
            id: container.id.clone(),
            name: container.name.clone(),
            init,
            grace,
            message,
        }));
    }
    steps
}

/// Whether nothing of the pod will be started again.
fn completed(inputs: &Inputs<'_>, spec: &PodSpec) -> bool {
    let exit = |c: &Container| inputs.observed.latest(&c.name)?.state.exit();
    let failed = |init: &Container| {
        exit(init).is_some_and(|end| end.code != 0 && !restarts(spec, init, true, Some(end)))
    };
    let mut inits = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| !is_sidecar(c));
    if inits.any(failed) && !any_main_started(inputs, spec) {
        return true;
    }
    let over = |c: &Container| exit(c).is_some_and(|end| !restarts(spec, c, false, Some(end)));
    spec.containers
        .iter()
        .all(|c| over(c) && !redefined(inputs, c))
}

/// A pod that should run.
fn running(inputs: &Inputs<'_>, spec: &PodSpec) -> Plan {
    if !inputs.observed.sandbox_ready() {
        // Of a pod that misses a volume nothing is made.
        if inputs.volumes == Progress::Pending {
            return Plan::default();
        }
        return match &inputs.memory.sandbox_trouble {
            Some(retry) if retry.at > inputs.now => Plan {
                steps: vec![],
                wake_at: Some(retry.at),
            },
            _ => Plan::now(vec![Step::CreateSandbox]),
        };
    }
    let mut plan = Plan {
        steps: obsolete(inputs),
        wake_at: None,
    };
    let mut initialized = true;
    if !any_main_started(inputs, spec) {
        for init in spec.init_containers.iter().flatten() {
            if !init_done(inputs, init) {
                advance(inputs, spec, init, true, &mut plan);
                initialized = false;
                break;
            }
        }
    }
    if initialized {
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|c| is_sidecar(c));
        for (container, init) in sidecars
            .map(|c| (c, true))
            .chain(spec.containers.iter().map(|c| (c, false)))
        {
            advance(inputs, spec, container, init, &mut plan);
        }
    }
    plan
}

fn any_main_started(inputs: &Inputs<'_>, spec: &PodSpec) -> bool {
    spec.containers
        .iter()
        .any(|c| inputs.observed.latest(&c.name).is_some())
}

fn init_done(inputs: &Inputs<'_>, init: &Container) -> bool {
    match inputs.observed.latest(&init.name).map(|c| &c.state) {
        Some(State::Running { .. }) => is_sidecar(init),
        Some(State::Exited(exit)) => exit.code == 0 && !is_sidecar(init),
        Some(State::Created) | None => false,
    }
}

/// Adds what one container needs.
fn advance(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    container: &Container,
    init: bool,
    plan: &mut Plan,
) {
    let latest = inputs.observed.latest(&container.name);
    let start = |attempt, after| Start {
        name: container.name.clone(),
        init,
        attempt,
        after,
    };
    match latest.map(|c| (&c.state, c.attempt)) {
        None => start_or_wait(
            inputs,
            start(lost_attempt(inputs, &container.name), None),
            plan,
        ),
        // Made by an agent that died before it could start it: made anew, so that nothing half done is used.
        Some((State::Created, attempt)) => {
            if let Some(half_done) = latest {
                plan.steps.push(Step::Remove {
                    id: half_done.id.clone(),
                });
            }
            start_or_wait(inputs, start(attempt, None), plan);
        }
        Some((State::Running { .. }, _)) => {
            if let Some(stop) = redefinition(inputs, spec, container, init) {
                plan.steps.push(Step::Stop(stop));
            }
        }
        Some((State::Exited(exit), attempt)) => {
            let next = start(attempt + 1, Some(exit.finished_at));
            if redefined(inputs, container) {
                start_or_wait(
                    inputs,
                    Start {
                        after: None,
                        ..next
                    },
                    plan,
                );
            } else if restarts(spec, container, init, Some(exit)) {
                restart(inputs, next, exit, plan);
            }
        }
    }
}

/// The attempt of a container that the runtime does not know: 0, or one more than the API remembers.
fn lost_attempt(inputs: &Inputs<'_>, name: &str) -> u32 {
    let status = inputs.pod.status.as_ref();
    let statuses = status
        .and_then(|s| s.container_statuses.as_deref())
        .unwrap_or_default();
    let init = status
        .and_then(|s| s.init_container_statuses.as_deref())
        .unwrap_or_default();
    let Some(old) = statuses.iter().chain(init).find(|s| s.name == name) else {
        return 0;
    };
    let ran = old
        .state
        .as_ref()
        .is_some_and(|s| s.running.is_some() || s.terminated.is_some());
    u32::try_from(old.restart_count).unwrap_or(0) + u32::from(ran)
}

fn start_or_wait(inputs: &Inputs<'_>, start: Start, plan: &mut Plan) {
    if inputs.volumes != Progress::Ready {
        return;
    }
    match inputs.memory.troubles.get(&start.name) {
        Some(trouble) if trouble.retry_at > inputs.now => plan.wake(trouble.retry_at),
        _ => plan.steps.push(Step::Start(start)),
    }
}

/// A restart after an end, at once or when the back-off is over.
fn restart(inputs: &Inputs<'_>, start: Start, exit: &Exit, plan: &mut Plan) {
    let name = start.name.clone();
    let Some(until) = inputs
        .memory
        .restarts
        .until(&name, exit.finished_at)
        .filter(|until| *until > inputs.now)
    else {
        let trouble = inputs.memory.troubles.get(&name);
        // A trouble of before this end, or the back-off that is over now, holds nothing up.
        match trouble.filter(|t| {
            t.retry_at > inputs.now
                && t.waiting.reason != CRASH_LOOP
                && t.waiting.reason != RUN_ERROR
        }) {
            Some(trouble) => plan.wake(trouble.retry_at),
            None if inputs.volumes == Progress::Ready => plan.steps.push(Step::Start(start)),
            None => {}
        }
        return;
    };
    if inputs.memory.announced.get(&name) != Some(&exit.finished_at) {
        let ended = exit.finished_at;
        plan.steps.push(Step::AnnounceBackOff { name, ended });
        return;
    }
    let shown = inputs
        .memory
        .troubles
        .get(&name)
        .is_some_and(|t| t.waiting.reason == CRASH_LOOP && t.retry_at == until);
    let show_at = until - BACK_OFF_SHOWN;
    if shown {
        plan.wake(until);
    } else if show_at > inputs.now {
        plan.wake(show_at);
    } else {
        let delay = go_duration(inputs.memory.restarts.delay(&name));
        let pod = pod_text(inputs.pod);
        let message = format!("back-off {delay} restarting failed container={name} pod={pod}");
        let waiting = Waiting {
            reason: CRASH_LOOP.to_owned(),
            message,
        };
        plan.steps.push(Step::BackOff {
            name,
            trouble: Trouble {
                waiting,
                retry_at: until,
            },
        });
    }
}

/// `waiting.reason` between restarts.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";
/// `waiting.reason` of a container whose process could not be started.
pub const RUN_ERROR: &str = "RunContainerError";

/// A pod as upstream's texts name it: `name_namespace(uid)`.
pub fn pod_text(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    format!(
        "{}_{}({})",
        part(&meta.name),
        part(&meta.namespace),
        part(&meta.uid)
    )
}

/// Whether the spec names another image than the newest attempt was made from.
fn redefined(inputs: &Inputs<'_>, container: &Container) -> bool {
    inputs
        .observed
        .latest(&container.name)
        .is_some_and(|c| Some(&c.definition) != container.image.as_ref())
}

fn redefinition(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    container: &Container,
    init: bool,
) -> Option<Stop> {
    let current = inputs
        .observed
        .latest(&container.name)
        .filter(|_| redefined(inputs, container))?;
    if inputs.memory.stopping.contains(&current.id) {
        return None;
    }
    Some(Stop {
        id: current.id.clone(),
        name: container.name.clone(),
        init,
        grace: spec.termination_grace_period_seconds.unwrap_or(30).max(1),
        message: format!(
            "Container {} definition changed, will be restarted",
            container.name
        ),
    })
}

/// Dead attempts beyond the ones that the status and `kubectl logs --previous` refer to.
fn obsolete(inputs: &Inputs<'_>) -> Vec<Step> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    for container in &inputs.observed.containers {
        let newer = seen.entry(&container.name).or_default();
        if *newer > KEPT_DEAD && !container.state.is_alive() {
            steps.push(Step::Remove {
                id: container.id.clone(),
            });
        }
        *newer += 1;
    }
    steps
}

#[cfg(test)]
mod tests;
