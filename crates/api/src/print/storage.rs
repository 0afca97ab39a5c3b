//! Volumes, claims and classes.

use super::cells::{age, bool_text, list, name, text, text_or};
use jiff::Timestamp;
use serde_json::Value;

const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

fn access_modes(modes: &[Value]) -> String {
    let shown: Vec<&str> = MODES
        .into_iter()
        .filter(|(long, _)| modes.iter().any(|m| m == long))
        .map(|(_, short)| short)
        .collect();
    shown.join(",")
}

fn class(object: &Value) -> &str {
    let annotated =
        object["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class");
    let own = || text(&object["spec"], "storageClassName");
    annotated.and_then(Value::as_str).unwrap_or_else(own)
}

fn phase(object: &Value) -> &str {
    match object["metadata"]["deletionTimestamp"].is_string() {
        true => "Terminating",
        false => text(&object["status"], "phase"),
    }
}

fn volume(volume: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &volume["spec"];
    let claim = match spec.get("claimRef").filter(|c| c.is_object()) {
        Some(claim) => format!("{}/{}", text(claim, "namespace"), text(claim, "name")),
        None => String::new(),
    };
    vec![
        name(volume),
        text_or(&spec["capacity"], "storage", "0").into(),
        access_modes(list(spec, "accessModes")).into(),
        text(spec, "persistentVolumeReclaimPolicy").into(),
        phase(volume).into(),
        claim.into(),
        class(volume).into(),
        text_or(spec, "volumeAttributesClassName", "<unset>").into(),
        text(&volume["status"], "reason").into(),
        age(volume, now),
        text_or(spec, "volumeMode", "<unset>").into(),
    ]
}

fn claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let bound = !text(spec, "volumeName").is_empty();
    let (capacity, modes) = match bound {
        true => (
            text_or(&status["capacity"], "storage", "0"),
            access_modes(list(status, "accessModes")),
        ),
        false => ("", String::new()),
    };
    vec![
        name(claim),
        phase(claim).into(),
        text(spec, "volumeName").into(),
        capacity.into(),
        modes.into(),
        class(claim).into(),
        text_or(spec, "volumeAttributesClassName", "<unset>").into(),
        age(claim, now),
        text_or(spec, "volumeMode", "<unset>").into(),
    ]
}

fn storage_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(class),
        text(class, "provisioner").into(),
        text_or(class, "reclaimPolicy", "Delete").into(),
        text_or(class, "volumeBindingMode", "Immediate").into(),
        (class["allowVolumeExpansion"] == true).into(),
        age(class, now),
    ]
}

fn driver(driver: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &driver["spec"];
    let flag =
        |member: &str, absent: bool| -> Value { spec[member].as_bool().unwrap_or(absent).into() };
    let join = |items: &[Value], text: fn(&Value) -> &str| {
        let parts: Vec<&str> = items.iter().map(text).collect();
        match parts.is_empty() {
            true => "<unset>".to_owned(),
            false => parts.join(","),
        }
    };
    vec![
        name(driver),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        join(list(spec, "tokenRequests"), |t| text(t, "audience")).into(),
        flag("requiresRepublish", false),
        join(list(spec, "volumeLifecycleModes"), |m| {
            m.as_str().unwrap_or("")
        })
        .into(),
        age(driver, now),
    ]
}

pub(super) fn cells(plural: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let spec = &object["spec"];
    Some(match plural {
        "persistentvolumes" => volume(object, now),
        "persistentvolumeclaims" => claim(object, now),
        "storageclasses" => storage_class(object, now),
        "csidrivers" => driver(object, now),
        "csinodes" => vec![
            name(object),
            list(spec, "drivers").len().into(),
            age(object, now),
        ],
        "volumeattachments" => vec![
            name(object),
            text(spec, "attacher").into(),
            text(&spec["source"], "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            (bool_text(&object["status"]["attached"]) == "True").into(),
            age(object, now),
        ],
        "volumeattributesclasses" => vec![
            name(object),
            text(object, "driverName").into(),
            age(object, now),
        ],
        _ => return None,
    })
}
