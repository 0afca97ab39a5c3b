//! The status of each container: the newest attempt, the one before it as `lastState`, and why it waits.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, PodSpec, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Inputs, Waiting, resources};
use crate::observed::{self, Exit, State};

/// What the container ID starts with.
const RUNTIME: &str = "karve";
/// Exit code of a container that vanished.
const LOST_CODE: i32 = 137;
const LOST_REASON: &str = "ContainerStatusUnknown";
const VANISHED: &str = "The container could not be located when the pod was deleted.  The container used to be Running";
const GIVEN_UP: &str = "The container could not be located when the pod was terminated";

/// An init container that runs beside the others (KEP-753).
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Statuses of the init and of the main containers, in the order of the spec.
pub(super) fn statuses(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
) -> (Vec<ContainerStatus>, Vec<ContainerStatus>) {
    let has_init = spec.init_containers.as_ref().is_some_and(|c| !c.is_empty());
    let idle = if has_init {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    let old_init = inputs
        .previous
        .init_container_statuses
        .as_deref()
        .unwrap_or_default();
    let old_main = inputs
        .previous
        .container_statuses
        .as_deref()
        .unwrap_or_default();
    let init = spec.init_containers.iter().flatten();
    let init = init
        .map(|c| one(inputs, spec, c, idle, old_init, true))
        .collect();
    let main = spec
        .containers
        .iter()
        .map(|c| one(inputs, spec, c, idle, old_main, false))
        .collect();
    (init, main)
}

fn one(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    container: &Container,
    idle: &str,
    old: &[ContainerStatus],
    init: bool,
) -> ContainerStatus {
    let old = old.iter().find(|s| s.name == container.name);
    let mut attempts = inputs.observed.attempts(&container.name);
    let mut status = match attempts.next() {
        Some(latest) => of_attempt(latest, container),
        None => unseen(inputs, container, idle, old),
    };
    match attempts.next() {
        Some(before) => status.last_state = Some(state(before)),
        // Its record may be gone; what the API says of the one before stays true.
        None if status.last_state.is_none() => status.last_state = Some(inherited(old, &status)),
        None => {}
    }
    let dead = inputs
        .observed
        .latest(&container.name)
        .and_then(|c| c.state.exit());
    let kept = !inputs.ended && inputs.pod.metadata.deletion_timestamp.is_none();
    let waiting = inputs.waiting.get(&container.name);
    if let Some(waiting) = waiting.filter(|_| kept && restarts(spec, container, init, dead)) {
        wait(&mut status, waiting);
    }
    if init && is_sidecar(container) && given_up(inputs, spec, dead) {
        status.last_state = status.state.take();
        status.state = Some(ContainerState {
            terminated: Some(lost(GIVEN_UP)),
            ..ContainerState::default()
        });
    }
    finish(&mut status, container, init);
    status
}

/// Whether a dead sidecar waited for its restart when the rest of the pod was done (upstream calls it lost then).
fn given_up(inputs: &Inputs<'_>, spec: &PodSpec, dead: Option<&Exit>) -> bool {
    let Some(dead) = dead else { return false };
    let ends = spec.containers.iter().map(|c| {
        let exit = inputs.observed.latest(&c.name)?.state.exit()?;
        (!restarts(spec, c, false, Some(exit))).then_some(exit.finished_at)
    });
    let last: Option<Vec<Timestamp>> = ends.collect();
    last.and_then(|ends| ends.into_iter().max())
        .is_some_and(|last| dead.finished_at < last)
}

fn lost(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        reason: Some(LOST_REASON.to_owned()),
        message: Some(message.to_owned()),
        exit_code: LOST_CODE,
        ..ContainerStateTerminated::default()
    }
}

/// The `lastState` of a container of which the runtime knows one attempt only.
fn inherited(old: Option<&ContainerStatus>, status: &ContainerStatus) -> ContainerState {
    let Some(old) = old.filter(|o| o.restart_count == status.restart_count) else {
        return ContainerState::default();
    };
    if status.restart_count == 0 {
        return ContainerState::default();
    }
    old.last_state.clone().unwrap_or_default()
}

fn of_attempt(attempt: &observed::Container, container: &Container) -> ContainerStatus {
    ContainerStatus {
        name: container.name.clone(),
        image: attempt.image.clone(),
        image_id: attempt.image_id.clone(),
        container_id: Some(id(attempt)),
        restart_count: i32::try_from(attempt.attempt).unwrap_or(i32::MAX),
        state: Some(state(attempt)),
        allocated_resources: resources::requests(container),
        resources: Some(resources::effective(container)),
        ..ContainerStatus::default()
    }
}

/// A container of which the runtime knows nothing: not started yet, or lost.
fn unseen(
    inputs: &Inputs<'_>,
    container: &Container,
    idle: &str,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting_state(idle, "")),
        ..ContainerStatus::default()
    };
    let Some(old) = old else { return status };
    let old_state = old.state.clone().unwrap_or_default();
    if old_state.terminated.is_some() {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old_state.running.is_none() {
        return status;
    }
    let lost = lost(VANISHED);
    if inputs.ended {
        status.state = Some(ContainerState {
            terminated: Some(lost),
            ..ContainerState::default()
        });
        status.image = old.image.clone();
        status.image_id = old.image_id.clone();
        status.container_id = old.container_id.clone();
    } else {
        status.last_state = Some(ContainerState {
            terminated: Some(lost),
            ..ContainerState::default()
        });
        status.restart_count += 1;
    }
    status
}

/// Whether the container would be started again if nothing spoke against it.
pub(crate) fn restarts(
    spec: &PodSpec,
    container: &Container,
    init: bool,
    dead: Option<&Exit>,
) -> bool {
    let Some(exit) = dead else { return true };
    if init && is_sidecar(container) {
        return true;
    }
    match spec.restart_policy.as_deref() {
        Some("Never") => false,
        Some("OnFailure") => exit.code != 0,
        _ if init => exit.code != 0,
        _ => true,
    }
}

/// Shows why the container waits; an end that it had moves to `lastState`.
fn wait(status: &mut ContainerStatus, waiting: &Waiting) {
    let current = status.state.take().unwrap_or_default();
    if current.running.is_some() {
        status.state = Some(current);
        return;
    }
    if current.terminated.is_some() {
        status.last_state = Some(current);
    }
    status.state = Some(waiting_state(&waiting.reason, &waiting.message));
}

fn waiting_state(reason: &str, message: &str) -> ContainerState {
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let waiting = ContainerStateWaiting {
        reason: text(reason),
        message: text(message),
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

/// Readiness and mounts. Without probes a running container has started and is ready.
fn finish(status: &mut ContainerStatus, container: &Container, init: bool) {
    let state = status.state.clone().unwrap_or_default();
    let running = state.running.is_some();
    status.started = Some(running);
    status.ready = match &state.terminated {
        Some(end) => init && !is_sidecar(container) && end.exit_code == 0,
        None => running && (!init || is_sidecar(container)),
    };
    let mounts = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| VolumeMountStatus {
            name: m.name.clone(),
            mount_path: m.mount_path.clone(),
            read_only: m.read_only.filter(|ro| *ro),
            recursive_read_only: m.read_only.filter(|ro| *ro).map(|_| {
                m.recursive_read_only
                    .clone()
                    .unwrap_or_else(|| "Disabled".to_owned())
            }),
            ..VolumeMountStatus::default()
        });
    status.volume_mounts = super::non_empty(mounts.collect());
    status.last_state.get_or_insert_default();
}

fn id(container: &observed::Container) -> String {
    format!("{RUNTIME}://{}", container.id)
}

fn state(container: &observed::Container) -> ContainerState {
    let mut state = ContainerState::default();
    match &container.state {
        State::Created => state.waiting = Some(ContainerStateWaiting::default()),
        State::Running { started_at } => {
            state.running = Some(ContainerStateRunning {
                started_at: Some(Time(*started_at)),
            });
        }
        State::Exited(exit) => {
            state.terminated = Some(ContainerStateTerminated {
                exit_code: exit.code,
                reason: Some(exit.reason.clone()),
                message: exit.message.clone(),
                // Never started: Go's zero Unix time, as upstream shows it.
                started_at: Some(Time(exit.started_at.unwrap_or(Timestamp::UNIX_EPOCH))),
                finished_at: Some(Time(exit.finished_at)),
                container_id: Some(id(container)),
                ..ContainerStateTerminated::default()
            });
        }
    }
    state
}
