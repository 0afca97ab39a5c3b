//! The status of a pod, computed from what was recorded before and what the runtime shows now.
//!
//! Pure: no I/O and no clock. The rules and texts are those of upstream's kubelet (`generateAPIPodStatus`,
//! `pkg/kubelet/status`): container states, then the phase, then conditions. A terminal phase is held back while
//! anything of the pod may still run, so a pod that the API calls Succeeded or Failed uses nothing any more.
//!
//! Absent: probes (a running container is ready) and the `user` of a container.

mod conditions;
mod containers;
pub mod patch;
mod phase;
mod resources;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::observed::Observed;

pub(crate) use containers::{is_sidecar, restarts};
pub(crate) use resources::total;

#[cfg(test)]
mod tests;

/// Why a container is not started, as its `waiting` state shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `ErrImagePull`, `CrashLoopBackOff` and the like.
    pub reason: String,
    /// The text for people.
    pub message: String,
}

/// A decision of this node that the pod has failed, whatever its containers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
}

/// All that the status depends on.
pub struct Inputs<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// The status written last, by this agent or one before it.
    pub previous: &'a PodStatus,
    /// What the runtime holds.
    pub observed: &'a Observed,
    /// Reasons of containers that could not be started, by container name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Set when the node ends the pod, such as for its deadline.
    pub verdict: Option<&'a Verdict>,
    /// True when no container of the pod will be started again, because it is being deleted or was ended.
    pub ended: bool,
    /// The node's addresses.
    pub host_ips: &'a [IpAddr],
    /// The time.
    pub now: Timestamp,
}

/// The status that the API should show.
pub fn status(inputs: &Inputs<'_>) -> PodStatus {
    let Inputs {
        pod,
        previous,
        observed,
        ..
    } = *inputs;
    let Some(spec) = pod.spec.as_ref() else {
        return previous.clone();
    };
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        start_time: previous.start_time.clone().or(Some(Time(inputs.now))),
        qos_class: previous.qos_class.clone(),
        allocated_resources: resources::pod_requests(spec),
        resources: Some(resources::pod_resources(spec)),
        ..PodStatus::default()
    };
    let (init, main) = containers::statuses(inputs, spec);
    let tried = init.iter().chain(&main).any(was_tried);
    addresses(&mut status, inputs, spec, tried);

    let phase = phase::phase(spec, &init, &main, inputs.ended && !observed.any_alive());
    let phase = match previous.phase.as_deref() {
        Some(old) if is_terminal(old) => old.to_owned(),
        _ => phase.to_owned(),
    };
    let phase = if inputs.verdict.is_some() {
        "Failed".to_owned()
    } else {
        phase
    };
    status.conditions = Some(conditions::conditions(inputs, spec, &phase, &init, &main));
    settle_phase(&mut status, inputs, phase);
    status.init_container_statuses = non_empty(init);
    status.container_statuses = non_empty(sorted_by_name(main));
    status
}

/// The status of a pod that this node refused to run.
pub fn rejected(pod: &Pod, previous: &PodStatus, verdict: &Verdict, now: Timestamp) -> PodStatus {
    PodStatus {
        observed_generation: pod.metadata.generation,
        phase: Some("Failed".to_owned()),
        reason: Some(verdict.reason.clone()),
        message: Some(format!("Pod was rejected: {}", verdict.message)),
        start_time: previous.start_time.clone().or(Some(Time(now))),
        qos_class: previous.qos_class.clone(),
        conditions: previous.conditions.clone(),
        ..PodStatus::default()
    }
}

/// Whether a phase is one that a pod never leaves.
pub fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// A terminal phase, its reason and message are shown only once nothing of the pod can run.
fn settle_phase(status: &mut PodStatus, inputs: &Inputs<'_>, phase: String) {
    let previous = inputs.previous;
    let old = previous
        .phase
        .clone()
        .unwrap_or_else(|| "Pending".to_owned());
    let alive = inputs.observed.any_alive() || inputs.observed.sandbox_ready();
    if is_terminal(&phase) && !is_terminal(&old) && alive {
        status.phase = Some(old);
        status.reason = previous.reason.clone();
        status.message = previous.message.clone();
        return;
    }
    if let Some(verdict) = inputs.verdict {
        status.reason = Some(verdict.reason.clone());
        status.message = Some(verdict.message.clone());
    } else if phase == old {
        status.reason = previous.reason.clone();
        status.message = previous.message.clone();
    }
    status.phase = Some(phase);
}

/// Whether a start of the container was tried, with whatever success.
fn was_tried(status: &ContainerStatus) -> bool {
    const BEFORE: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    let state = status.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    state.is_some()
        && !waiting.is_some_and(|one| {
            one.reason
                .as_deref()
                .is_some_and(|reason| BEFORE.contains(&reason))
        })
}

/// The sandbox's own address is told together with what became of the first container, as upstream does: who watches
/// for endpoints sees no change before there can be an answer.
fn addresses(status: &mut PodStatus, inputs: &Inputs<'_>, spec: &PodSpec, tried: bool) {
    let hosts: Vec<String> = inputs.host_ips.iter().map(ToString::to_string).collect();
    status.host_ip = hosts.first().cloned();
    status.host_ips = non_empty(hosts.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let own = match &inputs.observed.sandbox {
        Some(sandbox) if tried => sandbox.ip.map(|ip| ip.to_string()),
        _ => None,
    };
    let ips = if spec.host_network.unwrap_or(false) {
        hosts
    } else if let Some(ip) = own {
        vec![ip]
    } else {
        let old = inputs.previous.pod_ips.iter().flatten();
        old.map(|ip| ip.ip.clone()).collect()
    };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = non_empty(ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn sorted_by_name(mut list: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
