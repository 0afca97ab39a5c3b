//! What creation decides.

use super::{claim, gates, generation, members, qos, service};
use crate::resource::Resource;
use crate::time;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Who sent the request.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Name of the user.
    pub name: &'a str,
    /// UID of the user; may be empty.
    pub uid: &'a str,
    /// Groups of the user.
    pub groups: &'a [String],
    /// Extra facts of the user, as an object of lists.
    pub extra: Option<&'a Value>,
}

/// What a creation needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The time now.
    pub now: Timestamp,
    /// The new object's UID.
    pub uid: &'a str,
    /// Who sent the request.
    pub caller: Caller<'a>,
}

/// Makes a decoded and defaulted object ready to be validated and stored. Its name must be set already.
pub fn prepare_create(resource: &Resource, object: &mut Value, creation: &Creation<'_>) {
    metadata(object, creation);
    generation::start(resource, object);
    if resource.subresource("status").is_some() && !keeps_status(resource) {
        members(object).remove("status");
    }
    if !resource.is_custom() {
        gates::drop_fields(resource, None, object);
        kind(resource, object, creation);
    }
}

/// A kubelet registers its Node with a status.
fn keeps_status(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "nodes"
}

fn metadata(object: &mut Value, creation: &Creation<'_>) {
    let metadata = members(&mut object["metadata"]);
    for name in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
    ] {
        metadata.remove(name);
    }
    metadata.insert("uid".to_owned(), creation.uid.into());
    let now = time::format(creation.now);
    metadata.insert("creationTimestamp".to_owned(), now.into());
}

fn kind(resource: &Resource, object: &mut Value, creation: &Creation<'_>) {
    let now = || time::format(creation.now);
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => pod(object, creation),
        ("", "namespaces") => namespace(object),
        ("", "limitranges")
            if object["metadata"]["name"]
                .as_str()
                .is_none_or(str::is_empty) =>
        {
            object["metadata"]["name"] = creation.uid.into();
        }
        ("", "nodes") => drop(members(&mut object["status"]).remove("config")),
        ("", "serviceaccounts") => super::secret_names(object),
        ("", "services") => service::drop_alias_policy(object),
        ("", "persistentvolumes") => {
            object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now()});
        }
        ("", "persistentvolumeclaims") => {
            object["status"] = json!({"phase": "Pending"});
            claim::prepare(None, object);
        }
        ("apps", "daemonsets") => {
            object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] =
                "1".into();
        }
        ("batch", "jobs") => job(object, creation.uid),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            requester(object, &creation.caller)
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition(object),
        ("resource.k8s.io", "resourceslices") => super::date_taints(object, creation.now),
        ("resource.k8s.io", "devicetaintrules")
            if object["spec"]["taint"]["timeAdded"].is_null() =>
        {
            object["spec"]["taint"]["timeAdded"] = now().into();
        }
        ("apiregistration.k8s.io", "apiservices") if object["spec"]["service"].is_null() => {
            object["status"] = json!({"conditions": [{"type": "Available", "status": "True", "lastTransitionTime": now(),
                "reason": "Local", "message": "Local APIServices are always available"}]});
        }
        _ => {}
    }
}

fn pod(pod: &mut Value, creation: &Creation<'_>) {
    // A negative grace once meant none; it now means the least that there is.
    if pod["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|s| s < 0)
    {
        pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    }
    super::pod_level::complete(&mut pod["spec"]);
    let class = qos::class(pod).as_str();
    let mut status = json!({"phase": "Pending", "qosClass": class});
    let gates = pod["spec"].get("schedulingGates").and_then(Value::as_array);
    if gates.is_some_and(|g| !g.is_empty()) {
        status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "lastProbeTime": null,
            "lastTransitionTime": time::format(creation.now), "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
    }
    pod["status"] = status;
}

fn namespace(namespace: &mut Value) {
    const FINALIZER: &str = "kubernetes";
    let name = namespace["metadata"]["name"].clone();
    namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    namespace["status"] = json!({"phase": "Active"});
    match namespace["spec"]
        .get_mut("finalizers")
        .and_then(Value::as_array_mut)
    {
        Some(finalizers) if finalizers.iter().any(|f| f == FINALIZER) => {}
        Some(finalizers) => finalizers.push(FINALIZER.into()),
        None => namespace["spec"]["finalizers"] = json!([FINALIZER]),
    }
}

/// The labels and the selector that tie a Job to its Pods, unless it has its own (KEP-2333 for the prefixed names).
fn job(job: &mut Value, uid: &str) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let name = Value::from(job["metadata"]["name"].as_str().unwrap_or(""));
    let labels = members(&mut job["spec"]["template"]["metadata"]["labels"]);
    // What is there already is wrong, or it would not have been sent; validation says so.
    for prefix in ["", "batch.kubernetes.io/"] {
        labels
            .entry(format!("{prefix}controller-uid"))
            .or_insert_with(|| uid.into());
        labels
            .entry(format!("{prefix}job-name"))
            .or_insert_with(|| name.clone());
    }
    let labels = Value::Object(labels.clone());
    let selector = &mut job["spec"]["selector"];
    if selector.is_null() {
        *selector = json!({});
    }
    members(&mut selector["matchLabels"])
        .entry("batch.kubernetes.io/controller-uid")
        .or_insert_with(|| uid.into());
    let own = &mut job["metadata"]["labels"];
    if own.as_object().is_none_or(serde_json::Map::is_empty) {
        *own = labels;
    }
}

fn requester(csr: &mut Value, caller: &Caller<'_>) {
    let spec = members(&mut csr["spec"]);
    spec.remove("extra");
    spec.insert("username".to_owned(), caller.name.into());
    spec.insert("uid".to_owned(), caller.uid.into());
    spec.insert("groups".to_owned(), caller.groups.into());
    if let Some(extra) = caller
        .extra
        .filter(|e| e.as_object().is_some_and(|m| !m.is_empty()))
    {
        spec.insert("extra".to_owned(), extra.clone());
    }
}

fn definition(definition: &mut Value) {
    let versions = definition["spec"]["versions"].as_array();
    let stored: Vec<Value> = versions
        .into_iter()
        .flatten()
        .filter(|v| v["storage"] == true)
        .map(|v| v["name"].clone())
        .collect();
    definition["status"] = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored});
}
