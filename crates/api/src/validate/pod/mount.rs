//! `volumeMounts` and `volumeDevices` of a container.
//!
//! Some errors about one mount are told of at the list of all: upstream's paths.

use super::super::checks::{Errors, list, some, text};
use super::super::volume_source::descending_path;
use super::volume::Volumes;
use crate::field::{Error, Path};
use serde_json::Value;
use std::collections::HashSet;

const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

/// `volumeMounts`.
pub(super) fn mounts(
    errors: &mut Errors,
    path: &Path<'_>,
    container: &Value,
    volumes: &Volumes<'_>,
) {
    let mounts_path = path.field("volumeMounts");
    let devices = list(container, "volumeDevices");
    let device_names: HashSet<&str> = devices.iter().map(|d| text(d, "name")).collect();
    let device_paths: HashSet<&str> = devices.iter().map(|d| text(d, "devicePath")).collect();
    let mut targets = HashSet::new();
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = mounts_path.index(i);
        let (name, target) = (text(mount, "name"), text(mount, "mountPath"));
        let (name_path, target_path) = (at.field("name"), at.field("mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&name_path, ""));
        }
        if !volumes.contains_key(name) {
            errors.push(Error::not_found(&name_path, name));
        }
        if target.is_empty() {
            errors.push(Error::required(&target_path, ""));
        }
        if !targets.insert(target) {
            errors.push(Error::invalid(&target_path, target, "must be unique"));
        }
        if device_names.contains(name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(Error::invalid(&name_path, name, detail));
        }
        if device_paths.contains(target) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(Error::invalid(&target_path, target, detail));
        }
        sub_path(errors, &mounts_path, mount, i);
        propagation(errors, &mounts_path, mount, container);
        recursive_read_only(errors, &mounts_path, mount);
    }
}

fn sub_path(errors: &mut Errors, path: &Path<'_>, mount: &Value, index: usize) {
    let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !sub.is_empty() {
        descending_path(errors, &path.field("subPath"), sub);
    }
    if !expression.is_empty() {
        if !sub.is_empty() {
            let (at, detail) = (
                path.index(index),
                "subPathExpr and subPath are mutually exclusive",
            );
            errors.push(Error::invalid(&at.field("subPathExpr"), expression, detail));
        }
        descending_path(errors, &path.field("subPathExpr"), expression);
    }
}

fn propagation(errors: &mut Errors, path: &Path<'_>, mount: &Value, container: &Value) {
    let Some(word) = some(mount, "mountPropagation").and_then(Value::as_str) else {
        return;
    };
    let at = path.field("mountPropagation");
    if !PROPAGATIONS.contains(&word) {
        errors.push(Error::not_supported(&at, word, &PROPAGATIONS));
    }
    let privileged = container["securityContext"]["privileged"] == true;
    if word == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(Error::forbidden(&at, detail));
    }
}

/// Read-only all the way down (KEP-3857).
fn recursive_read_only(errors: &mut Errors, path: &Path<'_>, mount: &Value) {
    let Some(word) = some(mount, "recursiveReadOnly").and_then(Value::as_str) else {
        return;
    };
    let at = path.field("recursiveReadOnly");
    match word {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if mount["readOnly"] != true {
                let detail = "may only be specified when readOnly is true";
                errors.push(Error::forbidden(&at, detail));
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(&at, detail));
            }
        }
        other => errors.push(Error::not_supported(&at, other, &RECURSIVE)),
    }
}

/// `volumeDevices`: claims only.
pub(super) fn devices(
    errors: &mut Errors,
    path: &Path<'_>,
    container: &Value,
    volumes: &Volumes<'_>,
) {
    let devices_path = path.field("volumeDevices");
    let mounts = list(container, "volumeMounts");
    let mount_names: HashSet<&str> = mounts.iter().map(|m| text(m, "name")).collect();
    let mount_paths: HashSet<&str> = mounts.iter().map(|m| text(m, "mountPath")).collect();
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let at = devices_path.index(i);
        let (name, target) = (text(device, "name"), text(device, "devicePath"));
        let (name_path, target_path) = (at.field("name"), at.field("devicePath"));
        if name.is_empty() {
            errors.push(Error::required(&name_path, ""));
        }
        if names.contains(name) {
            errors.push(Error::invalid(&name_path, name, "must be unique"));
        }
        if !name.is_empty() {
            names.insert(name);
        }
        let claim = ["persistentVolumeClaim", "ephemeral"];
        match volumes.get(name) {
            None => errors.push(Error::not_found(&name_path, name)),
            Some(volume) if claim.iter().all(|member| some(volume, member).is_none()) => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&name_path, name, detail));
            }
            Some(_) => {}
        }
        if target.is_empty() {
            errors.push(Error::required(&target_path, ""));
        }
        if paths.contains(target) {
            errors.push(Error::invalid(&target_path, target, "must be unique"));
        }
        if target.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(Error::invalid(&target_path, target, detail));
        } else {
            paths.insert(target);
        }
        if mount_names.contains(name) {
            errors.push(Error::invalid(
                &name_path,
                name,
                "must not already exist in volumeMounts",
            ));
        }
        if mount_paths.contains(target) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(Error::invalid(&target_path, target, detail));
        }
    }
}
