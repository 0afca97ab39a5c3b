//! Nodes, Namespaces, Events and the plain kinds of the core group.

use super::age::since;
use super::cells::{age, int, list, name, size, text, text_or};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None if key == "kubernetes.io/role" => value.as_str(),
                None => None,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    match roles.is_empty() {
        true => "<none>".to_owned(),
        false => roles.into_iter().collect::<Vec<_>>().join(","),
    }
}

fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let status = &node["status"];
    let info = &status["nodeInfo"];
    let ready = list(status, "conditions")
        .iter()
        .rev()
        .find(|c| c["type"] == "Ready");
    let mut state = match ready.map(|c| text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| -> Value {
        let found = list(status, "addresses").iter().find(|a| a["type"] == kind);
        found.map_or("<none>", |a| text(a, "address")).into()
    };
    let kernel = match (
        text_or(info, "kernelVersion", "<unknown>"),
        text(info, "architecture"),
    ) {
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        name(node),
        state.into(),
        roles(node).into(),
        age(node, now),
        text(info, "kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        text_or(info, "osImage", "<unknown>").into(),
        kernel.into(),
        text_or(info, "containerRuntimeVersion", "<unknown>").into(),
    ]
}

/// Reads both forms of an Event: `v1` and `events.k8s.io/v1`.
pub(super) fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let either = |old: &'static str, new: &'static str| match event.get(old) {
        Some(value) => value,
        None => &event[new],
    };
    let time = |value: &Value| since(value.as_str(), now);
    let set = |value: &Value| value.as_str().is_some_and(|t| !t.is_empty());
    let (first, last) = (
        either("firstTimestamp", "deprecatedFirstTimestamp"),
        either("lastTimestamp", "deprecatedLastTimestamp"),
    );
    let first_seen = time(if set(first) {
        first
    } else {
        &event["eventTime"]
    });
    let mut last_seen = if set(last) {
        time(last)
    } else {
        first_seen.clone()
    };
    let mut count = either("count", "deprecatedCount")
        .as_i64()
        .unwrap_or(0)
        .max(1);
    if event["series"].is_object() {
        last_seen = time(&event["series"]["lastObservedTime"]);
        count = int(&event["series"], "count");
    }
    let object = either("involvedObject", "regarding");
    let kind = text(object, "kind").to_lowercase();
    let target = match text(object, "name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = either("source", "deprecatedSource");
    let reporter = either("reportingComponent", "reportingController");
    let component = text_or(source, "component", reporter.as_str().unwrap_or(""));
    let instance = text_or(source, "host", text(event, "reportingInstance"));
    let source = match instance {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    };
    let message = either("message", "note").as_str().unwrap_or("").trim();
    vec![
        last_seen.into(),
        text(event, "type").into(),
        text(event, "reason").into(),
        target.into(),
        text(object, "fieldPath").into(),
        source.into(),
        message.into(),
        first_seen.into(),
        count.into(),
        name(event),
    ]
}

/// Used against hard amounts, those of limits apart.
fn quota(quota: &Value, limits: bool) -> String {
    let status = &quota["status"];
    let hard = status["hard"].as_object();
    let parts: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits") == limits)
        .map(|(name, hard)| {
            let used = status["used"]
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or("0"))
        })
        .collect();
    parts.join(", ")
}

pub(super) fn cells(plural: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    Some(match plural {
        "nodes" => node(object, now),
        "namespaces" => vec![
            name(object),
            text(&object["status"], "phase").into(),
            age(object, now),
        ],
        "events" => event(object, now),
        "configmaps" => {
            let count = size(object, "data") + size(object, "binaryData");
            vec![name(object), count.into(), age(object, now)]
        }
        "secrets" => vec![
            name(object),
            text(object, "type").into(),
            size(object, "data").into(),
            age(object, now),
        ],
        "serviceaccounts" => vec![name(object), age(object, now)],
        "resourcequotas" => vec![
            name(object),
            quota(object, false).into(),
            quota(object, true).into(),
            age(object, now),
        ],
        _ => return None,
    })
}
