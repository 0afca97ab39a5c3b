//! Kinds of the smaller groups.

use super::age::human_duration;
use super::cells::{age, ago, bool_text, int, is_true, list, name, text, text_or};
use jiff::Timestamp;
use serde_json::Value;

fn int_or_text(value: &Value) -> String {
    match value {
        Value::Null => "N/A".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn subjects(binding: &Value, kind: &str) -> String {
    let names: Vec<String> = list(binding, "subjects")
        .iter()
        .filter(|s| s["kind"] == kind)
        .map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", text(s, "namespace"), text(s, "name")),
            _ => text(s, "name").to_owned(),
        })
        .collect();
    names.join(", ")
}

fn binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = &binding["roleRef"];
    vec![
        name(binding),
        format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
        age(binding, now),
        subjects(binding, "User").into(),
        subjects(binding, "Group").into(),
        subjects(binding, "ServiceAccount").into(),
    ]
}

fn signing_request(csr: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&csr["spec"], &csr["status"]);
    let has = |kind: &str| list(status, "conditions").iter().any(|c| c["type"] == kind);
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(status, "certificate").is_empty() {
        state.push_str(",Issued");
    }
    let duration = spec["expirationSeconds"].as_i64().map(human_duration);
    vec![
        name(csr),
        age(csr, now),
        text_or(spec, "signerName", "<none>").into(),
        text(spec, "username").into(),
        duration.unwrap_or_else(|| "<none>".to_owned()).into(),
        state.into(),
    ]
}

fn definition(definition: &Value) -> Vec<Value> {
    let spec = &definition["spec"];
    let versions: Vec<String> = list(spec, "versions")
        .iter()
        .map(|v| match v["storage"] == true {
            true => format!("{}(storage)", text(v, "name")),
            false => text(v, "name").to_owned(),
        })
        .collect();
    let short: Vec<&str> = list(&spec["names"], "shortNames")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    vec![
        name(definition),
        text(spec, "scope").into(),
        versions.join(",").into(),
        definition["metadata"]["creationTimestamp"].clone(),
        text(spec, "group").into(),
        text(&spec["names"], "kind").into(),
        short.join(",").into(),
        is_true(definition, "Established").into(),
    ]
}

fn api_service(service: &Value, now: Timestamp) -> Vec<Value> {
    let backend = &service["spec"]["service"];
    let shown = match backend.is_object() {
        true => format!("{}/{}", text(backend, "namespace"), text(backend, "name")),
        false => "Local".to_owned(),
    };
    let available = list(&service["status"], "conditions")
        .iter()
        .find(|c| c["type"] == "Available");
    let available = match available.map(|c| (text(c, "status"), text(c, "reason"))) {
        None => "Unknown".to_owned(),
        Some(("True", _)) => "True".to_owned(),
        Some((status, reason)) => format!("{status} ({reason})"),
    };
    vec![
        name(service),
        shown.into(),
        available.into(),
        age(service, now),
    ]
}

fn policy(policy: &Value, rules: &str, now: Timestamp) -> Vec<Value> {
    let spec = &policy["spec"];
    let kind = match spec.get("paramKind").filter(|k| k.is_object()) {
        Some(kind) => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")),
        None => "<unset>".to_owned(),
    };
    vec![
        name(policy),
        list(spec, rules).len().into(),
        kind.into(),
        age(policy, now),
    ]
}

fn policy_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &binding["spec"];
    let reference = match spec.get("paramRef").filter(|r| r.is_object()) {
        Some(reference) => match (text(reference, "namespace"), text(reference, "name")) {
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        },
        None => "<unset>".to_owned(),
    };
    vec![
        name(binding),
        text(spec, "policyName").into(),
        reference.into(),
        age(binding, now),
    ]
}

fn flow_schema(schema: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &schema["spec"];
    let dangling = list(&schema["status"], "conditions")
        .iter()
        .find(|c| c["type"] == "Dangling");
    vec![
        name(schema),
        text_or(&spec["priorityLevelConfiguration"], "name", "<none>").into(),
        int(spec, "matchingPrecedence").into(),
        text_or(&spec["distinguisherMethod"], "type", "<none>").into(),
        age(schema, now),
        dangling.map_or("?", |c| text(c, "status")).into(),
    ]
}

fn priority_level(level: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &level["spec"];
    let own = if spec["type"] == "Exempt" {
        &spec["exempt"]
    } else {
        &spec["limited"]
    };
    let number = |node: &Value, member: &str| match node.get(member).and_then(Value::as_i64) {
        Some(number) => number.into(),
        None => Value::from("<none>"),
    };
    let queuing = &spec["limited"]["limitResponse"]["queuing"];
    vec![
        name(level),
        text(spec, "type").into(),
        number(own, "nominalConcurrencyShares"),
        number(queuing, "queues"),
        number(queuing, "handSize"),
        number(queuing, "queueLengthLimit"),
        age(level, now),
    ]
}

/// `allocated,reserved`, `deleted,pending`.
fn claim_state(claim: &Value) -> String {
    let status = &claim["status"];
    let mut words = Vec::new();
    if claim["metadata"]["deletionTimestamp"].is_string() {
        words.push("deleted");
    }
    if status["allocation"].is_object() {
        words.push("allocated");
    } else if claim["metadata"]["deletionTimestamp"].is_null() {
        words.push("pending");
    }
    if !list(status, "reservedFor").is_empty() {
        words.push("reserved");
    }
    words.join(",")
}

fn resource_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &slice["spec"];
    vec![
        name(slice),
        text_or(spec, "nodeName", "<unset>").into(),
        text(spec, "driver").into(),
        text(&spec["pool"], "name").into(),
        age(slice, now),
    ]
}

fn taint_rule(rule: &Value, now: Timestamp) -> Vec<Value> {
    let taint = &rule["spec"]["taint"];
    vec![
        name(rule),
        text(taint, "key").into(),
        text(taint, "value").into(),
        text(taint, "effect").into(),
        ago(taint, "timeAdded", now),
        age(rule, now),
    ]
}

fn disruption_budget(budget: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &budget["spec"];
    vec![
        name(budget),
        int_or_text(&spec["minAvailable"]).into(),
        int_or_text(&spec["maxUnavailable"]).into(),
        int(&budget["status"], "disruptionsAllowed").into(),
        age(budget, now),
    ]
}

pub(super) fn cells(plural: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let spec = &object["spec"];
    Some(match plural {
        "leases" => vec![
            name(object),
            text(spec, "holderIdentity").into(),
            age(object, now),
        ],
        "poddisruptionbudgets" => disruption_budget(object, now),
        "clusterrolebindings" | "rolebindings" => binding(object, now),
        "certificatesigningrequests" => signing_request(object, now),
        "clustertrustbundles" => vec![name(object), text_or(spec, "signerName", "<none>").into()],
        "customresourcedefinitions" => definition(object),
        "apiservices" => api_service(object, now),
        "validatingadmissionpolicies" => policy(object, "validations", now),
        "mutatingadmissionpolicies" => policy(object, "mutations", now),
        "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings" => {
            policy_binding(object, now)
        }
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            vec![
                name(object),
                list(object, "webhooks").len().into(),
                age(object, now),
            ]
        }
        "flowschemas" => flow_schema(object, now),
        "prioritylevelconfigurations" => priority_level(object, now),
        "priorityclasses" => vec![
            name(object),
            int(object, "value").into(),
            (bool_text(&object["globalDefault"]) == "True").into(),
            age(object, now),
            text_or(object, "preemptionPolicy", "<unset>").into(),
        ],
        "runtimeclasses" => vec![
            name(object),
            text(object, "handler").into(),
            age(object, now),
        ],
        "deviceclasses" | "resourceclaimtemplates" => vec![name(object), age(object, now)],
        "devicetaintrules" => taint_rule(object, now),
        "resourceclaims" => vec![name(object), claim_state(object).into(), age(object, now)],
        "resourceslices" => resource_slice(object, now),
        "storageversionmigrations" => migration(object),
        "podcertificaterequests" => pod_certificate(object),
        _ => return None,
    })
}

fn migration(migration: &Value) -> Vec<Value> {
    let resource = &migration["spec"]["resource"];
    let group = text(resource, "group");
    let dot = if group.is_empty() { "" } else { "." };
    let state = ["Succeeded", "Failed", "Running"]
        .into_iter()
        .find(|c| is_true(migration, c));
    vec![
        name(migration),
        format!("{}{dot}{group}", text(resource, "resource")).into(),
        state.unwrap_or("Pending").into(),
    ]
}

fn pod_certificate(request: &Value) -> Vec<Value> {
    let spec = &request["spec"];
    let state = ["Denied", "Failed", "Issued"]
        .into_iter()
        .find(|c| is_true(request, c));
    let annotations: Vec<String> = spec["unverifiedUserAnnotations"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    vec![
        name(request),
        text(spec, "podName").into(),
        text(spec, "serviceAccountName").into(),
        text(spec, "nodeName").into(),
        text(spec, "signerName").into(),
        state.unwrap_or("Pending").into(),
        annotations.join(",").into(),
    ]
}
