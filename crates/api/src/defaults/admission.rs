//! What upstream's mutating admission plugins add, one function for each plugin that is on by default.
//!
//! Facts about other objects (the ServiceAccount, the PriorityClass) are passed in. Absent: LimitRanger,
//! DefaultStorageClass and DefaultIngressClass, RuntimeClass, and webhooks.

use super::unset;
use crate::resource::Resource;
use serde_json::{Value, json};

/// Names of token volumes begin with it; five letters from [`crate::names::generate`] follow.
pub const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An odd number, so that a token bound by the plugin can be told from one that was asked for.
const TOKEN_SECONDS: u32 = 3607;
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Name of the ServiceAccount that a Pod runs as: its own, else `default`.
pub fn service_account_name(pod: &Value) -> &str {
    pod.pointer("/spec/serviceAccountName")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

/// Whether a Pod is the image of a static one, which has no ServiceAccount.
pub fn is_mirror(pod: &Value) -> bool {
    let annotations = pod.pointer("/metadata/annotations");
    annotations.is_some_and(|a| a.get(MIRROR_ANNOTATION).is_some())
}

/// ServiceAccount: the account, its pull secrets and its token. `account` is the object of that name;
/// `token_volume` is the name for the volume.
pub fn service_account(pod: &mut Value, account: &Value, token_volume: &str) {
    if is_mirror(pod) {
        return;
    }
    let name = service_account_name(pod).to_owned();
    let spec = &mut pod["spec"];
    spec["serviceAccountName"] = name.as_str().into();
    spec["serviceAccount"] = name.into();
    let automount = [spec, account]
        .iter()
        .find_map(|o| {
            o.get("automountServiceAccountToken")
                .and_then(Value::as_bool)
        })
        .unwrap_or(true);
    if automount {
        mount_token(spec, token_volume);
    }
    let secrets = account.get("imagePullSecrets");
    if unset(spec.get("imagePullSecrets")) && !unset(secrets) {
        spec["imagePullSecrets"] = secrets.cloned().unwrap_or_default();
    }
}

fn mount_token(spec: &mut Value, token_volume: &str) {
    let volumes = spec.get("volumes").and_then(Value::as_array);
    let existing = volumes.into_iter().flatten().find_map(|volume| {
        let name = volume["name"].as_str()?;
        name.starts_with(TOKEN_VOLUME_PREFIX)
            .then(|| name.to_owned())
    });
    let volume = existing.as_deref().unwrap_or(token_volume);
    let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH});
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|c| c.is_object()) {
            let mounts = container.get("volumeMounts").and_then(Value::as_array);
            if mounts
                .into_iter()
                .flatten()
                .any(|m| m["mountPath"] == TOKEN_PATH)
            {
                continue;
            }
            needed = true;
            push(container, "volumeMounts", mount.clone());
        }
    }
    if needed && existing.is_none() {
        let volume = json!({"name": token_volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}});
        push(spec, "volumes", volume);
    }
}

fn push(node: &mut Value, member: &str, item: Value) {
    match node.get_mut(member).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => node[member] = json!([item]),
    }
}

/// Priority: the number and the preemption policy of the Pod's PriorityClass (or of the global default class, when the
/// Pod names none; `None` when there is no such).
pub fn priority(pod: &mut Value, class: Option<&Value>) {
    let spec = &mut pod["spec"];
    let (mut priority, mut policy) = (json!(0), json!("PreemptLowerPriority"));
    if let Some(class) = class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
        priority = class.get("value").cloned().unwrap_or(priority);
        policy = class.get("preemptionPolicy").cloned().unwrap_or(policy);
    }
    spec["priority"] = priority;
    if unset(spec.get("preemptionPolicy")) {
        spec["preemptionPolicy"] = policy;
    }
}

/// DefaultTolerationSeconds: five minutes on a node that is not ready or unreachable, unless the Pod says otherwise.
pub fn default_tolerations(pod: &mut Value) {
    const SECONDS: u32 = 300;
    let spec = &mut pod["spec"];
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let text = |t: &Value, member: &str| t[member].as_str().unwrap_or("").to_owned();
        let tolerations = spec.get("tolerations").and_then(Value::as_array);
        let tolerated = tolerations.into_iter().flatten().any(|t| {
            let (own, effect) = (text(t, "key"), text(t, "effect"));
            (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
        });
        if !tolerated {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            push(spec, "tolerations", toleration);
        }
    }
}

/// TaintNodesByCondition: a new Node is not ready until someone says so.
pub fn not_ready_taint(node: &mut Value) {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let taints = node["spec"].get("taints").and_then(Value::as_array);
    let same = |t: &Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
    if !taints.into_iter().flatten().any(same) {
        push(&mut node["spec"], "taints", taint);
    }
}

/// StorageObjectInUseProtection: the finalizer of volumes, claims and attributes classes.
pub fn storage_protection(resource: &Resource, object: &mut Value) {
    let finalizer = match (&*resource.group, &*resource.plural) {
        ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        ("", "persistentvolumes") => "kubernetes.io/pv-protection",
        ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
        _ => return,
    };
    let finalizers = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    if !finalizers.into_iter().flatten().any(|f| f == finalizer) {
        push(&mut object["metadata"], "finalizers", finalizer.into());
    }
}
