//! The conditions that the kubelet owns, in the order in which upstream lists them.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Inputs;
use super::containers::is_sidecar;
use super::phase::has_started;

/// The types that the kubelet writes; all others belong to somebody else and are kept.
const OWNED: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// What one condition says, before times and generation.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    const TRUE: Finding = Finding {
        status: true,
        reason: None,
        message: None,
    };

    fn no(reason: &'static str, message: Option<String>) -> Finding {
        Finding {
            status: false,
            reason: Some(reason),
            message,
        }
    }
}

/// All conditions: those of others first, then the kubelet's own.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Vec<PodCondition> {
    let recorded = inputs
        .pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let mut list: Vec<PodCondition> = recorded
        .iter()
        .filter(|c| !OWNED.contains(&c.type_.as_str()))
        .cloned()
        .collect();
    let containers_ready = containers_ready(spec, phase, init, main);
    let ready = ready(spec, phase, &list, &containers_ready);
    let findings = [
        ready_to_start(inputs),
        initialized(spec, phase, init, main),
        ready,
        containers_ready,
        Finding::TRUE,
    ];
    for (type_, finding) in OWNED.into_iter().zip(findings) {
        list.push(dated(inputs, type_, finding));
    }
    list
}

/// A finding as a condition; the transition time is that of the last change of `status`.
fn dated(inputs: &Inputs<'_>, type_: &str, finding: Finding) -> PodCondition {
    let status = if finding.status { "True" } else { "False" };
    let old = inputs
        .previous
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == type_);
    let since = old
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        observed_generation: inputs.pod.metadata.generation,
        last_probe_time: None,
        last_transition_time: since.or(Some(Time(inputs.now))),
        reason: finding.reason.map(str::to_owned),
        message: finding.message,
    }
}

fn ready_to_start(inputs: &Inputs<'_>) -> Finding {
    // A sandbox that was removed was there before, unless the pod never got that far.
    let had_one = inputs.observed.sandbox.is_some()
        || !inputs.observed.containers.is_empty()
        || inputs.previous.conditions.iter().flatten().any(|c| {
            c.type_ == "PodReadyToStartContainers"
                && (c.status == "True" || c.message.as_deref() == Some("pod sandbox is not ready"))
        });
    match (inputs.observed.sandbox_ready(), had_one) {
        (true, _) => Finding::TRUE,
        (false, true) => Finding::no(
            "PodSandboxNotReady",
            Some("pod sandbox is not ready".to_owned()),
        ),
        (false, false) => Finding::no(
            "PodSandboxNotReady",
            Some("no pod sandbox exists".to_owned()),
        ),
    }
}

fn initialized(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Finding {
    let mut incomplete = Vec::new();
    for container in spec.init_containers.iter().flatten() {
        let status = init.iter().find(|s| s.name == container.name);
        let done = status.is_some_and(|s| {
            if is_sidecar(container) {
                s.started == Some(true)
            } else {
                s.ready
            }
        });
        if !done {
            incomplete.push(container.name.as_str());
        }
    }
    if phase == "Succeeded" {
        return Finding {
            status: true,
            reason: Some("PodCompleted"),
            message: None,
        };
    }
    if incomplete.is_empty() || main.iter().any(has_started) {
        return Finding::TRUE;
    }
    let message = format!(
        "containers with incomplete status: [{}]",
        incomplete.join(" ")
    );
    Finding::no("ContainersNotInitialized", Some(message))
}

fn containers_ready(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Finding {
    match phase {
        "Succeeded" => return Finding::no("PodCompleted", None),
        "Failed" => return Finding::no("PodFailed", None),
        _ => {}
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_sidecar(c))
        .map(|c| (c, init));
    let all = sidecars.chain(spec.containers.iter().map(|c| (c, main)));
    let unready: Vec<&str> = all
        .filter(|(c, statuses)| !statuses.iter().any(|s| s.name == c.name && s.ready))
        .map(|(c, _)| c.name.as_str())
        .collect();
    if unready.is_empty() {
        return Finding::TRUE;
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Finding::no("ContainersNotReady", Some(message))
}

/// Ready is ContainersReady plus the readiness gates, whose conditions others write.
fn ready(spec: &PodSpec, phase: &str, others: &[PodCondition], containers: &Finding) -> Finding {
    if super::is_terminal(phase) || !containers.status {
        return containers.clone();
    }
    let mut open = Vec::new();
    for gate in spec.readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match others.iter().find(|c| &c.type_ == type_) {
            None => open.push(format!(
                "corresponding condition of pod readiness gate \"{type_}\" does not exist."
            )),
            Some(c) if c.status != "True" => open.push(format!(
                "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                c.status
            )),
            Some(_) => {}
        }
    }
    match open.is_empty() {
        true => Finding::TRUE,
        false => Finding::no("ReadinessGatesNotReady", Some(open.join(", "))),
    }
}
