//! Volumes and mounts.

use super::super::checks::{Errors, invalid_each, list, required, some, text};
use super::env;
use crate::field::{Error, Path};
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::HashSet;

/// Names of the volumes that are right.
pub(super) type Volumes<'a> = HashSet<&'a str>;

/// Sources in the order in which upstream looks at them: the second one found is the one told of.
const SOURCES: [&str; 29] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "quobyte",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const MODE_TEXT: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const TOKEN_SECONDS_MIN: i64 = 600;

/// `volumes` of a Pod.
pub(super) fn volumes<'a>(errors: &mut Errors, path: &Path<'_>, spec: &'a Value) -> Volumes<'a> {
    let path = path.field("volumes");
    let mut right: Volumes<'a> = HashSet::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let at = path.index(i);
        let before = errors.len();
        source(errors, &at, volume);
        let name = text(volume, "name");
        match name {
            "" => errors.push(Error::required(&at.field("name"), "")),
            _ => invalid_each(errors, &at.field("name"), name, names::dns1123_label(name)),
        }
        if right.contains(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        if errors.len() == before {
            right.insert(name);
        }
    }
    right
}

fn source(errors: &mut Errors, path: &Path<'_>, volume: &Value) {
    let mut found = 0;
    for member in SOURCES {
        let Some(source) = some(volume, member) else {
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
        one_source(errors, &at, member, source);
    }
    if found == 0 {
        errors.push(Error::required(path, "must specify a volume type"));
    }
}

fn one_source(errors: &mut Errors, path: &Path<'_>, member: &str, source: &Value) {
    match member {
        "emptyDir" => {
            let limit = some(source, "sizeLimit").and_then(|l| Quantity::from_json(l).ok());
            if limit.is_some_and(|l| l.is_negative()) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.push(Error::forbidden(&path.field("sizeLimit"), detail));
            }
        }
        "hostPath" => host_path(errors, path, source),
        "gitRepo" => {
            required(errors, path, source, "repository");
        }
        "secret" => {
            required(errors, path, source, "secretName");
            mode(errors, path, source, "defaultMode");
            env::keys_to_paths(errors, path, source);
        }
        "configMap" => {
            required(errors, path, source, "name");
            mode(errors, path, source, "defaultMode");
            env::keys_to_paths(errors, path, source);
        }
        "nfs" => nfs(errors, path, source),
        "persistentVolumeClaim" => {
            required(errors, path, source, "claimName");
        }
        "downwardAPI" => {
            mode(errors, path, source, "defaultMode");
            downward(errors, path, source);
        }
        "projected" => projected(errors, path, source),
        "csi" => {
            required(errors, path, source, "driver");
        }
        _ => {}
    }
}

/// Also of PersistentVolumes.
pub(in super::super) fn host_path(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    if !required(errors, path, source, "path") {
        return;
    }
    no_backsteps(errors, &path.field("path"), text(source, "path"));
    let kind = text(source, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(Error::not_supported(
            &path.field("type"),
            kind,
            &HOST_PATH_TYPES,
        ));
    }
}

/// Also of PersistentVolumes.
pub(in super::super) fn nfs(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    required(errors, path, source, "server");
    if required(errors, path, source, "path") && !text(source, "path").starts_with('/') {
        let detail = "must be an absolute path";
        errors.push(Error::invalid(
            &path.field("path"),
            text(source, "path"),
            detail,
        ));
    }
}

/// Bits of a file's mode.
pub(super) fn mode(errors: &mut Errors, path: &Path<'_>, source: &Value, member: &str) {
    if let Some(mode) = some(source, member).and_then(Value::as_i64)
        && !(0..=0o777).contains(&mode)
    {
        errors.push(Error::invalid(&path.field(member), mode, MODE_TEXT));
    }
}

fn no_backsteps(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, text, "must not contain '..'"));
    }
}

/// A path inside a volume.
pub(super) fn local_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    descending_path(errors, path, text);
    if text.starts_with("..") && !text.starts_with("../") && text != ".." {
        errors.push(Error::invalid(path, text, "must not start with '..'"));
    }
}

fn descending_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must be a relative path"));
    }
    no_backsteps(errors, path, text);
}

fn downward(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    for item in list(source, "items") {
        // Upstream gives no index here.
        if required(errors, path, item, "path") {
            local_path(errors, &path.field("path"), text(item, "path"));
        }
        match (some(item, "fieldRef"), some(item, "resourceFieldRef")) {
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", detail));
            }
            (Some(field), None) => env::volume_field_ref(errors, &path.field("fieldRef"), field),
            (None, Some(resource)) => {
                env::resource_ref(errors, &path.field("resourceFieldRef"), resource, true)
            }
            (None, None) => errors.push(Error::required(
                path,
                "one of fieldRef and resourceFieldRef is required",
            )),
        }
        mode(errors, path, item, "mode");
    }
}

fn projected(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    mode(errors, path, source, "defaultMode");
    let sources = path.field("sources");
    for (i, source) in list(source, "sources").iter().enumerate() {
        let at = sources.index(i);
        for member in ["secret", "configMap"] {
            if let Some(keys) = some(source, member) {
                let at = at.field(member);
                required(errors, &at, keys, "name");
                env::keys_to_paths(errors, &at, keys);
            }
        }
        if let Some(items) = some(source, "downwardAPI") {
            downward(errors, &at.field("downwardAPI"), items);
        }
        if let Some(token) = some(source, "serviceAccountToken") {
            let at = at.field("serviceAccountToken");
            let seconds = token["expirationSeconds"].as_i64().unwrap_or(0);
            if seconds < TOKEN_SECONDS_MIN {
                let detail = "may not specify a duration less than 10 minutes";
                errors.push(Error::invalid(
                    &at.field("expirationSeconds"),
                    seconds,
                    detail,
                ));
            }
            if required(errors, &at, token, "path") {
                local_path(errors, &at.field("path"), text(token, "path"));
            }
        }
    }
}

/// `volumeMounts` and `volumeDevices` of a container.
pub(super) fn mounts(
    errors: &mut Errors,
    path: &Path<'_>,
    container: &Value,
    volumes: &Volumes<'_>,
) {
    let mounts_path = path.field("volumeMounts");
    let mounts = list(container, "volumeMounts");
    let devices = list(container, "volumeDevices");
    let device_names: HashSet<&str> = devices.iter().map(|d| text(d, "name")).collect();
    let mut targets = HashSet::new();
    for (i, mount) in mounts.iter().enumerate() {
        let at = mounts_path.index(i);
        let (name, target) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&at.field("name"), ""));
        }
        if !volumes.contains(name) {
            errors.push(Error::not_found(&at.field("name"), name));
        }
        if target.is_empty() {
            errors.push(Error::required(&at.field("mountPath"), ""));
        }
        if !targets.insert(target) {
            errors.push(Error::invalid(
                &at.field("mountPath"),
                target,
                "must be unique",
            ));
        }
        if device_names.contains(name) {
            errors.push(Error::invalid(
                &at.field("name"),
                name,
                "must not already exist in volumeDevices",
            ));
        }
        for member in ["subPath", "subPathExpr"] {
            let sub = text(mount, member);
            if member == "subPathExpr" && !sub.is_empty() && !text(mount, "subPath").is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&at.field(member), sub, detail));
            }
            descending_path(errors, &mounts_path.field(member), sub);
        }
        let propagation = text(mount, "mountPropagation");
        if !matches!(
            propagation,
            "" | "None" | "Bidirectional" | "HostToContainer"
        ) {
            let supported = ["Bidirectional", "HostToContainer", "None"];
            errors.push(Error::not_supported(
                &at.field("mountPropagation"),
                propagation,
                &supported,
            ));
        }
    }
    let devices_path = path.field("volumeDevices");
    for (i, device) in devices.iter().enumerate() {
        let at = devices_path.index(i);
        let name = text(device, "name");
        if name.is_empty() {
            errors.push(Error::required(&at.field("name"), ""));
        } else if !volumes.contains(name) {
            errors.push(Error::not_found(&at.field("name"), name));
        }
        required(errors, &at, device, "devicePath");
    }
}
