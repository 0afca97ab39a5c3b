//! HorizontalPodAutoscalers between `autoscaling/v2`, which is stored, and `autoscaling/v1`, which knows one metric.
//!
//! Metrics, behaviour and conditions that v1 has no field for are JSON in annotations, in the order of upstream's
//! structs.

use crate::field::Bad;
use crate::internal;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const OWN: [&str; 6] = [
    METRICS,
    CURRENT,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
const CPU_PERCENT: i64 = 80;

/// A member of a source in v2, the name in v1, and what v1 writes when it is not set.
type Member = (&'static str, &'static str, Option<&'static str>);

/// Where v1 has what v2 has, in v1's order.
fn members(kind: &str, status: bool) -> &'static [Member] {
    match (kind, status) {
        ("Resource", false) => &[
            ("/name", "name", Some("\"\"")),
            (
                "/target/averageUtilization",
                "targetAverageUtilization",
                None,
            ),
            ("/target/averageValue", "targetAverageValue", None),
        ],
        ("ContainerResource", false) => &[
            ("/name", "name", Some("\"\"")),
            (
                "/target/averageUtilization",
                "targetAverageUtilization",
                None,
            ),
            ("/target/averageValue", "targetAverageValue", None),
            ("/container", "container", Some("\"\"")),
        ],
        ("Pods", false) => &[
            ("/metric/name", "metricName", Some("\"\"")),
            ("/target/averageValue", "targetAverageValue", Some("\"0\"")),
            ("/metric/selector", "selector", None),
        ],
        ("Object", false) => &[
            ("/describedObject", "target", Some("{}")),
            ("/metric/name", "metricName", Some("\"\"")),
            ("/target/value", "targetValue", Some("\"0\"")),
            ("/metric/selector", "selector", None),
            ("/target/averageValue", "averageValue", None),
        ],
        ("External", false) => &[
            ("/metric/name", "metricName", Some("\"\"")),
            ("/metric/selector", "metricSelector", None),
            ("/target/value", "targetValue", None),
            ("/target/averageValue", "targetAverageValue", None),
        ],
        ("Resource", true) => &[
            ("/name", "name", Some("\"\"")),
            (
                "/current/averageUtilization",
                "currentAverageUtilization",
                None,
            ),
            (
                "/current/averageValue",
                "currentAverageValue",
                Some("\"0\""),
            ),
        ],
        ("ContainerResource", true) => &[
            ("/name", "name", Some("\"\"")),
            (
                "/current/averageUtilization",
                "currentAverageUtilization",
                None,
            ),
            (
                "/current/averageValue",
                "currentAverageValue",
                Some("\"0\""),
            ),
            ("/container", "container", Some("\"\"")),
        ],
        ("Pods", true) => &[
            ("/metric/name", "metricName", Some("\"\"")),
            (
                "/current/averageValue",
                "currentAverageValue",
                Some("\"0\""),
            ),
            ("/metric/selector", "selector", None),
        ],
        ("Object", true) => &[
            ("/describedObject", "target", Some("{}")),
            ("/metric/name", "metricName", Some("\"\"")),
            ("/current/value", "currentValue", Some("\"0\"")),
            ("/metric/selector", "selector", None),
            ("/current/averageValue", "averageValue", None),
        ],
        ("External", true) => &[
            ("/metric/name", "metricName", Some("\"\"")),
            ("/metric/selector", "metricSelector", None),
            ("/current/value", "currentValue", Some("\"0\"")),
            ("/current/averageValue", "currentAverageValue", None),
        ],
        _ => &[],
    }
}

/// The members of a metric that hold its source, with their types.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
    ("external", "External"),
];

fn set(value: Option<&Value>) -> Option<&Value> {
    value.filter(|v| !v.is_null())
}

fn push(out: &mut String, name: &str, text: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(&crate::field::escape_html(&Value::from(name).to_string()));
    out.push(':');
    out.push_str(text);
}

/// Compact JSON as Go writes it, with these members of an object first and in this order.
fn ordered(value: &Value, first: &[&str]) -> String {
    let Some(members) = value.as_object() else {
        return crate::field::escape_html(&value.to_string());
    };
    let mut out = String::from("{");
    let known = first
        .iter()
        .filter_map(|name| Some((*name, members.get(*name)?)));
    let rest = members.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in known.chain(rest.filter(|(name, _)| !first.contains(name))) {
        push(&mut out, name, &ordered(value, first));
    }
    out + "}"
}

const REFERENCE: [&str; 3] = ["kind", "name", "apiVersion"];

/// One metric, or the state of one, as JSON of v1.
fn metric_text(metric: &Value, status: bool) -> String {
    let mut out = String::from("{");
    push(&mut out, "type", &metric["type"].to_string());
    for (member, kind) in SOURCES {
        let Some(source) = set(metric.get(member)) else {
            continue;
        };
        let mut inner = String::from("{");
        for (from, to, zero) in members(kind, status) {
            match (set(source.pointer(from)), zero) {
                (Some(value), _) => push(&mut inner, to, &ordered(value, &REFERENCE)),
                (None, Some(zero)) => push(&mut inner, to, zero),
                (None, None) => {}
            }
        }
        push(&mut out, member, &(inner + "}"));
    }
    out + "}"
}

fn put(to: &mut Value, pointer: &str, value: Value) {
    let mut at = to;
    for name in pointer.split('/').skip(1) {
        at = &mut at[name];
    }
    *at = value;
}

fn is_zero(value: &Value) -> bool {
    let quantity = crate::quantity::Quantity::from_json(value);
    quantity.is_ok_and(|q| q.is_zero())
}

/// One metric of an annotation as v2 has it.
fn metric_of(old: &Value, status: bool) -> Value {
    let mut metric = json!({"type": old["type"]});
    for (member, kind) in SOURCES {
        let Some(source) = set(old.get(member)) else {
            continue;
        };
        let mut new = json!({});
        for (to, from, _) in members(kind, status) {
            if let Some(value) = set(source.get(*from)) {
                put(&mut new, to, value.clone());
            }
        }
        if !status {
            let target = &mut new["target"];
            let has = |target: &Value, name: &str| set(target.get(name)).is_some();
            let ty = match kind {
                "Resource" | "ContainerResource" if has(target, "averageUtilization") => {
                    "Utilization"
                }
                "Object" if !has(target, "averageValue") => "Value",
                "External" if has(target, "value") => "Value",
                _ => "AverageValue",
            };
            // v1 can't leave the value out; beside an average, none means none.
            if kind == "Object"
                && ty == "AverageValue"
                && is_zero(&target["value"])
                && let Some(members) = target.as_object_mut()
            {
                members.remove("value");
            }
            target["type"] = ty.into();
        }
        metric[member] = new;
    }
    metric
}

fn cpu_percent(metric: &Value, place: &str) -> Option<i64> {
    let own = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric["resource"][place]["averageUtilization"]
        .as_i64()
        .filter(|_| own)
}

fn list(node: &Value, member: &str) -> Vec<Value> {
    node[member].as_array().cloned().unwrap_or_default()
}

fn joined(texts: Vec<String>) -> String {
    format!("[{}]", texts.join(","))
}

fn take(node: &mut Value, members: &[&str]) {
    if let Some(map) = node.as_object_mut() {
        members.iter().for_each(|m| drop(map.remove(*m)));
    }
}

fn drop_annotations(hpa: &mut Value) {
    take(&mut hpa["metadata"]["annotations"], &OWN);
    let empty = hpa["metadata"]["annotations"]
        .as_object()
        .is_none_or(Map::is_empty);
    if empty {
        take(&mut hpa["metadata"], &["annotations"]);
    }
}

/// Whether an annotation is one that conversion adds.
pub fn is_own_annotation(name: &str) -> bool {
    OWN.contains(&name)
}

/// Makes a v2 autoscaler a v1 one.
pub fn to_v1(hpa: &mut Value) {
    drop_annotations(hpa);
    let metrics = list(&hpa["spec"], "metrics");
    let current = list(&hpa["status"], "currentMetrics");
    let conditions = list(&hpa["status"], "conditions");
    let behavior = set(hpa["spec"].get("behavior")).cloned();
    let mut notes = Vec::new();
    let others = metrics
        .iter()
        .filter(|m| cpu_percent(m, "target").is_none());
    let others: Vec<String> = others.map(|m| metric_text(m, false)).collect();
    if !others.is_empty() {
        notes.push((METRICS, joined(others)));
    }
    if !current.is_empty() {
        notes.push((
            CURRENT,
            joined(current.iter().map(|m| metric_text(m, true)).collect()),
        ));
    }
    if let Some(behavior) = behavior
        && let Bad::Text(text) = internal::show(
            "autoscaling.HorizontalPodAutoscalerBehavior",
            Some(&behavior),
        )
    {
        notes.push((BEHAVIOR, text));
    }
    if !conditions.is_empty() {
        let order = ["type", "status", "lastTransitionTime", "reason", "message"];
        notes.push((
            CONDITIONS,
            joined(conditions.iter().map(|c| ordered(c, &order)).collect()),
        ));
    }
    for (name, text) in notes {
        hpa["metadata"]["annotations"][name] = text.into();
    }
    take(&mut hpa["spec"], &["metrics", "behavior"]);
    take(&mut hpa["status"], &["currentMetrics", "conditions"]);
    if let Some(percent) = metrics.iter().find_map(|m| cpu_percent(m, "target")) {
        hpa["spec"]["targetCPUUtilizationPercentage"] = percent.into();
    }
    if let Some(percent) = current.iter().find_map(|m| cpu_percent(m, "current")) {
        hpa["status"]["currentCPUUtilizationPercentage"] = percent.into();
    }
    for member in ["currentReplicas", "desiredReplicas"] {
        if set(hpa["status"].get(member)).is_none() {
            hpa["status"][member] = 0.into();
        }
    }
}

/// Members with Go's names as the API has them.
fn api_names(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let shown = members.iter().filter(|(_, v)| !v.is_null());
            let renamed = shown.map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|c| c.to_ascii_lowercase());
                (
                    first.into_iter().chain(letters).collect::<String>(),
                    api_names(value),
                )
            });
            Value::Object(renamed.collect())
        }
        Value::Array(items) => items.iter().map(api_names).collect(),
        other => other.clone(),
    }
}

/// Makes a v1 autoscaler a v2 one.
pub fn to_v2(hpa: &mut Value) {
    let note = |hpa: &Value, name: &str| -> Option<Value> {
        serde_json::from_str(hpa["metadata"]["annotations"][name].as_str()?).ok()
    };
    let items = |value: Option<Value>| value.and_then(|v| v.as_array().cloned());
    let mut metrics: Vec<Value> = items(note(hpa, METRICS)).unwrap_or_default();
    metrics = metrics.iter().map(|m| metric_of(m, false)).collect();
    let cpu = |percent: &Value| {
        json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}})
    };
    if let Some(percent) = set(hpa["spec"].get("targetCPUUtilizationPercentage")) {
        metrics.push(cpu(percent));
    }
    if metrics.is_empty() {
        metrics.push(cpu(&CPU_PERCENT.into()));
    }
    let behavior = note(hpa, BEHAVIOR).map(|b| api_names(&b));
    let current =
        items(note(hpa, CURRENT)).map(|all| all.iter().map(|m| metric_of(m, true)).collect());
    let percent = set(hpa["status"].get("currentCPUUtilizationPercentage")).cloned();
    let conditions = items(note(hpa, CONDITIONS));
    drop_annotations(hpa);
    take(&mut hpa["spec"], &["targetCPUUtilizationPercentage"]);
    take(&mut hpa["status"], &["currentCPUUtilizationPercentage"]);
    if hpa["spec"].is_object() {
        hpa["spec"]["metrics"] = metrics.into();
        if let Some(behavior) = behavior.filter(|b| b.as_object().is_some_and(|m| !m.is_empty())) {
            hpa["spec"]["behavior"] = behavior;
        }
    }
    let one = |percent| {
        json!([{"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": percent}}}])
    };
    if let Some(current) = current.or_else(|| percent.map(one)) {
        hpa["status"]["currentMetrics"] = current;
    }
    if let Some(conditions) = conditions {
        hpa["status"]["conditions"] = conditions.into();
    }
    if hpa["apiVersion"] == "autoscaling/v1" {
        hpa["apiVersion"] = "autoscaling/v2".into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Value {
        json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}})
    }

    #[test]
    fn what_v1_lacks_is_kept_in_annotations() {
        let v2 = json!({"metadata": {"name": "a"}, "spec": spec(), "status": {"currentReplicas": 1, "desiredReplicas": 0}});
        let mut hpa = v2.clone();
        to_v1(&mut hpa);
        assert_eq!(hpa["spec"]["targetCPUUtilizationPercentage"], 50);
        let notes = &hpa["metadata"]["annotations"];
        let metrics = r#"[{"type":"Pods","pods":{"metricName":"qps","targetAverageValue":"1k"}}]"#;
        assert_eq!(notes[METRICS], metrics);
        let behavior = r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#;
        assert_eq!(notes[BEHAVIOR], behavior);
        to_v2(&mut hpa);
        assert_eq!(hpa, v2);
    }

    #[test]
    fn without_metrics_there_is_the_cpu() {
        let mut hpa = json!({"spec": {"maxReplicas": 3}, "metadata": {}});
        to_v2(&mut hpa);
        assert_eq!(cpu_percent(&hpa["spec"]["metrics"][0], "target"), Some(80));
    }
}
