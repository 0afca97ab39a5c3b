//! The phase that the containers' states add up to.

use k8s_openapi::api::core::v1::{ContainerStatus, PodSpec};

use super::containers::is_sidecar;

#[derive(Default)]
struct Counts {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

/// Upstream's `getPhase`: `ended` means that no container will be started again.
pub(super) fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    ended: bool,
) -> &'static str {
    let mut pending_init = 0;
    let mut failed_init = 0;
    let mut counts = Counts::default();
    for container in spec.init_containers.iter().flatten() {
        let found = init.iter().find(|s| s.name == container.name);
        if is_sidecar(container) {
            counts.add_sidecar(found);
            continue;
        }
        match found.map(end_of) {
            Some(Some(0)) => {}
            Some(Some(_)) => failed_init += 1,
            Some(None) | None => pending_init += 1,
        }
    }
    for container in &spec.containers {
        counts.add(main.iter().find(|s| s.name == container.name));
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    if failed_init > 0 && policy == "Never" {
        return "Failed";
    }
    let initialized = main.iter().any(has_started);
    if (pending_init > 0 && !initialized) || counts.waiting > 0 {
        return "Pending";
    }
    if counts.unknown > 0 {
        return "Pending";
    }
    if counts.running > 0 {
        return "Running";
    }
    if counts.stopped == 0 {
        return "Pending";
    }
    match (ended, policy) {
        (false, "Always") => "Running",
        _ if counts.stopped == counts.succeeded => "Succeeded",
        (true, _) | (false, "Never") => "Failed",
        (false, _) => "Running",
    }
}

impl Counts {
    fn add(&mut self, status: Option<&ContainerStatus>) {
        let Some(state) = status.and_then(|s| s.state.as_ref()) else {
            self.unknown += 1;
            return;
        };
        if state.running.is_some() {
            self.running += 1;
        } else if let Some(end) = &state.terminated {
            self.stopped += 1;
            self.succeeded += usize::from(end.exit_code == 0);
        } else if state.waiting.is_some() {
            let ended_before = status.and_then(last_end).is_some();
            if ended_before {
                self.stopped += 1
            } else {
                self.waiting += 1
            }
        } else {
            self.unknown += 1;
        }
    }

    /// A sidecar holds the pod in Pending until it ran once, but its end decides nothing.
    fn add_sidecar(&mut self, status: Option<&ContainerStatus>) {
        let state = status.and_then(|s| s.state.as_ref());
        let waiting = state.is_some_and(|s| s.waiting.is_some());
        if waiting && status.and_then(last_end).is_none() {
            self.waiting += 1;
        }
    }
}

/// The exit code of an init container that ended, now or (while it waits for its restart) before.
fn end_of(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    match (&state.terminated, &state.waiting) {
        (Some(end), _) => Some(end.exit_code),
        (None, Some(_)) => last_end(status),
        _ => None,
    }
}

fn last_end(status: &ContainerStatus) -> Option<i32> {
    Some(status.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// Whether the container was started at least once.
pub(super) fn has_started(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
        || last_end(status).is_some()
}
