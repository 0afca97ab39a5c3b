//! Environment variables and what they are taken from.

use super::super::checks::{Errors, invalid_each, list, required, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// `env` of a container.
pub(super) fn env(errors: &mut Errors, path: &Path<'_>, all: &[Value]) {
    for (i, variable) in all.iter().enumerate() {
        let at = path.index(i);
        let name = text(variable, "name");
        match name {
            "" => errors.push(Error::required(&at.field("name"), "")),
            _ => invalid_each(errors, &at.field("name"), name, names::env_name(name)),
        }
        if let Some(source) = some(variable, "valueFrom") {
            value_from(
                errors,
                &at.field("valueFrom"),
                source,
                !text(variable, "value").is_empty(),
            );
        }
    }
}

fn value_from(errors: &mut Errors, path: &Path<'_>, source: &Value, has_value: bool) {
    let mut sources = 0;
    let mut count = |member: &str| {
        let found = some(source, member);
        sources += usize::from(found.is_some());
        found
    };
    if let Some(reference) = count("fieldRef") {
        field_ref(errors, &path.field("fieldRef"), reference, &ENV_FIELDS);
    }
    if let Some(reference) = count("resourceFieldRef") {
        resource_ref(errors, &path.field("resourceFieldRef"), reference, false);
    }
    for member in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = count(member) {
            key_ref(errors, &path.field(member), reference);
        }
    }
    if let Some(reference) = count("fileKeyRef") {
        let at = path.field("fileKeyRef");
        for member in ["key", "volumeName", "path"] {
            required(errors, &at, reference, member);
        }
    }
    let detail = match (sources, has_value) {
        (0, _) => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        (_, true) => "may not be specified when `value` is not empty",
        (1, false) => return,
        (_, false) => "may not have more than one field specified at a time",
    };
    errors.push(Error::invalid(path, "", detail));
}

/// A field of the Pod. Annotations and labels take a key in brackets.
fn field_ref(errors: &mut Errors, path: &Path<'_>, reference: &Value, supported: &[&str]) {
    if !required(errors, path, reference, "apiVersion")
        || !required(errors, path, reference, "fieldPath")
    {
        return;
    }
    let field = text(reference, "fieldPath");
    let at = path.field("fieldPath");
    if let Some((head, key)) = field
        .split_once("['")
        .and_then(|(h, t)| Some((h, t.strip_suffix("']")?)))
    {
        match head {
            "metadata.annotations" => invalid_each(
                errors,
                path,
                key,
                names::qualified_name(&key.to_lowercase()),
            ),
            "metadata.labels" => invalid_each(errors, path, key, names::qualified_name(key)),
            other => errors.push(Error::invalid(path, other, "does not support subscript")),
        }
        return;
    }
    let known = ENV_FIELDS.contains(&field)
        || VOLUME_FIELDS.contains(&field)
        || field == "spec.restartPolicy"
        || field == "status.phase";
    if !known {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        errors.push(Error::invalid(&at, field, detail));
    } else if !supported.contains(&field) {
        errors.push(Error::not_supported(&at, field, supported));
    }
}

/// A field that a volume shows.
pub(super) fn volume_field_ref(errors: &mut Errors, path: &Path<'_>, reference: &Value) {
    field_ref(errors, path, reference, &VOLUME_FIELDS);
}

/// Requests and limits of a container; a volume must say of which.
pub(super) fn resource_ref(
    errors: &mut Errors,
    path: &Path<'_>,
    reference: &Value,
    in_volume: bool,
) {
    if in_volume && text(reference, "containerName").is_empty() {
        errors.push(Error::required(&path.field("containerName"), ""));
        return;
    }
    if required(errors, path, reference, "resource") {
        let name = text(reference, "resource");
        let hugepages =
            name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
        if !hugepages && !RESOURCES.contains(&name) {
            errors.push(Error::not_supported(
                &path.field("resource"),
                name,
                &RESOURCES,
            ));
        }
    }
}

fn key_ref(errors: &mut Errors, path: &Path<'_>, reference: &Value) {
    required(errors, path, reference, "name");
    let key = text(reference, "key");
    match key {
        "" => errors.push(Error::required(&path.field("key"), "")),
        _ => invalid_each(errors, &path.field("key"), key, names::config_key(key)),
    }
}

/// `envFrom` of a container.
pub(super) fn env_from(errors: &mut Errors, path: &Path<'_>, all: &[Value]) {
    for (i, source) in all.iter().enumerate() {
        let at = path.index(i);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            invalid_each(errors, &at.field("prefix"), prefix, names::env_name(prefix));
        }
        let members = ["configMapRef", "secretRef"];
        for member in members {
            if let Some(reference) = some(source, member) {
                let at = at.field(member);
                let name = text(reference, "name");
                match name {
                    "" => errors.push(Error::required(&at.field("name"), "")),
                    _ => invalid_each(
                        errors,
                        &at.field("name"),
                        name,
                        names::dns1123_subdomain(name),
                    ),
                }
            }
        }
        let detail = match members.iter().filter(|m| some(source, m).is_some()).count() {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(Error::invalid(&at, "", detail));
    }
}

/// `items` of volumes made of keys.
pub(super) fn keys_to_paths(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let items_path = path.field("items");
    for (i, item) in list(source, "items").iter().enumerate() {
        let at = items_path.index(i);
        required(errors, &at, item, "key");
        if required(errors, &at, item, "path") {
            super::volume::local_path(errors, &at.field("path"), text(item, "path"));
        }
        super::volume::mode(errors, &at, item, "mode");
    }
}
