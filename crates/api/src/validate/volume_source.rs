//! What volumes are made of: the sources that Pods and PersistentVolumes name.
//!
//! Most sources only have members that must be there; those are a table. The two forms of a source differ in a few
//! rules ([`Owner`]). Paths are upstream's, which are now and then not those of the fields.

use super::checks::{Check, Errors, invalid_each, list, map, one_of_if_set, required, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

/// Whose source it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Pod,
    PersistentVolume,
}

const PARTITION_TEXT: &str = "must be between 1 and 255, inclusive";
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

/// The members that a source must have, in the order in which they are looked at.
fn needed(member: &str) -> &'static [&'static str] {
    match member {
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        _ => &[],
    }
}

/// One source, at the path of its member.
pub(super) fn source(
    errors: &mut Errors,
    path: &Path<'_>,
    member: &str,
    source: &Value,
    owner: Owner,
) {
    for name in needed(member) {
        if text(source, name).is_empty() && list(source, name).is_empty() {
            errors.push(Error::required(&path.field(name), ""));
        }
    }
    match member {
        "hostPath" => host_path(errors, path, source),
        "gitRepo" => descending_path(errors, &path.field("directory"), text(source, "directory")),
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(errors, path, source),
        "nfs" => nfs(errors, path, source),
        "iscsi" => iscsi(errors, path, source, owner),
        "glusterfs" => endpoints_namespace(errors, path, source, owner),
        "flocker" => flocker(errors, path, source),
        "cinder" => secret_ref(errors, path, source, owner),
        "quobyte" => quobyte(errors, path, source),
        "fc" => fibre_channel(errors, path, source),
        "flexVolume" => flex_options(errors, path, source),
        "azureFile"
            if owner == Owner::PersistentVolume
                && some(source, "secretNamespace").is_some_and(|n| n == "") =>
        {
            errors.push(Error::required(&path.field("secretNamespace"), ""));
        }
        "azureDisk" => azure_disk(errors, path, source),
        "storageos" => storage_os(errors, path, source, owner),
        "csi" => csi(errors, path, source, owner),
        "local" if required(errors, path, source, "path") => {
            no_backsteps(errors, &path.field("path"), text(source, "path"));
        }
        _ => {}
    }
}

fn host_path(errors: &mut Errors, path: &Path<'_>, source: &Value) {
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

fn partition(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let partition = super::checks::int(source, "partition");
    if !(0..=255).contains(&partition) {
        errors.push(Error::invalid(
            &path.field("partition"),
            partition,
            PARTITION_TEXT,
        ));
    }
}

fn nfs(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    required(errors, path, source, "server");
    required(errors, path, source, "path");
    let target = text(source, "path");
    if !target.starts_with('/') {
        errors.push(Error::invalid(
            &path.field("path"),
            target,
            "must be an absolute path",
        ));
    }
}

/// The names of iSCSI (RFC 3720): `iqn.YYYY-MM.DOMAIN:ANY`, `eui.` and 16 letters or digits, `naa.` and 32.
fn is_iscsi_name(name: &str) -> bool {
    let letters = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if let Some(rest) = name.strip_prefix("iqn.") {
        let Some((domain, own)) = rest.split_once(':') else {
            return false;
        };
        let date = domain.bytes().enumerate().take(8).all(|(i, b)| match i {
            4 => b == b'-',
            7 => b == b'.',
            _ => b.is_ascii_digit(),
        });
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        let free = |c: char| !c.is_whitespace() && !",;*&$|".contains(c);
        return date
            && domain.len() > 8
            && domain.bytes().all(letter)
            && !own.is_empty()
            && own.chars().all(free);
    }
    // One more of any letter stands for the dot.
    let rest = name.get(4..).unwrap_or("");
    name.starts_with("eui") && letters(rest, 16) || name.starts_with("naa") && letters(rest, 32)
}

fn iscsi(errors: &mut Errors, path: &Path<'_>, source: &Value, owner: Owner) {
    let start = match owner {
        Owner::Pod => "must be valid format starting with iqn, eui, or naa",
        Owner::PersistentVolume => "must be valid format",
    };
    let name = |errors: &mut Errors, path: &Path<'_>, name: &str| {
        let known = ["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p));
        if !known {
            errors.push(Error::invalid(path, name, start));
        } else if !is_iscsi_name(name) {
            errors.push(Error::invalid(path, name, "must be valid format"));
        }
    };
    required(errors, path, source, "targetPortal");
    if required(errors, path, source, "iqn") {
        name(errors, &path.field("iqn"), text(source, "iqn"));
    }
    let lun = super::checks::int(source, "lun");
    if !(0..=255).contains(&lun) {
        errors.push(Error::invalid(
            &path.field("lun"),
            lun,
            "must be between 0 and 255, inclusive",
        ));
    }
    let secret = some(source, "secretRef");
    let chap = source["chapAuthDiscovery"] == true || source["chapAuthSession"] == true;
    if chap && secret.is_none() {
        errors.push(Error::required(&path.field("secretRef"), ""));
    }
    if let Some(secret) = secret.filter(|_| owner == Owner::PersistentVolume) {
        required(errors, &path.field("secretRef"), secret, "name");
    }
    if let Some(initiator) = some(source, "initiatorName").and_then(Value::as_str) {
        name(errors, &path.field("initiatorname"), initiator);
    }
}

fn endpoints_namespace(errors: &mut Errors, path: &Path<'_>, source: &Value, owner: Owner) {
    let Some(namespace) = some(source, "endpointsNamespace").and_then(Value::as_str) else {
        return;
    };
    let at = path.field("endpointsNamespace");
    match (owner, namespace) {
        (Owner::Pod, _) => {}
        (_, "") => {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(Error::invalid(&at, "", detail));
        }
        (_, name) => invalid_each(errors, &at, name, names::dns1123_label(name)),
    }
}

fn flocker(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name, uuid) {
        ("", "") => {
            errors.push(Error::required(
                path,
                "one of datasetName and datasetUUID is required",
            ));
        }
        ("", _) | (_, "") => {}
        _ => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", detail));
        }
    }
    if name.contains('/') {
        errors.push(Error::invalid(
            &path.field("datasetName"),
            name,
            "must not contain '/'",
        ));
    }
}

fn secret_ref(errors: &mut Errors, path: &Path<'_>, source: &Value, owner: Owner) {
    let Some(secret) = some(source, "secretRef") else {
        return;
    };
    let at = path.field("secretRef");
    required(errors, &at, secret, "name");
    if owner == Owner::PersistentVolume {
        required(errors, &at, secret, "namespace");
    }
}

fn quobyte(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    const TENANT_MAX: usize = 64;
    let (registry, at) = (text(source, "registry"), path.field("registry"));
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.push(Error::required(&at, detail));
    } else if text(source, "tenant").len() > TENANT_MAX {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.field("tenant"), detail));
    } else {
        for pair in registry.split(',') {
            let bracketed = pair
                .rsplit_once("]:")
                .is_some_and(|(host, _)| host.starts_with('['));
            if pair.matches(':').count() != 1 && !bracketed {
                errors.push(Error::invalid(&at, registry, detail));
            }
        }
    }
    required(errors, path, source, "volume");
}

fn fibre_channel(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let at = path.field("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(Error::required(&at, detail));
    }
    if !names.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&at, source.get("targetWWNs"), detail));
    }
    if names.is_empty() {
        return;
    }
    let lun = some(source, "lun").and_then(Value::as_i64);
    match lun {
        None => {
            let detail = "lun is required if targetWWNs is specified";
            errors.push(Error::required(&path.field("lun"), detail));
        }
        Some(lun) if !(0..=255).contains(&lun) => {
            let detail = "must be between 0 and 255, inclusive";
            errors.push(Error::invalid(&path.field("lun"), lun, detail));
        }
        Some(_) => {}
    }
}

fn flex_options(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let options = path.field("options");
    for (key, _) in map(source, "options") {
        let namespace = key.split('/').next().unwrap_or(key).to_lowercase();
        let own = format!(".{namespace}");
        if own.ends_with(".kubernetes.io") || own.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(&options.key(key), key.as_str(), detail));
        }
    }
}

fn azure_disk(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    const MANAGED: &str = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str =
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    one_of_if_set(
        errors,
        path,
        source,
        "cachingMode",
        &["None", "ReadOnly", "ReadWrite"],
    );
    one_of_if_set(
        errors,
        path,
        source,
        "kind",
        &["Dedicated", "Managed", "Shared"],
    );
    let (kind, uri) = (text(source, "kind"), text(source, "diskURI"));
    let at = path.field("diskURI");
    match kind {
        "Managed" if !uri.starts_with("/subscriptions/") => {
            errors.push(Error::not_supported(&at, uri, &[MANAGED]));
        }
        "Managed" => {}
        _ if !uri.starts_with("https://") => errors.push(Error::not_supported(&at, uri, &[BLOB])),
        _ => {}
    }
}

fn storage_os(errors: &mut Errors, path: &Path<'_>, source: &Value, owner: Owner) {
    if required(errors, path, source, "volumeName") {
        let name = text(source, "volumeName");
        invalid_each(
            errors,
            &path.field("volumeName"),
            name,
            names::dns1123_label(name),
        );
    }
    let namespace = text(source, "volumeNamespace");
    if !namespace.is_empty() {
        let wrong = names::dns1123_label(namespace);
        invalid_each(errors, &path.field("volumeNamespace"), namespace, wrong);
    }
    secret_ref(errors, path, source, owner);
}

/// The name of a CSI driver.
pub(super) fn csi_driver_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    const NAME_MAX: usize = 63;
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > NAME_MAX {
        errors.push(Error::too_long(path, NAME_MAX));
    }
    invalid_each(
        errors,
        path,
        name,
        names::dns1123_subdomain(&name.to_lowercase()),
    );
}

fn csi(errors: &mut Errors, path: &Path<'_>, source: &Value, owner: Owner) {
    csi_driver_name(errors, &path.field("driver"), text(source, "driver"));
    if owner == Owner::Pod {
        if let Some(secret) = some(source, "nodePublishSecretRef") {
            let at = path.field("nodePublishSecretRef");
            if required(errors, &at, secret, "name") {
                let name = text(secret, "name");
                invalid_each(
                    errors,
                    &path.field("name"),
                    name,
                    names::dns1123_subdomain(name),
                );
            }
        }
        return;
    }
    required(errors, path, source, "volumeHandle");
    for member in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let Some(secret) = some(source, member) else {
            continue;
        };
        let at = path.field(member);
        let checks: [(&str, Check); 2] = [
            ("name", names::dns1123_subdomain),
            ("namespace", names::dns1123_label),
        ];
        for (part, check) in checks {
            if required(errors, &at, secret, part) {
                let name = text(secret, part);
                invalid_each(errors, &at.field(part), name, check(name));
            }
        }
    }
}

/// A path must not leave the folder that it is below.
pub(super) fn no_backsteps(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, text, "must not contain '..'"));
    }
}

/// A path below some folder.
pub(super) fn descending_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must be a relative path"));
    }
    no_backsteps(errors, path, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iscsi_names_have_three_forms() {
        let table = [
            ("iqn.2015-02.example.com:test", true),
            ("iqn.2015-02.example.com", false),
            ("iqn.2015-02.example.com:a b", false),
            ("iqn.2015-2.example.com", false),
            ("eui.0123456789abcdef", true),
            ("eui.0123", false),
            ("naa.62004567ba64678d0123456789abcdef", true),
        ];
        for (name, right) in table {
            assert_eq!(is_iscsi_name(name), right, "{name}");
        }
    }
}
