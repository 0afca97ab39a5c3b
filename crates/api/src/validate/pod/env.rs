//! Environment variables and what they are taken from.

use super::super::checks::{Errors, invalid_each, required, some, text};
use super::super::volume_source::no_backsteps;
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
        file_key_ref(errors, &path.field("fileKeyRef"), reference);
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

/// A variable of a file that an init container wrote (KEP-3721).
fn file_key_ref(errors: &mut Errors, path: &Path<'_>, reference: &Value) {
    if required(errors, path, reference, "key") {
        let key = text(reference, "key");
        invalid_each(errors, &path.field("key"), key, names::env_name(key));
    }
    if required(errors, path, reference, "volumeName") {
        let name = text(reference, "volumeName");
        invalid_each(
            errors,
            &path.field("volumeName"),
            name,
            names::dns1123_label(name),
        );
    }
    if required(errors, path, reference, "path") {
        no_backsteps(errors, &path.field("path"), text(reference, "path"));
    }
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
    let name = text(reference, "resource");
    let hugepages =
        name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if in_volume && text(reference, "containerName").is_empty() {
        errors.push(Error::required(&path.field("containerName"), ""));
    } else if name.is_empty() {
        errors.push(Error::required(&path.field("resource"), ""));
    } else if !hugepages && !RESOURCES.contains(&name) {
        errors.push(Error::not_supported(
            &path.field("resource"),
            name,
            &RESOURCES,
        ));
    }
    divisor(
        errors,
        &path.field("divisor"),
        name,
        hugepages,
        some(reference, "divisor"),
    );
}

/// The unit in which an amount is shown.
fn divisor(
    errors: &mut Errors,
    path: &Path<'_>,
    name: &str,
    hugepages: bool,
    divisor: Option<&Value>,
) {
    const BYTES: [&str; 13] = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let Some(unit) = divisor.and_then(Value::as_str).filter(|unit| *unit != "0") else {
        return;
    };
    let what = match name {
        "limits.cpu" | "requests.cpu" if matches!(unit, "1m" | "1") => return,
        "limits.cpu" | "requests.cpu" => {
            let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
            errors.push(Error::invalid(path, name, detail));
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if hugepages => "hugepages",
        _ => return,
    };
    if !BYTES.contains(&unit) {
        let detail = format!(
            "only divisor's values {} are supported with the {what} resource",
            BYTES.join(", ")
        );
        errors.push(Error::invalid(path, name, detail));
    }
}

fn key_ref(errors: &mut Errors, path: &Path<'_>, reference: &Value) {
    let name = text(reference, "name");
    invalid_each(
        errors,
        &path.field("name"),
        name,
        names::dns1123_subdomain(name),
    );
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
        errors.push(Error::invalid(path, "", detail));
    }
}
