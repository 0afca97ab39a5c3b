//! What an update may change.

use super::{claim, copy_member, gates, generation, members, service};
use crate::resource::Resource;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Makes a decoded and defaulted object ready to replace `old`. `subresource` is empty for the object itself.
pub fn prepare_update(
    resource: &Resource,
    subresource: &str,
    old: &Value,
    new: &mut Value,
    now: Timestamp,
) {
    metadata(old, new);
    match subresource {
        "" => own(resource, old, new, now),
        "status" | "approval" | "finalize" => status(resource, subresource, old, new, now),
        "ephemeralcontainers" => *new = with_ephemeral_containers(old, new),
        "resize" => *new = with_resources(old, new),
        _ => {}
    }
    generation::carry(resource, subresource, old, new);
}

/// What no client can change: leaving it out keeps it, and times are kept whatever was sent.
fn metadata(old: &Value, new: &mut Value) {
    let old = &old["metadata"];
    let new = members(&mut new["metadata"]);
    let absent = |v: Option<&Value>| v.is_none_or(|v| v.is_null() || v == "");
    if absent(new.get("uid")) {
        new.insert("uid".to_owned(), old["uid"].clone());
    }
    for name in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(time) = old.get(name).filter(|v| !v.is_null()) {
            new.insert(name.to_owned(), time.clone());
        }
    }
    if let Some(grace) = old.get("deletionGracePeriodSeconds")
        && absent(new.get("deletionGracePeriodSeconds"))
    {
        new.insert("deletionGracePeriodSeconds".to_owned(), grace.clone());
    }
    new.remove("selfLink");
}

fn own(resource: &Resource, old: &Value, new: &mut Value, now: Timestamp) {
    if resource.subresource("status").is_some() {
        copy_member(old, new, "status");
    }
    if resource.is_custom() {
        return;
    }
    gates::drop_fields(resource, Some(old), new);
    match (&*resource.group, &*resource.plural) {
        ("", "persistentvolumeclaims") => claim::prepare(Some(old), new),
        ("", "serviceaccounts") => super::secret_names(new),
        ("resource.k8s.io", "resourceslices") => super::date_taints(new, now),
        ("", "namespaces") => {
            members(&mut new["spec"]);
            copy_member(&old["spec"], &mut new["spec"], "finalizers");
        }
        ("", "services") => service::prepare_update(old, new),
        ("apps", "daemonsets") => template_generation(old, new),
        ("apiextensions.k8s.io", _) => stored_version(new),
        ("certificates.k8s.io", "certificatesigningrequests") => copy_member(old, new, "spec"),
        _ => {}
    }
}

/// A version in which objects of a definition are stored from now on.
fn stored_version(definition: &mut Value) {
    let versions = definition["spec"]["versions"].as_array();
    let mut stored = versions
        .into_iter()
        .flatten()
        .filter(|v| v["storage"] == true);
    let Some(name) = stored.next().map(|v| v["name"].clone()) else {
        return;
    };
    let list = &mut definition["status"]["storedVersions"];
    match list.as_array_mut() {
        Some(list) if list.contains(&name) => {}
        Some(list) => list.push(name),
        None => *list = json!([name]),
    }
}

/// The number that old DaemonSet clients tell templates apart by.
fn template_generation(old: &Value, new: &mut Value) {
    const NAME: &str = "deprecated.daemonset.template.generation";
    let before = old["metadata"]["annotations"][NAME]
        .as_str()
        .and_then(|n| n.parse::<i64>().ok());
    let changed = old["spec"]["template"] != new["spec"]["template"];
    let next = before.unwrap_or(0) + i64::from(changed);
    let annotations = members(&mut new["metadata"]["annotations"]);
    annotations.insert(NAME.to_owned(), next.to_string().into());
}

/// Through `/status` the spec stays; which metadata may change differs by kind.
fn status(resource: &Resource, subresource: &str, old: &Value, new: &mut Value, now: Timestamp) {
    if resource.is_custom() {
        let status = new.get("status").cloned();
        let managers = new["metadata"].get("managedFields").cloned();
        *new = old.clone();
        match managers {
            Some(managers) => new["metadata"]["managedFields"] = managers,
            None => drop(members(&mut new["metadata"]).remove("managedFields")),
        }
        match status {
            Some(status) => new["status"] = status,
            None => {
                members(new).remove("status");
            }
        }
        return;
    }
    if subresource == "finalize" {
        copy_member(old, new, "status");
        return;
    }
    copy_member(old, new, "spec");
    gates::drop_fields(resource, Some(old), new);
    match (&*resource.group, &*resource.plural) {
        ("apps", "deployments") => copy_member(&old["metadata"], &mut new["metadata"], "labels"),
        _ if super::status_keeps_metadata(resource) => status_metadata(old, new),
        ("", "pods") => pod_status(old, new),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            signing_request(subresource, old, new, now);
        }
        ("", "persistentvolumes") if old["status"]["phase"] != new["status"]["phase"] => {
            let unset = new["status"]["lastPhaseTransitionTime"]
                == old["status"]["lastPhaseTransitionTime"];
            if unset {
                new["status"]["lastPhaseTransitionTime"] = crate::time::format(now).into();
            }
        }
        _ => {}
    }
}

/// What the status of a kind can't change of its metadata.
fn status_metadata(old: &Value, new: &mut Value) {
    for member in ["labels", "annotations", "finalizers", "ownerReferences"] {
        copy_member(&old["metadata"], &mut new["metadata"], member);
    }
}

/// Conditions get their times; approval is for conditions only, and the rest keeps its verdicts.
fn signing_request(subresource: &str, old: &Value, new: &mut Value, now: Timestamp) {
    let conditions = |object: &Value| -> Vec<Value> {
        object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let before = conditions(old);
    let mut next = conditions(new);
    if subresource == "status" {
        for kind in ["Approved", "Denied"] {
            let is = |c: &&Value| c["type"] == kind;
            let stored: Vec<&Value> = before.iter().filter(is).collect();
            if stored.len() == next.iter().filter(is).count() {
                let places = next.iter_mut().filter(|c| c["type"] == kind);
                places
                    .zip(stored)
                    .for_each(|(place, stored)| place.clone_from(stored));
            }
        }
    }
    let now = Value::from(crate::time::format(now));
    for condition in &mut next {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.clone();
        }
        if condition["lastTransitionTime"].is_null() {
            let same =
                |c: &&Value| c["type"] == condition["type"] && c["status"] == condition["status"];
            let known = before
                .iter()
                .find(same)
                .map(|c| c["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = known
                .filter(|t| !t.is_null())
                .unwrap_or_else(|| now.clone());
        }
    }
    if subresource == "approval" {
        copy_member(old, new, "status");
    }
    match next.is_empty() {
        false => members(&mut new["status"]).insert("conditions".to_owned(), next.into()),
        true => members(&mut new["status"]).remove("conditions"),
    };
}

fn pod_status(old: &Value, new: &mut Value) {
    copy_member(&old["metadata"], &mut new["metadata"], "ownerReferences");
    // The class is decided once; a kubelet may only repeat it.
    if let Some(class) = old["status"].get("qosClass") {
        members(&mut new["status"]).insert("qosClass".to_owned(), class.clone());
    }
}

/// Only the ephemeral containers count.
fn with_ephemeral_containers(old: &Value, new: &Value) -> Value {
    let mut merged = old.clone();
    copy_member(&new["spec"], &mut merged["spec"], "ephemeralContainers");
    keep_version(new, &mut merged);
    merged
}

/// Only requests, limits and resize policies count, for containers that are in the same place (KEP-1287).
fn with_resources(old: &Value, new: &Value) -> Value {
    let mut merged = old.clone();
    for list in ["containers", "initContainers"] {
        let theirs = new["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
        let ours = merged["spec"].get_mut(list).and_then(Value::as_array_mut);
        for (ours, theirs) in ours.into_iter().flatten().zip(theirs) {
            if ours["name"] == theirs["name"] {
                copy_member(theirs, ours, "resources");
                copy_member(theirs, ours, "resizePolicy");
            }
        }
    }
    copy_member(&new["spec"], &mut merged["spec"], "resources");
    keep_version(new, &mut merged);
    merged
}

/// Managed fields and the precondition come from the request.
fn keep_version(new: &Value, merged: &mut Value) {
    for name in ["resourceVersion", "managedFields"] {
        if let Some(value) = new["metadata"].get(name) {
            merged["metadata"][name] = value.clone();
        }
    }
    if merged["metadata"].is_null() {
        merged["metadata"] = json!({});
    }
}
