//! Volumes and mounts.

use super::super::checks::{
    Errors, invalid_each, label_selector, list, required, signer_name, some, text,
};
use super::super::storage;
use super::super::volume_source::{self, Owner, descending_path};
use super::env;
use super::security::id;
use crate::field::{Error, Path};
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The volumes that are right, by name: whether a mount may point into one depends on what it is.
pub(super) type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// Sources in the order in which upstream looks at them, and what it calls them when there is one already.
const SOURCES: [(&str, &str); 30] = [
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];
const MODE_TEXT: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// `volumes` of a Pod, which may have no name yet.
pub(super) fn volumes<'a>(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &'a Value,
    pod: Option<&str>,
) -> Volumes<'a> {
    let path = path.field("volumes");
    let mut right = Volumes::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let at = path.index(i);
        let before = errors.len();
        source(errors, &at, volume, pod);
        let name = text(volume, "name");
        match name {
            "" => errors.push(Error::required(&at.field("name"), "")),
            _ => invalid_each(errors, &at.field("name"), name, names::dns1123_label(name)),
        }
        if right.contains_key(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        if errors.len() == before {
            right.insert(name, volume);
        }
    }
    right
}

fn source(errors: &mut Errors, path: &Path<'_>, volume: &Value, pod: Option<&str>) {
    let mut found = 0;
    let name = text(volume, "name");
    for (member, twice) in SOURCES {
        let Some(source) = some(volume, member) else {
            continue;
        };
        found += 1;
        if found > 1 {
            let detail = "may not specify more than 1 volume type";
            errors.push(Error::forbidden(&path.field(twice), detail));
        } else {
            let shown = if member == "gcePersistentDisk" {
                "persistentDisk"
            } else {
                member
            };
            one_source(errors, &path.field(shown), member, source);
        }
        let portal = text(source, "targetPortal");
        if member == "iscsi"
            && some(source, "initiatorName").is_some()
            && name.len() + 1 + portal.len() > 64
        {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(Error::invalid(&path.field("name"), name, detail));
        }
        if let Some(pod) =
            pod.filter(|p| member == "ephemeral" && found == 1 && !p.is_empty() && !name.is_empty())
        {
            let claim = format!("{pod}-{name}");
            for why in names::dns1123_subdomain(&claim) {
                let detail = format!("PVC name {}: {why}", crate::field::quote(&claim));
                errors.push(Error::invalid(&path.field("name"), name, detail));
            }
        }
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
            if let Some(mode) = some(source, "mode").and_then(Value::as_i64)
                && !(0..=0o1777).contains(&mode)
            {
                let detail = "must be a number between 0 and 01777 (octal), both inclusive";
                errors.push(Error::invalid(&path.field("mode"), mode, detail));
            }
        }
        "secret" | "configMap" => {
            let name = if member == "secret" {
                "secretName"
            } else {
                "name"
            };
            required(errors, path, source, name);
            mode(errors, path, source, "defaultMode");
            user(errors, path, source, "defaultUser");
            keys_to_paths(errors, path, source);
        }
        "downwardAPI" => {
            mode(errors, path, source, "defaultMode");
            user(errors, path, source, "defaultUser");
            downward(errors, path, source);
        }
        "projected" => projected(errors, path, source),
        "ephemeral" => ephemeral(errors, path, source),
        "image" => image(errors, path, source),
        _ => volume_source::source(errors, path, member, source, Owner::Pod),
    }
}

fn image(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    required(errors, path, source, "reference");
    let policies = ["Always", "IfNotPresent", "Never"];
    super::super::checks::one_of(errors, path, source, "pullPolicy", &policies);
}

fn ephemeral(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let at = path.field("volumeClaimTemplate");
    let Some(template) = some(source, "volumeClaimTemplate") else {
        errors.push(Error::required(&at, ""));
        return;
    };
    let (meta, meta_path) = (&template["metadata"], at.field("metadata"));
    super::meta::bare_template(errors, &meta_path, meta);
    storage::claim_spec(errors, &at.field("spec"), &template["spec"]);
}

/// Bits of a file's mode.
fn mode(errors: &mut Errors, path: &Path<'_>, source: &Value, member: &str) {
    if let Some(mode) = some(source, member).and_then(Value::as_i64)
        && !(0..=0o777).contains(&mode)
    {
        errors.push(Error::invalid(&path.field(member), mode, MODE_TEXT));
    }
}

fn user(errors: &mut Errors, path: &Path<'_>, source: &Value, member: &str) {
    id(
        errors,
        &path.field(member),
        some(source, member).and_then(Value::as_i64),
    );
}

/// A path inside a volume.
pub(super) fn local_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    descending_path(errors, path, text);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.push(Error::invalid(path, text, "must not start with '..'"));
    }
}

/// `items` of volumes made of keys.
fn keys_to_paths(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    let items_path = path.field("items");
    for (i, item) in list(source, "items").iter().enumerate() {
        key_to_path(errors, &items_path.index(i), item);
    }
}

fn key_to_path(errors: &mut Errors, path: &Path<'_>, item: &Value) {
    required(errors, path, item, "key");
    required(errors, path, item, "path");
    local_path(errors, &path.field("path"), text(item, "path"));
    mode(errors, path, item, "mode");
    user(errors, path, item, "user");
}

/// Files made of the Pod itself. Upstream gives no index in their paths.
fn downward(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    for item in list(source, "items") {
        downward_file(errors, path, item);
    }
}

fn downward_file(errors: &mut Errors, path: &Path<'_>, item: &Value) {
    required(errors, path, item, "path");
    local_path(errors, &path.field("path"), text(item, "path"));
    match (some(item, "fieldRef"), some(item, "resourceFieldRef")) {
        (Some(field), other) => {
            env::volume_field_ref(errors, &path.field("fieldRef"), field);
            if other.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", detail));
            }
        }
        (None, Some(resource)) => {
            env::resource_ref(errors, &path.field("resourceFieldRef"), resource, true);
        }
        (None, None) => {
            errors.push(Error::required(
                path,
                "one of fieldRef and resourceFieldRef is required",
            ));
        }
    }
    mode(errors, path, item, "mode");
    user(errors, path, item, "user");
}

/// The files of a projected volume so far: no two sources may make the same.
struct Files<'a>(HashSet<&'a str>);

impl<'a> Files<'a> {
    fn add(&mut self, errors: &mut Errors, path: &Path<'_>, file: &'a str, shown: &str) {
        if !self.0.insert(file) {
            errors.push(Error::invalid(path, shown, "conflicting duplicate paths"));
        }
    }
}

fn projected(errors: &mut Errors, path: &Path<'_>, source: &Value) {
    const KINDS: [&str; 6] = [
        "secret",
        "configMap",
        "downwardAPI",
        "serviceAccountToken",
        "clusterTrustBundle",
        "podCertificate",
    ];
    mode(errors, path, source, "defaultMode");
    user(errors, path, source, "defaultUser");
    let sources = path.field("sources");
    let mut files = Files(HashSet::new());
    for (i, source) in list(source, "sources").iter().enumerate() {
        let at = sources.index(i);
        let mut found = 0;
        for kind in KINDS {
            let Some(part) = some(source, kind) else {
                continue;
            };
            found += 1;
            let part_path = at.field(kind);
            match kind {
                "secret" | "configMap" => {
                    required(errors, &part_path, part, "name");
                    let items = part_path.field("items");
                    for (j, item) in list(part, "items").iter().enumerate() {
                        key_to_path(errors, &items.index(j), item);
                        if !text(item, "path").is_empty() {
                            files.add(errors, path, text(item, "path"), text(part, "name"));
                        }
                    }
                }
                "downwardAPI" => {
                    for item in list(part, "items") {
                        downward_file(errors, &part_path, item);
                        let file = text(item, "path");
                        if !file.is_empty() {
                            files.add(errors, path, file, file);
                        }
                    }
                }
                "serviceAccountToken" => token(errors, path, &part_path, part),
                "clusterTrustBundle" => {
                    trust_bundle(errors, &part_path, part);
                    let file = text(part, "path");
                    files.add(errors, path, file, file);
                }
                _ => certificate(errors, path, &part_path, part, &mut files),
            }
        }
        if found > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(Error::forbidden(&at, detail));
        }
    }
}

/// Upstream tells of the path at the volume, not at the source.
fn token(errors: &mut Errors, volume: &Path<'_>, path: &Path<'_>, token: &Value) {
    const SECONDS_MIN: i64 = 600;
    let at = path.field("expirationSeconds");
    match some(token, "expirationSeconds").and_then(Value::as_i64) {
        None => errors.push(Error::required(&at, "")),
        Some(seconds) if seconds < SECONDS_MIN => {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(&at, seconds, detail));
        }
        Some(seconds) if seconds > 1 << 32 => {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(&at, seconds, detail));
        }
        Some(_) => {}
    }
    if required(errors, volume, token, "path") {
        local_path(errors, &volume.field("path"), text(token, "path"));
    }
    user(errors, path, token, "user");
}

/// Names of bundles of a signer begin with it: `signer.example:path:name`.
fn trust_bundle_name(name: &str) -> Vec<String> {
    match name.rsplit_once(':') {
        Some((_, own)) => names::dns1123_subdomain(own),
        None => names::dns1123_subdomain(name),
    }
}

fn trust_bundle(errors: &mut Errors, path: &Path<'_>, bundle: &Value) {
    let name = some(bundle, "name").and_then(Value::as_str);
    let signer = some(bundle, "signerName").and_then(Value::as_str);
    match (name, signer) {
        (Some(_), Some(_)) => errors.push(Error::invalid(
            path,
            crate::internal::show("core.ClusterTrustBundleProjection", Some(bundle)),
            "only one of name and signerName may be used",
        )),
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(Error::required(
                    &path.field("name"),
                    "must be a valid object name",
                ));
            }
            for why in trust_bundle_name(name) {
                let detail = format!("not a valid clustertrustbundlename: {why}");
                errors.push(Error::invalid(&path.field("name"), name, detail));
            }
            if let Some(selector) = some(bundle, "labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                errors.push(Error::invalid(
                    &path.field("labelSelector"),
                    selector,
                    detail,
                ));
            }
        }
        (None, Some(signer)) => {
            let at = path.field("signerName");
            if signer.is_empty() {
                errors.push(Error::required(&at, "must be a valid signer name"));
            }
            signer_name(errors, &at, signer);
            if let Some(selector) = some(bundle, "labelSelector") {
                label_selector(errors, &path.field("labelSelector"), selector);
            }
        }
        (None, None) => {
            errors.push(Error::required(
                path,
                "either name or signerName must be specified",
            ));
        }
    }
    required(errors, path, bundle, "path");
    user(errors, path, bundle, "user");
    local_path(errors, &path.field("path"), text(bundle, "path"));
}

fn certificate<'a>(
    errors: &mut Errors,
    volume: &Path<'_>,
    path: &Path<'_>,
    certificate: &'a Value,
    files: &mut Files<'a>,
) {
    const KEYS: [&str; 6] = [
        "RSA3072",
        "RSA4096",
        "ECDSAP256",
        "ECDSAP384",
        "ECDSAP521",
        "ED25519",
    ];
    const SECONDS_MIN: i64 = 3600;
    let signer = text(certificate, "signerName");
    signer_name(errors, &path.field("signerName"), signer);
    user(errors, path, certificate, "user");
    let key = text(certificate, "keyType");
    if !KEYS.contains(&key) {
        errors.push(Error::not_supported(&path.field("keyType"), key, &KEYS));
    }
    if let Some(seconds) = some(certificate, "maxExpirationSeconds").and_then(Value::as_i64) {
        let at = path.field("maxExpirationSeconds");
        let own = signer
            .split('/')
            .next()
            .is_some_and(|host| host == "kubernetes.io" || host.ends_with(".kubernetes.io"));
        let max = if own { 24 * 3600 } else { 91 * 24 * 3600 };
        if seconds < SECONDS_MIN {
            let detail = "if provided, maxExpirationSeconds must be >= 3600";
            errors.push(Error::invalid(&at, seconds, detail));
        }
        if seconds > max {
            let detail = format!("if provided, maxExpirationSeconds must be <= {max}");
            errors.push(Error::invalid(&at, seconds, detail));
        }
    }
    let mut found = 0;
    for member in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(certificate, member);
        if !file.is_empty() {
            found += 1;
            local_path(errors, &path.field(member), file);
            files.add(errors, volume, file, file);
        }
    }
    if found == 0 {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(Error::required(path, detail));
    }
}
