//! PersistentVolumes and claims.

use super::checks::{Errors, invalid_each, label_selector, list, one_of_if_set, some, text};
use super::pod;
use crate::field::{Error, Path};
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
    "image",
];

fn access_modes(errors: &mut Errors, spec: &Value, required: &str) {
    let parent = Path::root("spec");
    let path = parent.field("accessModes");
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        errors.push(Error::required(&path, required));
    }
    for mode in modes.iter().filter(|m| !MODES.iter().any(|k| m == k)) {
        errors.push(Error::not_supported(&path, mode, &MODES));
    }
    if modes.len() > 1 && modes.iter().any(|m| m == "ReadWriteOncePod") {
        errors.push(Error::forbidden(
            &path,
            "may not use ReadWriteOncePod with other access modes",
        ));
    }
}

pub(super) fn claim(errors: &mut Errors, claim: &Value) {
    let (spec, path) = (&claim["spec"], Path::root("spec"));
    access_modes(errors, spec, "at least 1 access mode is required");
    if let Some(selector) = some(spec, "selector") {
        label_selector(errors, &path.field("selector"), selector);
    }
    let resources = path.field("resources");
    let at = resources.key("storage");
    match spec.pointer("/resources/requests/storage") {
        None => errors.push(Error::required(&at, "")),
        Some(value) => {
            if Quantity::from_json(value).is_ok_and(|q| q.is_zero() || q.is_negative()) {
                errors.push(Error::invalid(&at, value, "must be greater than zero"));
            }
        }
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        invalid_each(
            errors,
            &path.field("storageClassName"),
            class,
            names::dns1123_subdomain(class),
        );
    }
    one_of_if_set(errors, &path, spec, "volumeMode", &["Block", "Filesystem"]);
}

/// Only what a bound claim asks for can grow. Upstream adds a diff of the Go structs to the text; it is left out here
/// (docs/deviations.md).
pub(super) fn claim_update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    claim(errors, new);
    let munged = |spec: &Value| {
        let mut munged = spec.clone();
        if let Some(members) = munged.as_object_mut() {
            members.remove("volumeName");
            if old["status"]["phase"] == "Bound" {
                members.remove("resources");
                members.remove("volumeAttributesClassName");
            }
        }
        munged
    };
    let bound_again = !text(old_spec, "volumeName").is_empty()
        && text(old_spec, "volumeName") != text(spec, "volumeName");
    if munged(old_spec) != munged(spec) || bound_again {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&path, detail));
        return;
    }
    let storage = |node: &Value, pointer: &str| {
        node.pointer(pointer)
            .and_then(|v| Quantity::from_json(v).ok())
    };
    let (before, after) = (
        storage(old_spec, "/resources/requests/storage"),
        storage(spec, "/resources/requests/storage"),
    );
    let resources = path.field("resources");
    let requests = resources.field("requests");
    if let (Some(before), Some(after)) = (before, after)
        && after < before
    {
        let capacity = storage(&old["status"], "/capacity/storage");
        if capacity.is_none_or(|capacity| after < capacity) {
            let detail = "field can not be less than status.capacity";
            errors.push(Error::forbidden(&requests.field("storage"), detail));
        }
    }
}

pub(super) fn volume(errors: &mut Errors, volume: &Value) {
    let (spec, path) = (&volume["spec"], Path::root("spec"));
    access_modes(errors, spec, "");
    capacity(errors, spec);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    let mut found = 0;
    for member in SOURCES {
        let Some(source) = some(spec, member) else {
            continue;
        };
        let at = path.field(member);
        found += 1;
        if found > 1 {
            errors.push(Error::forbidden(
                &at,
                "may not specify more than 1 volume type",
            ));
            continue;
        }
        match member {
            "hostPath" => pod::host_path(errors, &at, source),
            "nfs" => pod::nfs(errors, &at, source),
            "local" => {
                if text(source, "path").is_empty() {
                    errors.push(Error::required(&at.field("path"), ""));
                }
                if some(spec, "nodeAffinity").is_none() {
                    errors.push(Error::required(
                        &path.field("nodeAffinity"),
                        "Local volume requires node affinity",
                    ));
                }
            }
            _ => {}
        }
    }
    if found == 0 {
        errors.push(Error::required(&path, "must specify a volume type"));
    }
    if spec.pointer("/hostPath/path").is_some_and(|p| p == "/") && policy == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(
            &path.field("persistentVolumeReclaimPolicy"),
            detail,
        ));
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        invalid_each(
            errors,
            &path.field("storageClassName"),
            class,
            names::dns1123_subdomain(class),
        );
    }
    one_of_if_set(errors, &path, spec, "volumeMode", &["Block", "Filesystem"]);
    if let Some(required) = spec.pointer("/nodeAffinity/required") {
        let affinity = path.field("nodeAffinity");
        pod::node_selector(errors, &affinity.field("required"), required);
    }
}

fn capacity(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("capacity");
    let found = some(spec, "capacity").and_then(Value::as_object);
    if found.is_none_or(serde_json::Map::is_empty) {
        errors.push(Error::required(&path, ""));
    }
    if found.is_none_or(|c| c.len() != 1 || !c.contains_key("storage")) {
        errors.push(Error::not_supported(
            &path,
            some(spec, "capacity"),
            &["storage"],
        ));
    }
    for (name, value) in found.into_iter().flatten() {
        if Quantity::from_json(value).is_ok_and(|q| q.is_zero() || q.is_negative()) {
            errors.push(Error::invalid(
                &path.key(name),
                value,
                "must be greater than zero",
            ));
        }
    }
    let spec_path = Path::root("spec");
    let policies = ["Delete", "Recycle", "Retain"];
    one_of_if_set(
        errors,
        &spec_path,
        spec,
        "persistentVolumeReclaimPolicy",
        &policies,
    );
}

/// The volume behind a PersistentVolume is always the same.
pub(super) fn volume_update(errors: &mut Errors, old: &Value, new: &Value) {
    volume(errors, new);
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    let source = |spec: &Value| -> Vec<Option<Value>> {
        SOURCES.iter().map(|m| some(spec, m).cloned()).collect()
    };
    if source(old_spec) != source(spec) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(Error::forbidden(
            &path.field("persistentvolumesource"),
            detail,
        ));
    }
    super::checks::immutable(errors, &path, old_spec, spec, "volumeMode");
}
