//! Pods.

use super::age::since;
use super::cells::{age, int, is_true, list, name, text, text_or};
use jiff::Timestamp;
use serde_json::Value;

/// What the containers tell: ready ones, restarts, and the reason shown as the status.
struct Summary<'a> {
    ready: usize,
    restarts: i64,
    /// RFC 3339, which sorts as text.
    last_restart: &'a str,
    reason: String,
}

impl<'a> Summary<'a> {
    fn count_restarts(&mut self, status: &'a Value) {
        self.restarts += int(status, "restartCount");
        let finished = status
            .pointer("/lastState/terminated/finishedAt")
            .and_then(Value::as_str);
        self.last_restart = self.last_restart.max(finished.unwrap_or(""));
    }
}

/// Whether an init container runs on beside the others (KEP-753).
fn is_sidecar(container: Option<&Value>) -> bool {
    container.is_some_and(|c| c["restartPolicy"] == "Always")
}

/// The reason of a terminated container that gives none itself.
fn exit_reason(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Goes through the init containers up to the first that is not done; tells whether there was one, and the restarts of
/// the sidecars alone.
fn initialization<'a>(pod: &'a Value, summary: &mut Summary<'a>) -> (bool, i64, &'a str) {
    let declared = list(&pod["spec"], "initContainers");
    let mut sidecars = Summary {
        ready: 0,
        restarts: 0,
        last_restart: "",
        reason: String::new(),
    };
    for (i, status) in list(&pod["status"], "initContainerStatuses")
        .iter()
        .enumerate()
    {
        summary.count_restarts(status);
        let sidecar = is_sidecar(declared.iter().find(|c| c["name"] == status["name"]));
        if sidecar {
            sidecars.count_restarts(status);
        }
        let terminated = &status["state"]["terminated"];
        let waiting = text(&status["state"]["waiting"], "reason");
        if terminated.is_object() && int(terminated, "exitCode") == 0 {
            continue;
        }
        if sidecar && status["started"] == true {
            summary.ready += usize::from(status["ready"] == true);
            continue;
        }
        summary.reason = if terminated.is_object() {
            format!("Init:{}", exit_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", declared.len())
        };
        return (true, sidecars.restarts, sidecars.last_restart);
    }
    (false, sidecars.restarts, sidecars.last_restart)
}

fn main_containers<'a>(pod: &'a Value, summary: &mut Summary<'a>) {
    let mut running = false;
    for status in list(&pod["status"], "containerStatuses").iter().rev() {
        summary.count_restarts(status);
        let state = &status["state"];
        let waiting = text(&state["waiting"], "reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if state["terminated"].is_object() {
            summary.reason = exit_reason(&state["terminated"]);
        } else if status["ready"] == true && state["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container has ended, another still serves.
    if summary.reason == "Completed" && running {
        let ready = is_true(pod, "Ready");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn summarize(pod: &Value) -> Summary<'_> {
    let status = &pod["status"];
    let gated = list(status, "conditions")
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    let reason = match gated {
        true => "SchedulingGated",
        false => text_or(status, "reason", text(status, "phase")),
    };
    let mut summary = Summary {
        ready: 0,
        restarts: 0,
        last_restart: "",
        reason: reason.to_owned(),
    };
    let (initializing, restarts, last_restart) = initialization(pod, &mut summary);
    if !initializing || is_true(pod, "Initialized") {
        (summary.restarts, summary.last_restart) = (restarts, last_restart);
        main_containers(pod, &mut summary);
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        if status["reason"] == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(text(status, "phase"), "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(&pod["spec"], "readinessGates");
    let holds = |gate: &&Value| is_true(pod, text(gate, "conditionType"));
    match gates.len() {
        0 => "<none>".to_owned(),
        all => format!("{}/{all}", gates.iter().filter(holds).count()),
    }
}

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = summarize(pod);
    let sidecars = list(spec, "initContainers")
        .iter()
        .filter(|c| is_sidecar(Some(c)))
        .count();
    let total = list(spec, "containers").len() + sidecars;
    let restarts = match summary.last_restart {
        last if summary.restarts != 0 && !last.is_empty() => {
            format!("{} ({} ago)", summary.restarts, since(Some(last), now))
        }
        _ => summary.restarts.to_string(),
    };
    let address = list(status, "podIPs")
        .first()
        .map_or("", |ip| text(ip, "ip"));
    let address = if address.is_empty() {
        "<none>"
    } else {
        address
    };
    vec![
        name(pod),
        format!("{}/{total}", summary.ready).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        address.into(),
        text_or(spec, "nodeName", "<none>").into(),
        text_or(status, "nominatedNodeName", "<none>").into(),
        readiness_gates(pod).into(),
    ]
}
