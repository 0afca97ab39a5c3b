//! `/metrics`, in Prometheus' text form with upstream's names. Pure.
//!
//! Absent so far: what upstream measures of its own work and of containers' resources.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{ContainerState, PodStatus};

/// What runs, as counted from the statuses that the node computed.
pub(super) fn text(statuses: &BTreeMap<String, PodStatus>) -> String {
    let mut pods = 0;
    let mut containers: BTreeMap<&str, usize> = BTreeMap::new();
    for status in statuses.values() {
        let all = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let states = all
            .into_iter()
            .flatten()
            .flatten()
            .map(|container| state(container.state.as_ref()));
        let before = containers.get("running").copied();
        for state in states.flatten() {
            *containers.entry(state).or_default() += 1;
        }
        pods += usize::from(containers.get("running").copied() != before);
    }
    let mut out = String::new();
    let gauge = |out: &mut String, name: &str, help: &str| {
        writeln!(out, "# HELP {name} [ALPHA] {help}\n# TYPE {name} gauge").expect("to a string");
    };
    let name = "kubelet_running_containers";
    gauge(&mut out, name, "Number of containers currently running");
    for (state, count) in containers {
        writeln!(out, "{name}{{container_state=\"{state}\"}} {count}").expect("to a string");
    }
    let name = "kubelet_running_pods";
    gauge(
        &mut out,
        name,
        "Number of pods that have a running pod sandbox",
    );
    writeln!(out, "{name} {pods}").expect("to a string");
    out
}

/// The runtime's word for a state; none of a container that it does not have.
fn state(state: Option<&ContainerState>) -> Option<&'static str> {
    let state = state?;
    match () {
        () if state.running.is_some() => Some("running"),
        () if state.terminated.is_some() => Some("exited"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_and_containers_are_counted_by_their_states() {
        let status = |state: &str| {
            let state = json!({state: {"exitCode": 0}});
            let status = json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]});
            serde_json::from_value::<PodStatus>(status).expect("a status")
        };
        let statuses = ["running", "running", "terminated", "waiting"];
        let statuses = statuses.iter().enumerate();
        let statuses = statuses.map(|(n, state)| (n.to_string(), status(state)));
        let text = text(&statuses.collect());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "kubelet_running_containers{container_state=\"exited\"} 1",
                "kubelet_running_containers{container_state=\"running\"} 2",
                "kubelet_running_pods 2"
            ]
        );
    }
}
