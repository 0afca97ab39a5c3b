//! PersistentVolumes and claims.

use super::checks::{
    Errors, invalid_each, label_selector, list, map, one_of_if_set, required, same, some, text,
};
use super::pod;
use super::volume_source::{self, Owner};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const RECLAIM: [&str; 3] = ["Delete", "Recycle", "Retain"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// Sources in the order in which upstream looks at them, and what it calls them when there is one already.
const SOURCES: [(&str, &str); 22] = [
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", ""),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
];

fn access_modes(errors: &mut Errors, parent: &Path<'_>, spec: &Value) {
    let path = parent.field("accessModes");
    let modes = list(spec, "accessModes");
    let known = |mode: &Value| MODES.iter().any(|k| mode == k);
    for mode in modes.iter().filter(|mode| !known(mode)) {
        errors.push(Error::not_supported(&path, mode, &MODES));
    }
    let alone = |mode: &&Value| **mode == "ReadWriteOncePod";
    if modes.iter().any(|m| alone(&m)) && modes.iter().any(|m| known(m) && !alone(&m)) {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&path, detail));
    }
}

fn class_name(errors: &mut Errors, path: &Path<'_>, spec: &Value, member: &str) {
    let class = text(spec, member);
    if !class.is_empty() {
        invalid_each(
            errors,
            &path.field(member),
            class,
            names::dns1123_subdomain(class),
        );
    }
}

/// Whether an amount is above nothing; says so when it isn't.
fn positive(errors: &mut Errors, path: &Path<'_>, value: &Value) -> bool {
    let wrong = Quantity::from_json(value).is_ok_and(|q| q.is_zero() || q.is_negative());
    if wrong {
        errors.push(Error::invalid(path, value, "must be greater than zero"));
    }
    !wrong
}

pub(super) fn claim(errors: &mut Errors, claim: &Value) {
    claim_spec(errors, &Path::root("spec"), &claim["spec"]);
}

/// The spec of a claim or of a template of one.
pub(super) fn claim_spec(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    if list(spec, "accessModes").is_empty() {
        let detail = "at least 1 access mode is required";
        errors.push(Error::required(&path.field("accessModes"), detail));
    }
    if let Some(selector) = some(spec, "selector") {
        label_selector(errors, &path.field("selector"), selector);
    }
    access_modes(errors, path, spec);
    let resources = path.field("resources");
    let at = resources.key("storage");
    match spec.pointer("/resources/requests/storage") {
        None => errors.push(Error::required(&at, "")),
        Some(value) => {
            positive(errors, &at, value);
        }
    }
    class_name(errors, path, spec, "storageClassName");
    one_of_if_set(errors, path, spec, "volumeMode", &VOLUME_MODES);
    data_sources(errors, path, spec);
    class_name(errors, path, spec, "volumeAttributesClassName");
}

/// What a new volume is filled from (KEP-1495).
fn data_sources(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    for member in ["dataSource", "dataSourceRef"] {
        let Some(source) = some(spec, member) else {
            continue;
        };
        let at = path.field(member);
        required(errors, &at, source, "name");
        required(errors, &at, source, "kind");
        let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(Error::invalid(&at, kind, detail));
        }
        if !group.is_empty() {
            invalid_each(
                errors,
                &at.field("apiGroup"),
                group,
                names::dns1123_subdomain(group),
            );
        }
        let namespace = text(source, "namespace");
        if member == "dataSourceRef" && !namespace.is_empty() {
            let wrong = names::dns1123_label(namespace);
            invalid_each(errors, &at.field("namespace"), namespace, wrong);
        }
    }
    let (Some(source), Some(reference)) = (some(spec, "dataSource"), some(spec, "dataSourceRef"))
    else {
        return;
    };
    // Upstream shows the path of the other field, whose struct has no public part.
    let shown = || serde_json::json!({});
    let same_object = ["apiGroup", "kind", "name"]
        .iter()
        .all(|m| some(source, m) == some(reference, m));
    if !text(reference, "namespace").is_empty() {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(Error::invalid(path, shown(), detail));
    } else if !same_object {
        errors.push(Error::invalid(path, shown(), "must match dataSourceRef"));
    }
}

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn beta_class(claim: &Value) -> Option<&str> {
    claim["metadata"]["annotations"][BETA_CLASS].as_str()
}

fn class(claim: &Value) -> Option<&str> {
    claim["spec"]["storageClassName"].as_str()
}

/// The class of an old annotation may become that of the field.
fn class_moves_from_annotation(old: &Value, new: &Value) -> bool {
    let before = beta_class(old);
    let kept = beta_class(new).is_none_or(|a| Some(a) == before);
    before.is_some() && class(old).is_none() && class(new) == before && kept
}

/// The specs of both versions, with what may change made equal.
fn comparable(old: &Value, new: &Value) -> (Value, Value) {
    let (mut before, mut after) = (old["spec"].clone(), new["spec"].clone());
    let take = |to: &mut Value, from: &Value, member: &str| to[member] = from[member].clone();
    if text(&before, "volumeName").is_empty() {
        take(&mut before, &after, "volumeName");
    }
    if class_moves_from_annotation(old, new) {
        after["storageClassName"] = Value::Null;
    } else if class(new).is_some()
        && class(old).is_none()
        && beta_class(old).is_none_or(|a| Some(a) == class(new))
    {
        take(&mut after, &before, "storageClassName");
    }
    if new["status"]["phase"] == "Bound" {
        if after["resources"]["requests"].is_object() {
            let size = before["resources"]["requests"]["storage"].clone();
            after["resources"]["requests"]["storage"] = size;
        }
        take(&mut after, &before, "volumeAttributesClassName");
    }
    (before, after)
}

/// Only what a bound claim asks for can change.
pub(super) fn claim_update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    claim(errors, new);
    if !class_moves_from_annotation(old, new) && beta_class(old) != beta_class(new) {
        let meta = Path::root("metadata");
        let annotations = meta.field("annotations");
        let shown = beta_class(new).unwrap_or("");
        errors.push(Error::invalid(
            &annotations.field(BETA_CLASS),
            shown,
            "field is immutable",
        ));
    }
    let (before, after) = comparable(old, new);
    if !same(&before, &after) {
        let diff = internal::diff("core.PersistentVolumeClaimSpec", &before, &after);
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{diff}"
        );
        errors.push(Error::forbidden(&path, detail));
    }
    let size = |node: &Value, pointer: &str| {
        let found = node
            .pointer(pointer)
            .and_then(|v| Quantity::from_json(v).ok());
        found.unwrap_or_else(|| Quantity::from_int(0))
    };
    let wanted = size(spec, "/resources/requests/storage");
    let smaller = wanted < size(old_spec, "/resources/requests/storage");
    if smaller && wanted <= size(&old["status"], "/capacity/storage") {
        let (resources, detail) = (
            path.field("resources"),
            "field can not be less than status.capacity",
        );
        let requests = resources.field("requests");
        errors.push(Error::forbidden(&requests.field("storage"), detail));
    }
    if !same(&old_spec["volumeMode"], &spec["volumeMode"]) {
        let found = some(spec, "volumeMode");
        errors.push(Error::invalid(
            &Path::root("volumeMode"),
            found,
            "field is immutable",
        ));
    }
    attributes_class(errors, old, new);
}

fn attributes_class(errors: &mut Errors, old: &Value, new: &Value) {
    const MEMBER: &str = "volumeAttributesClassName";
    let path = Path::root("spec");
    let (before, after) = (some(&old["spec"], MEMBER), some(&new["spec"], MEMBER));
    if before == after || some(&old["status"], "currentVolumeAttributesClassName").is_none() {
        return;
    }
    let what = match after {
        None => "nil",
        Some(name) if name == "" => "empty string",
        Some(_) => return,
    };
    let detail = format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    );
    errors.push(Error::forbidden(&path.field(MEMBER), detail));
}

const RESIZES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// The status of a claim, as controllers write it.
pub(super) fn claim_status(errors: &mut Errors, new: &Value) {
    let (status, path) = (&new["status"], Path::root("status"));
    if list(&new["spec"], "accessModes").is_empty() {
        errors.push(Error::required(
            &Path::root("Spec").field("accessModes"),
            "",
        ));
    }
    let capacity = path.field("capacity");
    for (name, value) in map(status, "capacity") {
        basic_resource(errors, &capacity.key(name), value);
    }
    let statuses = path.field("allocatedResourceStatuses");
    for (name, word) in map(status, "allocatedResourceStatuses") {
        claim_resource(errors, &statuses, name);
        if !RESIZES.iter().any(|r| word == r) {
            let mut sorted = RESIZES;
            sorted.sort_unstable();
            errors.push(Error::not_supported(&statuses, name.as_str(), &sorted));
        }
    }
    let allocated = path.field("allocatedResources");
    for (name, value) in map(status, "allocatedResources") {
        if claim_resource(errors, &allocated, name) {
            basic_resource(errors, &allocated.key(name), value);
        }
    }
}

fn claim_resource(errors: &mut Errors, path: &Path<'_>, name: &str) -> bool {
    let wrong = names::qualified_name(name);
    let own = name.contains('/') && !name.contains("kubernetes.io/");
    let right = wrong.is_empty() && (own || name == "storage");
    if wrong.is_empty() && !right {
        errors.push(Error::not_supported(path, name, &["storage"]));
    }
    invalid_each(errors, path, name, wrong);
    right
}

fn basic_resource(errors: &mut Errors, path: &Path<'_>, value: &Value) {
    let Ok(quantity) = Quantity::from_json(value) else {
        return;
    };
    if quantity.is_negative() {
        let shown = text_or_number(value);
        errors.push(Error::invalid(
            path,
            shown,
            "must be a valid resource quantity",
        ));
    }
}

/// Upstream shows the whole number here, not the text.
fn text_or_number(value: &Value) -> Value {
    let number = value.as_str().and_then(|t| t.parse::<i64>().ok());
    number.map_or_else(|| value.clone(), Value::from)
}

pub(super) fn volume(errors: &mut Errors, volume: &Value) {
    let name = text(&volume["metadata"], "name");
    volume_spec(errors, &Path::root("spec"), &volume["spec"], name, false);
}

/// `inline` is a volume that only a VolumeAttachment knows.
pub(super) fn volume_spec(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &Value,
    name: &str,
    inline: bool,
) {
    const CONTEXT: &str = "in the context of inline volumes";
    if inline {
        for member in ["claimRef", "capacity"] {
            if some(spec, member).is_some() {
                let detail = format!("may not be specified {CONTEXT}");
                errors.push(Error::forbidden(&path.field(member), detail));
            }
        }
        if some(spec, "csi").is_none() {
            errors.push(Error::required(
                &path.field("csi"),
                format!("has to be specified {CONTEXT}"),
            ));
        }
    }
    if list(spec, "accessModes").is_empty() {
        errors.push(Error::required(&path.field("accessModes"), ""));
    }
    access_modes(errors, path, spec);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    let policy_path = path.field("persistentVolumeReclaimPolicy");
    if !inline {
        capacity(errors, path, spec);
        one_of_if_set(
            errors,
            path,
            spec,
            "persistentVolumeReclaimPolicy",
            &RECLAIM,
        );
    } else if !matches!(policy, "" | "Retain") {
        errors.push(Error::forbidden(
            &policy_path,
            format!("may only be Retain {CONTEXT}"),
        ));
    }
    if let Some(affinity) = some(spec, "nodeAffinity") {
        let at = path.field("nodeAffinity");
        match some(affinity, "required") {
            _ if inline => {
                errors.push(Error::forbidden(
                    &at,
                    format!("may not be specified {CONTEXT}"),
                ));
            }
            Some(required) => pod::node_selector(errors, &at.field("required"), required),
            None => {
                let detail = "must specify required node constraints";
                errors.push(Error::required(&at.field("required"), detail));
            }
        }
    }
    source(errors, path, spec, name);
    let host_path = spec.pointer("/hostPath/path").and_then(Value::as_str);
    if host_path.is_some_and(|p| p.split('/').all(|part| matches!(part, "" | ".")))
        && policy == "Recycle"
    {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&policy_path, detail));
    }
    classes(errors, path, spec, inline);
}

fn classes(errors: &mut Errors, path: &Path<'_>, spec: &Value, inline: bool) {
    if inline {
        if !text(spec, "storageClassName").is_empty() {
            let detail = "may not be specified in the context of inline volumes";
            errors.push(Error::forbidden(&path.field("storageClassName"), detail));
        }
        if !matches!(text(spec, "volumeMode"), "" | "Filesystem") {
            let detail =
                "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(Error::forbidden(&path.field("volumeMode"), detail));
        }
        return;
    }
    class_name(errors, path, spec, "storageClassName");
    one_of_if_set(errors, path, spec, "volumeMode", &VOLUME_MODES);
    let Some(name) = some(spec, "volumeAttributesClassName") else {
        return;
    };
    if name == "" {
        let detail = "an empty string is disallowed";
        errors.push(Error::required(
            &path.field("volumeAttributesClassName"),
            detail,
        ));
    }
    class_name(errors, path, spec, "volumeAttributesClassName");
    if some(spec, "csi").is_none() {
        let detail = "has to be specified when using volumeAttributesClassName";
        errors.push(Error::required(&path.field("csi"), detail));
    }
}

fn source(errors: &mut Errors, path: &Path<'_>, spec: &Value, name: &str) {
    let mut found = 0;
    for (member, twice) in SOURCES {
        let Some(source) = some(spec, member) else {
            continue;
        };
        found += 1;
        // A flexVolume beside another is not told of.
        if found > 1 && !twice.is_empty() {
            let detail = "may not specify more than 1 volume type";
            errors.push(Error::forbidden(&path.field(twice), detail));
            continue;
        }
        let shown = if member == "gcePersistentDisk" {
            "persistentDisk"
        } else {
            member
        };
        let at = path.field(shown);
        if member == "iscsi" {
            initiator(errors, &at, source, name);
        }
        volume_source::source(errors, &at, member, source, Owner::PersistentVolume);
        if member == "local" && some(spec, "nodeAffinity").is_none() {
            let detail = "Local volume requires node affinity";
            errors.push(Error::required(&path.field("nodeAffinity"), detail));
        }
    }
    if found == 0 {
        errors.push(Error::required(path, "must specify a volume type"));
    }
}

/// The name of the interface that an initiator gets is short.
fn initiator(errors: &mut Errors, path: &Path<'_>, source: &Value, name: &str) {
    const MAX: usize = 64;
    let portal = text(source, "targetPortal");
    if some(source, "initiatorName").is_some() && name.len() + 1 + portal.len() > MAX {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.push(Error::invalid(&path.field("targetportal"), portal, detail));
    }
}

fn capacity(errors: &mut Errors, parent: &Path<'_>, spec: &Value) {
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
        let at = path.key(name);
        basic_resource(errors, &at, value);
        positive(errors, &at, value);
    }
}

/// The volume behind a PersistentVolume is always the same.
pub(super) fn volume_update(errors: &mut Errors, old: &Value, new: &Value) {
    volume(errors, new);
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    let mut after = spec.clone();
    // This one may come later.
    let expand = "controllerExpandSecretRef";
    if some(old_spec, "csi").is_some_and(|csi| some(csi, expand).is_none())
        && let Some(csi) = after.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(expand);
    }
    if SOURCES
        .iter()
        .any(|(member, _)| !same(&old_spec[*member], &after[*member]))
    {
        let diff = internal::diff("core.PersistentVolumeSource", old_spec, &after);
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{diff}");
        errors.push(Error::forbidden(
            &path.field("persistentvolumesource"),
            detail,
        ));
    }
    if !same(&old_spec["volumeMode"], &spec["volumeMode"]) {
        let found = some(spec, "volumeMode");
        errors.push(Error::invalid(
            &Path::root("volumeMode"),
            found,
            "field is immutable",
        ));
    }
    if let Some(before) = some(old_spec, "nodeAffinity") {
        node_affinity_update(errors, before, some(spec, "nodeAffinity"));
    }
    let class = "volumeAttributesClassName";
    if some(old_spec, class).is_some() && some(spec, class).is_none() {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(Error::forbidden(&path.field(class), detail));
    }
}

/// Old names of well-known labels may become new ones; nothing else of the affinity changes.
fn node_affinity_update(errors: &mut Errors, old: &Value, new: Option<&Value>) {
    const RENAMED: [(&str, &str); 5] = [
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        (
            "failure-domain.beta.kubernetes.io/region",
            "topology.kubernetes.io/region",
        ),
        (
            "failure-domain.beta.kubernetes.io/zone",
            "topology.kubernetes.io/zone",
        ),
        (
            "beta.kubernetes.io/instance-type",
            "node.kubernetes.io/instance-type",
        ),
    ];
    let renamed = |affinity: &Value| {
        let mut affinity = affinity.clone();
        let terms = affinity
            .pointer_mut("/required/nodeSelectorTerms")
            .and_then(Value::as_array_mut);
        for term in terms.into_iter().flatten() {
            let all = term
                .get_mut("matchExpressions")
                .and_then(Value::as_array_mut);
            for expression in all.into_iter().flatten() {
                let new_name = RENAMED.iter().find(|(old, _)| expression["key"] == *old);
                if let Some((_, name)) = new_name {
                    expression["key"] = (*name).into();
                }
            }
        }
        affinity
    };
    let fits = new.is_some_and(|new| same(old, new) || same(&renamed(old), &renamed(new)));
    if !fits {
        let shown = internal::show("*core.VolumeNodeAffinity", new);
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.push(Error::invalid(&Path::root("nodeAffinity"), shown, detail));
    }
}
