//! HorizontalPodAutoscalers, of both versions.

use super::cells::{age, first_few, int, list, name, text};
use jiff::Timestamp;
use serde_json::Value;

const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

fn amount(node: &Value, member: &str) -> Option<String> {
    let value = node.get(member).filter(|v| !v.is_null())?;
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

fn percent(node: &Value) -> Option<String> {
    node["averageUtilization"].as_i64().map(|p| format!("{p}%"))
}

/// One metric: what there is against what is wanted.
fn metric(spec: &Value, status: Option<&Value>) -> String {
    let (member, named) = match text(spec, "type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (source, target) = (&spec[member], &spec[member]["target"]);
    let current = status.map_or(&Value::Null, |s| &s[member]["current"]);
    let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    if named {
        let resource = text(source, "name");
        return match amount(target, "averageValue") {
            Some(wanted) => format!(
                "{resource}: {}/{wanted}",
                known(amount(current, "averageValue"))
            ),
            None => {
                let wanted = percent(target).unwrap_or_else(|| "<auto>".to_owned());
                format!("{resource}: {}/{wanted}", known(percent(current)))
            }
        };
    }
    match amount(target, "averageValue") {
        Some(wanted) => {
            let suffix = if member == "pods" { "" } else { " (avg)" };
            format!(
                "{}/{wanted}{suffix}",
                known(amount(current, "averageValue"))
            )
        }
        None => format!(
            "{}/{}",
            known(amount(current, "value")),
            known(amount(target, "value"))
        ),
    }
}

fn targets(hpa: &Value) -> String {
    let (spec, status) = (&hpa["spec"], &hpa["status"]);
    if let Some(wanted) = spec["targetCPUUtilizationPercentage"].as_i64() {
        let current = status["currentCPUUtilizationPercentage"].as_i64();
        let current = current.map_or_else(|| UNKNOWN.to_owned(), |p| format!("{p}%"));
        return format!("cpu: {current}/{wanted}%");
    }
    let current = list(status, "currentMetrics");
    let all: Vec<String> = list(spec, "metrics")
        .iter()
        .enumerate()
        .map(|(i, m)| metric(m, current.get(i)))
        .collect();
    match all.is_empty() {
        true => "<none>".to_owned(),
        false => first_few(&all, SHOWN, ", "),
    }
}

pub(super) fn cells(hpa: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&hpa["spec"], &hpa["status"]);
    let target = &spec["scaleTargetRef"];
    let min = spec["minReplicas"]
        .as_i64()
        .map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        name(hpa),
        format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
        targets(hpa).into(),
        min.into(),
        int(spec, "maxReplicas").into(),
        int(status, "currentReplicas").into(),
        age(hpa, now),
    ]
}
