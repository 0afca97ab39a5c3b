//! How PersistentVolumeClaims and ResourceClaims count.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scopes;
use crate::amounts::Amounts;
use crate::quantity::Quantity;

const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const COUNT: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
const RESOURCE_CLAIMS: &str = "count/resourceclaims.resource.k8s.io";
/// What a request for all devices counts: as many as one claim can get.
const ALL_DEVICES: i64 = 32;

pub(super) fn counts_in(name: &str) -> bool {
    let own = name.split_once(BY_CLASS).map_or(name, |(_, own)| own);
    name == "count/persistentvolumeclaims" || own == COUNT || own == STORAGE
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut used = Amounts::new();
    let mut charge = |name: String, amount: Quantity| {
        used.insert(name, amount);
    };
    let annotation =
        claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotation
        .or(claim["spec"]["storageClassName"].as_str())
        .unwrap_or_default();
    charge("count/persistentvolumeclaims".into(), Quantity::from_int(1));
    charge(COUNT.into(), Quantity::from_int(1));
    if !class.is_empty() {
        charge(format!("{class}{BY_CLASS}{COUNT}"), Quantity::from_int(1));
    }
    if let Some(storage) = storage(claim) {
        if !class.is_empty() {
            charge(format!("{class}{BY_CLASS}{STORAGE}"), storage.clone());
        }
        charge(STORAGE.into(), storage);
    }
    used
}

/// What is asked for, or what was given while that is more, in whole bytes.
fn storage(claim: &Value) -> Option<Quantity> {
    let whole = |amount: Quantity| match amount.is_integer() {
        true => amount,
        false => Quantity::from_int(amount.value()),
    };
    let wanted = claim["spec"]["resources"]["requests"].get("storage")?;
    let wanted = Quantity::from_json(wanted).ok()?;
    let allocated = claim["status"]["allocatedResources"]
        .get("storage")
        .and_then(|amount| Quantity::from_json(amount).ok())
        .filter(|allocated| *allocated > wanted);
    Some(whole(allocated.unwrap_or(wanted)))
}

pub(super) fn in_scope(scope: &Value, claim: &Value) -> bool {
    if scope["scopeName"] != "VolumeAttributesClass" {
        return false;
    }
    let status = &claim["status"];
    let names = [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    let names: Vec<&str> = names
        .into_iter()
        .filter_map(Value::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    scopes::selects(scope, &names)
}

pub(super) fn devices_count_in(name: &str) -> bool {
    name == RESOURCE_CLAIMS || name.ends_with(DEVICES)
}

pub(super) fn device_usage(claim: &Value) -> Amounts {
    let mut by_class: BTreeMap<String, i64> = BTreeMap::new();
    let count = |request: &Value| match request["allocationMode"].as_str() {
        Some("ExactCount") => request["count"].as_i64().unwrap_or_default(),
        Some("All") => ALL_DEVICES,
        _ => 0,
    };
    let class = |request: &Value| {
        format!(
            "{}{DEVICES}",
            request["deviceClassName"].as_str().unwrap_or_default()
        )
    };
    for request in claim["spec"]["devices"]["requests"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if let Some(alternatives) = request["firstAvailable"].as_array() {
            // The worst case of each class.
            let mut most: BTreeMap<String, i64> = BTreeMap::new();
            for alternative in alternatives {
                let have = most.entry(class(alternative)).or_default();
                *have = (*have).max(count(alternative));
            }
            for (class, n) in most {
                *by_class.entry(class).or_default() += n;
            }
        } else if request["exactly"].is_object() {
            *by_class.entry(class(&request["exactly"])).or_default() += count(&request["exactly"]);
        }
    }
    let mut used: Amounts = by_class
        .into_iter()
        .map(|(name, n)| (name, Quantity::from_int(n)))
        .collect();
    used.insert(RESOURCE_CLAIMS.into(), Quantity::from_int(1));
    used
}
