//! The kinds of `storage.k8s.io`: classes, drivers, attachments and capacities.

use super::checks::{
    Errors, int, invalid_each, label_selector, list, map, non_negative, required, same, some, text,
};
use super::storage;
use super::volume_source::csi_driver_name;
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 << 10;
const IMMUTABLE: &str = "field is immutable";

fn provisioner(errors: &mut Errors, object: &Value, member: &str) {
    let (path, name) = (Path::root(member), text(object, member));
    match name {
        "" => errors.push(Error::required(&path, "")),
        _ => invalid_each(
            errors,
            &path,
            &name.to_lowercase(),
            names::qualified_name(&name.to_lowercase()),
        ),
    }
}

fn parameters(errors: &mut Errors, object: &Value, may_be_empty: bool) {
    let path = Path::root("parameters");
    let all = map(object, "parameters");
    let count = all.clone().count();
    if count > PARAMETERS_MAX {
        errors.push(Error::too_long(&path, PARAMETERS_MAX));
        return;
    }
    for (key, _) in all.clone().filter(|(key, _)| key.is_empty()) {
        errors.push(Error::invalid(
            &path,
            key.as_str(),
            "field can not be empty.",
        ));
    }
    let bytes: usize = all
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum();
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(&path, PARAMETERS_BYTES_MAX));
    }
    if !may_be_empty && count == 0 {
        errors.push(Error::required(
            &path,
            "must contain at least one key/value pair",
        ));
    }
}

/// `old` is the version that an update replaces.
pub(super) fn storage_class(errors: &mut Errors, class: &Value, old: Option<&Value>) {
    new_storage_class(errors, class);
    for member in [
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ] {
        if let Some(old) = old
            && !same(&old[member], &class[member])
        {
            let found = some(class, member);
            errors.push(Error::invalid(&Path::root(member), found, IMMUTABLE));
        }
    }
}

fn new_storage_class(errors: &mut Errors, class: &Value) {
    provisioner(errors, class, "provisioner");
    parameters(errors, class, true);
    let policy = text(class, "reclaimPolicy");
    if !matches!(policy, "" | "Delete" | "Retain") {
        let supported = ["Delete", "Retain"];
        errors.push(Error::not_supported(
            &Path::root("reclaimPolicy"),
            policy,
            &supported,
        ));
    }
    let (path, mode) = (
        Path::root("volumeBindingMode"),
        some(class, "volumeBindingMode"),
    );
    let modes = ["Immediate", "WaitForFirstConsumer"];
    match mode {
        None => errors.push(Error::required(&path, "")),
        Some(mode) if !modes.iter().any(|m| mode == m) => {
            errors.push(Error::not_supported(&path, mode, &modes));
        }
        Some(_) => {}
    }
    topologies(errors, class);
}

fn topologies(errors: &mut Errors, class: &Value) {
    let path = Path::root("allowedTopologies");
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (i, term) in list(class, "allowedTopologies").iter().enumerate() {
        let at = path.index(i);
        let expressions = at.field("matchLabelExpressions");
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (j, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let (at, key) = (expressions.index(j), text(expression, "key"));
            let (values_path, mut values) = (at.field("values"), BTreeSet::new());
            let all = list(expression, "values");
            if all.is_empty() {
                errors.push(Error::required(&values_path, ""));
            }
            for (k, value) in all.iter().filter_map(Value::as_str).enumerate() {
                if !values.insert(value) {
                    errors.push(Error::duplicate(&values_path.index(k), value));
                }
            }
            invalid_each(errors, &at.field("key"), key, names::qualified_name(key));
            if keys.contains_key(key) {
                errors.push(Error::duplicate(&at.field("key"), key));
            }
            keys.insert(key, values);
        }
        // Upstream begins with as many empty terms as there are terms.
        if keys.is_empty() || seen.contains(&keys) {
            errors.push(Error::duplicate(&expressions, ""));
        }
        seen.push(keys);
    }
}

pub(super) fn attributes_class(errors: &mut Errors, class: &Value, old: Option<&Value>) {
    if let Some(old) = old {
        for member in ["driverName", "parameters"] {
            if !same(&old[member], &class[member]) {
                let detail = format!("updates to {member} are forbidden.");
                errors.push(Error::forbidden(&Path::root(member), detail));
            }
        }
    }
    provisioner(errors, class, "driverName");
    parameters(errors, class, false);
}

pub(super) fn attachment(errors: &mut Errors, attachment: &Value, old: Option<&Value>) {
    let (spec, path) = (&attachment["spec"], Path::root("spec"));
    let (source, at) = (&spec["source"], path.field("source"));
    let inline = some(source, "inlineVolumeSpec");
    let name = some(source, "persistentVolumeName").and_then(Value::as_str);
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline, name) {
        (None, None) => errors.push(Error::required(&at, detail)),
        (Some(_), Some(_)) => errors.push(Error::forbidden(&at, detail)),
        (None, Some("")) => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(Error::required(&at.field("persistentVolumeName"), detail));
        }
        (None, Some(_)) => {}
        (Some(inline), None) => {
            storage::volume_spec(errors, &at.field("inlineVolumeSpec"), inline, "", true);
        }
    }
    let node = text(spec, "nodeName");
    invalid_each(
        errors,
        &path.field("nodeName"),
        node,
        names::dns1123_subdomain(node),
    );
    attachment_status(errors, attachment);
    if let Some(name) = name {
        let at = Path::root("spec.source.persistentVolumeName");
        invalid_each(errors, &at, name, names::dns1123_subdomain(name));
    }
    // Told by upstream's generated validation, which comes last and shows no value.
    if old.is_some_and(|old| !same(&old["spec"], spec)) {
        errors.push(Error::invalid(&path, Value::Null, IMMUTABLE));
    }
    attacher(errors, &path.field("attacher"), text(spec, "attacher"));
}

/// The name of the driver that attaches, which may have capitals.
fn attacher(errors: &mut Errors, path: &Path<'_>, name: &str) {
    const NAME_MAX: usize = 63;
    if name.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    if name.len() > NAME_MAX {
        errors.push(Error::too_long(path, NAME_MAX));
    }
    invalid_each(errors, path, name, names::subdomain_of_any_case(name));
}

fn attachment_status(errors: &mut Errors, attachment: &Value) {
    const MESSAGE_MAX: usize = 1024;
    let (status, path) = (&attachment["status"], Path::root("status"));
    let all = map(status, "attachmentMetadata");
    let bytes: usize = all
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum();
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(
            &path.field("attachmentMetadata"),
            PARAMETERS_BYTES_MAX,
        ));
    }
    for member in ["attachError", "detachError"] {
        let (error, at) = (&status[member], path.field(member));
        if text(error, "message").len() > MESSAGE_MAX {
            errors.push(Error::too_long(&at.field("message"), MESSAGE_MAX));
        }
        let code = int(error, "errorCode");
        if code < 0 {
            let detail = "must be between 0 and 2147483647, inclusive";
            errors.push(Error::invalid(&at.field("errorCode"), code, detail));
        }
    }
}

pub(super) fn csi_node(errors: &mut Errors, node: &Value, old: Option<&Value>) {
    const ID_MAX: usize = 256;
    let spec = Path::root("spec");
    let path = spec.field("drivers");
    let drivers = list(&node["spec"], "drivers");
    let mut seen = HashSet::new();
    for (i, driver) in drivers.iter().enumerate() {
        let (at, name, id) = (path.index(i), text(driver, "name"), text(driver, "nodeID"));
        csi_driver_name(errors, &at.field("name"), name);
        if id.is_empty() {
            errors.push(Error::required(&at.field("nodeID"), ""));
        }
        if id.len() > ID_MAX {
            let detail = format!("must be {ID_MAX} characters or less");
            errors.push(Error::invalid(&at.field("nodeID"), id, detail));
        }
        if let Some(allocatable) = some(driver, "allocatable") {
            non_negative(errors, &at.field("allocatable"), allocatable, "count");
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        topology_keys(errors, &at, driver);
    }
    let without_count = |driver: &Value| {
        let mut driver = driver.clone();
        driver["allocatable"] = Value::Null;
        driver
    };
    for before in old
        .into_iter()
        .flat_map(|old| list(&old["spec"], "drivers"))
    {
        let twins = drivers.iter().filter(|d| d["name"] == before["name"]);
        for after in twins.map(without_count) {
            if !same(&without_count(before), &after) {
                let shown = internal::show("storage.CSINodeDriver", Some(&after));
                errors.push(Error::invalid(&path, shown, IMMUTABLE));
            }
        }
    }
}

fn topology_keys(errors: &mut Errors, path: &Path<'_>, driver: &Value) {
    let mut seen = HashSet::new();
    for key in list(driver, "topologyKeys")
        .iter()
        .filter_map(Value::as_str)
    {
        if key.is_empty() {
            errors.push(Error::required(path, ""));
        }
        if !seen.insert(key) {
            errors.push(Error::duplicate(path, key));
        }
        invalid_each(errors, path, key, names::qualified_name(key));
    }
}

pub(super) fn csi_driver(errors: &mut Errors, driver: &Value, old: Option<&Value>) {
    const PERIOD_MIN: i64 = 10;
    let (spec, path) = (&driver["spec"], Path::root("spec"));
    for (member, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if some(spec, member).is_none() {
            errors.push(Error::required(&path.field(shown), ""));
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    if let Some(policy) = some(spec, "fsGroupPolicy")
        && !policies.iter().any(|p| policy == p)
    {
        errors.push(Error::not_supported(
            &path.field("fsGroupPolicy"),
            policy,
            &policies,
        ));
    }
    token_requests(errors, spec);
    let modes = ["Persistent", "Ephemeral"];
    for mode in list(spec, "volumeLifecycleModes") {
        if !modes.iter().any(|m| mode == m) {
            errors.push(Error::not_supported(
                &path.field("volumeLifecycleModes"),
                mode,
                &modes,
            ));
        }
    }
    if let Some(period) = some(spec, "nodeAllocatableUpdatePeriodSeconds").and_then(Value::as_i64)
        && period < PERIOD_MIN
    {
        let at = path.field("nodeAllocatableUpdatePeriodSeconds");
        errors.push(Error::invalid(
            &at,
            period,
            "must be greater than or equal to 10 seconds",
        ));
    }
    if let Some(in_secrets) = some(spec, "serviceAccountTokenInSecrets")
        && list(spec, "tokenRequests").is_empty()
    {
        let at = path.field("serviceAccountTokenInSecrets");
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(Error::invalid(&at, in_secrets, detail));
    }
    let Some(old) = old else {
        return;
    };
    for (member, shown) in [
        ("attachRequired", "attachedRequired"),
        ("volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        if !same(&old["spec"][member], &spec[member]) {
            errors.push(Error::invalid(
                &path.field(shown),
                some(spec, member),
                IMMUTABLE,
            ));
        }
    }
}

fn token_requests(errors: &mut Errors, spec: &Value) {
    const SECONDS_MIN: i64 = 600;
    let root = Path::root("spec");
    let path = root.field("tokenRequests");
    let mut seen = HashSet::new();
    for (i, request) in list(spec, "tokenRequests").iter().enumerate() {
        let (at, audience) = (path.index(i), text(request, "audience"));
        if !seen.insert(audience) {
            errors.push(Error::duplicate(&at.field("audience"), audience));
            continue;
        }
        let Some(seconds) = some(request, "expirationSeconds").and_then(Value::as_i64) else {
            continue;
        };
        let at = at.field("expirationSeconds");
        if seconds < SECONDS_MIN {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(&at, seconds, detail));
        }
        if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(&at, seconds, detail));
        }
    }
}

pub(super) fn capacity(errors: &mut Errors, capacity: &Value, old: Option<&Value>) {
    new_capacity(errors, capacity);
    let Some(old) = old else { return };
    if !same(&old["nodeTopology"], &capacity["nodeTopology"]) {
        let shown = super::workload::shown_selector(some(capacity, "nodeTopology"));
        errors.push(Error::invalid(
            &Path::root("nodeTopology"),
            shown,
            IMMUTABLE,
        ));
    }
    if text(old, "storageClassName") != text(capacity, "storageClassName") {
        let shown = text(capacity, "storageClassName");
        errors.push(Error::invalid(
            &Path::root("storageClassName"),
            shown,
            IMMUTABLE,
        ));
    }
}

fn new_capacity(errors: &mut Errors, capacity: &Value) {
    if let Some(selector) = some(capacity, "nodeTopology") {
        label_selector(errors, &Path::root("nodeTopology"), selector);
    }
    let class = text(capacity, "storageClassName");
    invalid_each(
        errors,
        &Path::root("storageClassName"),
        class,
        names::dns1123_subdomain(class),
    );
    if let Some(value) = some(capacity, "capacity")
        && Quantity::from_json(value).is_ok_and(|q| q.is_negative())
    {
        errors.push(Error::invalid(
            &Path::root("capacity"),
            value,
            super::checks::NOT_NEGATIVE,
        ));
    }
}

/// A driver's report of its health in the status of a CSINode.
pub(super) fn csi_node_status(errors: &mut Errors, node: &Value) {
    let status = Path::root("status");
    let path = status.field("storageHealth");
    let mut seen = HashSet::new();
    for (i, health) in list(&node["status"], "storageHealth").iter().enumerate() {
        let (at, name) = (path.index(i), text(health, "name"));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at, name));
        }
        if required(errors, &at, health, "name") {
            csi_driver_name(errors, &at.field("name"), name);
        }
    }
}
