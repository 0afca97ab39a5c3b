//! Defaults that depend on other fields.

use super::table::Hook;
use super::{service, unset};
use crate::quantity::Quantity;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

pub(super) fn by_name(name: &str) -> Hook {
    match name {
        "autoscaler" => autoscaler,
        "claim_template" => claim_template,
        "daemon_strategy" => {
            |s| rolling(s, &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))])
        }
        "daemon_set" => daemon_set,
        "definition" => definition,
        "deployment_strategy" => |s| {
            rolling(
                s,
                &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))],
            )
        },
        "job" => job,
        "limit_range" => limit_range,
        "namespace" => namespace,
        "network_policy" => network_policy,
        "node" => node,
        "pod" => pod,
        "replication_controller" => replication_controller,
        "round" => round,
        "secret" => secret,
        "service" => service::service,
        "service_account" => service_account,
        "stateful_strategy" => stateful_strategy,
        "volume" => volume,
        other => unreachable!("the table names a hook {other} that is none"),
    }
}

/// Whether an image is named without a tag or digest, or with the tag `latest`.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// `imagePullPolicy` of a container, `pullPolicy` of an image volume.
pub(super) fn image(node: &mut Value) {
    let (member, image) = match node.get("reference") {
        Some(reference) => ("pullPolicy", reference),
        None => ("imagePullPolicy", &node["image"]),
    };
    let policy = match is_latest(image.as_str().unwrap_or("")) {
        true => "Always",
        false => "IfNotPresent",
    };
    if node.is_object() && unset(node.get(member)) {
        node[member] = policy.into();
    }
}

/// Quantities of a resource list are rounded up to thousandths.
fn round(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Ok(mut quantity) = Quantity::from_json(amount) {
            quantity.round_up_milli();
            *amount = quantity.to_string().into();
        }
    }
}

/// A volume without a source is an empty directory.
fn volume(volume: &mut Value) {
    if let Some(members) = volume.as_object_mut()
        && members
            .iter()
            .all(|(name, v)| name == "name" || v.is_null())
    {
        members.insert("emptyDir".to_owned(), json!({}));
    }
}

/// The field and its deprecated name say the same.
fn service_account(spec: &mut Value) {
    let (name, old) = (spec.get("serviceAccountName"), spec.get("serviceAccount"));
    let chosen = [name, old]
        .into_iter()
        .find(|v| !unset(*v))
        .flatten()
        .cloned();
    if let Some(chosen) = chosen {
        spec["serviceAccountName"] = chosen.clone();
        spec["serviceAccount"] = chosen;
    }
}

fn fill_requests(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if unset(resources.get("requests")) {
        resources["requests"] = json!({});
    }
    let requests = resources["requests"].as_object_mut();
    if let Some(requests) = requests {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// What a Pod has and the template of one has not: requests from limits, host ports, service links.
fn pod(spec: &mut Value) {
    let host_network = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if container["resources"].is_object() {
                fill_requests(&mut container["resources"]);
            }
            if host_network {
                for port in container["ports"].as_array_mut().into_iter().flatten() {
                    if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                        port["hostPort"] = port["containerPort"].clone();
                    }
                }
            }
        }
        // `spec[list]` made an absent list null.
        if spec[list].is_null()
            && let Some(members) = spec.as_object_mut()
        {
            members.remove(list);
        }
    }
    if unset(spec.get("enableServiceLinks")) {
        spec["enableServiceLinks"] = true.into();
    }
}

fn replication_controller(rc: &mut Value) {
    let labels = rc.pointer("/spec/template/metadata/labels").cloned();
    let Some(labels) = labels.filter(|l| !unset(Some(l))) else {
        return;
    };
    if unset(rc["spec"].get("selector")) {
        rc["spec"]["selector"] = labels.clone();
    }
    if unset(rc["metadata"].get("labels")) {
        rc["metadata"]["labels"] = labels;
    }
}

/// `stringData` is written, never read: it goes into `data`.
fn secret(secret: &mut Value) {
    let Some(texts) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else {
        return;
    };
    for (key, text) in texts.as_object().into_iter().flatten() {
        if unset(secret.get("data")) {
            secret["data"] = json!({});
        }
        secret["data"][key] = STANDARD.encode(text.as_str().unwrap_or("")).into();
    }
}

/// A number that old clients tell templates apart by; the sender comes to own it. What it is, the server decides.
fn daemon_set(set: &mut Value) {
    const NAME: &str = "deprecated.daemonset.template.generation";
    let found = set["metadata"]["annotations"]
        .get(NAME)
        .and_then(Value::as_str);
    if found.is_none_or(|n| n.parse::<i64>().is_err()) {
        set["metadata"]["annotations"][NAME] = "0".into();
    }
}

/// The bounds of a rolling update; other strategies have none.
fn rolling(strategy: &mut Value, bounds: &[(&str, Value)]) {
    if strategy["type"] != "RollingUpdate" || !strategy["rollingUpdate"].is_object() {
        return;
    }
    for (member, value) in bounds {
        if strategy["rollingUpdate"]
            .get(member)
            .is_none_or(Value::is_null)
        {
            strategy["rollingUpdate"][*member] = value.clone();
        }
    }
}

/// A strategy that was named without bounds gets none.
fn stateful_strategy(strategy: &mut Value) {
    if unset(strategy.get("type")) {
        strategy["type"] = "RollingUpdate".into();
        if unset(strategy.get("rollingUpdate")) {
            strategy["rollingUpdate"] = json!({});
        }
    }
    rolling(
        strategy,
        &[("partition", json!(0)), ("maxUnavailable", json!(1))],
    );
}

/// A claim in a StatefulSet is a claim, whatever it says.
fn claim_template(claim: &mut Value) {
    if claim.is_object() {
        claim["apiVersion"] = "v1".into();
        claim["kind"] = "PersistentVolumeClaim".into();
    }
}

fn namespace(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    // A name still to be generated gets its label when it is made.
    if !unset(Some(&name)) {
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
}

/// `podCIDR` is the first of `podCIDRs`, and wins where they differ; what can be allocated is all there is, unless said otherwise.
fn node(node: &mut Value) {
    let spec = &node["spec"];
    match (unset(spec.get("podCIDR")), unset(spec.get("podCIDRs"))) {
        (false, true) => node["spec"]["podCIDRs"] = json!([spec["podCIDR"]]),
        (true, false) => node["spec"]["podCIDR"] = spec["podCIDRs"][0].clone(),
        (false, false) if spec["podCIDR"] != spec["podCIDRs"][0] => {
            node["spec"]["podCIDRs"] = json!([spec["podCIDR"]]);
        }
        _ => {}
    }
    let status = &node["status"];
    if unset(status.get("allocatable")) && !unset(status.get("capacity")) {
        node["status"]["allocatable"] = status["capacity"].clone();
    }
}

fn limit_range(item: &mut Value) {
    if item["type"] != "Container" {
        return;
    }
    for (to, from) in [
        ("default", "max"),
        ("defaultRequest", "default"),
        ("defaultRequest", "min"),
    ] {
        let Some(source) = item.get(from).and_then(Value::as_object).cloned() else {
            continue;
        };
        if unset(item.get(to)) {
            item[to] = json!({});
        }
        for (name, amount) in source {
            if item[to].get(&name).is_none() {
                item[to][name] = amount;
            }
        }
    }
    for list in [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ] {
        if let Some(list) = item.get_mut(list) {
            round(list);
        }
    }
}

fn job(job: &mut Value) {
    let labels = job.pointer("/spec/template/metadata/labels").cloned();
    if unset(job["metadata"].get("labels"))
        && let Some(labels) = labels
    {
        job["metadata"]["labels"] = labels;
    }
    let spec = &mut job["spec"];
    if !spec.is_object() {
        return;
    }
    if unset(spec.get("parallelism")) {
        if unset(spec.get("completions")) {
            spec["completions"] = 1.into();
        }
        spec["parallelism"] = 1.into();
    }
    let unlimited = !unset(spec.get("backoffLimitPerIndex"));
    let replacement = match unset(spec.get("podFailurePolicy")) {
        true => "TerminatingOrFailed",
        false => "Failed",
    };
    for (member, value) in [
        ("backoffLimit", json!(if unlimited { i32::MAX } else { 6 })),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!(replacement)),
        ("manualSelector", json!(false)),
    ] {
        // All of them are behind pointers: an empty text is a value.
        if spec.get(member).is_none_or(Value::is_null) {
            spec[member] = value;
        }
    }
}

/// The rules of one direction of scaling (KEP-853).
fn scaling_rules(behavior: &mut Value, direction: &str, policies: Value) {
    if unset(behavior.get(direction)) {
        behavior[direction] = json!({});
    }
    let rules = &mut behavior[direction];
    if direction == "scaleUp" && unset(rules.get("stabilizationWindowSeconds")) {
        rules["stabilizationWindowSeconds"] = 0.into();
    }
    for (member, value) in [("selectPolicy", "Max".into()), ("policies", policies)] {
        if rules.get(member).is_none_or(Value::is_null) {
            rules[member] = value;
        }
    }
}

fn autoscaler(hpa: &mut Value) {
    let old = hpa["apiVersion"] == "autoscaling/v1";
    let spec = &mut hpa["spec"];
    if !spec.is_object() {
        return;
    }
    if old {
        if unset(spec.get("targetCPUUtilizationPercentage")) {
            spec["targetCPUUtilizationPercentage"] = 80.into();
        }
        return;
    }
    if unset(spec.get("metrics")) {
        spec["metrics"] = json!([{"type": "Resource", "resource":
            {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    if !unset(spec.get("behavior")) {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        scaling_rules(&mut spec["behavior"], "scaleUp", json!([pods, percent]));
        scaling_rules(&mut spec["behavior"], "scaleDown", json!([percent]));
    }
}

fn network_policy(spec: &mut Value) {
    if unset(spec.get("policyTypes")) {
        spec["policyTypes"] = match unset(spec.get("egress")) {
            true => json!(["Ingress"]),
            false => json!(["Ingress", "Egress"]),
        };
    }
}

fn definition(spec: &mut Value) {
    let names = &mut spec["names"];
    if !names.is_object() {
        return;
    }
    let kind = names["kind"].as_str().unwrap_or("").to_owned();
    if unset(names.get("singular")) {
        names["singular"] = kind.to_lowercase().into();
    }
    if unset(names.get("listKind")) && !kind.is_empty() {
        names["listKind"] = format!("{kind}List").into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_tag_are_pulled_always() {
        let table = [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1", false),
            ("localhost:5000/a/nginx", true),
            ("localhost:5000/a/nginx:2", false),
            ("nginx@sha256:00", false),
        ];
        for (image, latest) in table {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
