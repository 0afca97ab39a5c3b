//! The status of a ResourceClaim: who has it, and which devices it was given.

use super::super::checks::{Errors, immutable, list, one_of_words, some, text};
use super::super::{address, conditions};
use super::claim::{nodes, reference, references};
use super::device::binding_conditions;
use super::{LISTED_MAX, Rules, configuration, driver, each, pool, raw, tagged_driver, toleration};
use crate::field::{Bad, Error, Path};
use crate::names;
use serde_json::Value;

const CONSUMERS_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const DATA_MAX: usize = 10 * 1024;
const INTERFACE_MAX: usize = 256;
const HARDWARE_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;

/// What tells an allocated device: driver, pool, name, and share of it.
fn key(device: &Value) -> String {
    let parts = ["driver", "pool", "device"].map(|member| text(device, member));
    match some(device, "shareID").and_then(Value::as_str) {
        Some(share) => format!("{}/{share}", parts.join("/")),
        None => parts.join("/"),
    }
}

pub(in super::super) fn status(errors: &mut Errors, old: &Value, new: &Value) {
    let mut rules = Rules::default();
    let (status, path) = (&new["status"], Path::root("status"));
    let (at, users) = (path.field("reservedFor"), list(status, "reservedFor"));
    if rules.fits(&at, users, CONSUMERS_MAX) {
        rules.unique_by(&at, users, "uid", "ResourceClaimConsumerReference");
        for (i, user) in users.iter().enumerate() {
            for member in ["resource", "name", "uid"] {
                super::super::checks::required(&mut rules.errors, &at.index(i), user, member);
            }
        }
    }
    let allocation = some(status, "allocation");
    let results = allocation.map_or(&[][..], |a| list(&a["devices"], "results"));
    let given: Vec<String> = results.iter().map(key).collect();
    let at = path.field("devices");
    for (i, device) in list(status, "devices").iter().enumerate() {
        device_status(&mut rules, &at.index(i), device, &given);
    }
    reserved(&mut rules.errors, &path.field("reservedFor"), old, new);
    match (some(&old["status"], "allocation"), allocation) {
        (Some(_), Some(_)) => {
            let mut found = Errors::new();
            immutable(&mut found, &path, &old["status"], status, "allocation");
            rules.tagged.extend(found.into_iter().map(|mut error| {
                "field cannot be modified once set".clone_into(&mut error.detail);
                error.value = Value::Null.into();
                error
            }));
        }
        (None, Some(allocation)) => {
            let devices = &new["spec"]["devices"];
            allocated(&mut rules, &path.field("allocation"), allocation, devices);
        }
        _ => {}
    }
    rules.finish(errors);
}

/// Nobody has what is not allocated, and nobody new gets what is being deleted.
fn reserved(errors: &mut Errors, path: &Path<'_>, old: &Value, new: &Value) {
    let (before, after) = (
        list(&old["status"], "reservedFor"),
        list(&new["status"], "reservedFor"),
    );
    if after.is_empty() {
        return;
    }
    let deleted = some(&new["metadata"], "deletionTimestamp").is_some();
    if some(&new["status"], "allocation").is_none() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(Error::forbidden(path, detail));
    } else if deleted && after.iter().any(|user| !before.contains(user)) {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(Error::forbidden(path, detail));
    }
}

fn device_status(rules: &mut Rules, path: &Path<'_>, device: &Value, given: &[String]) {
    let name = text(device, "device");
    driver(
        &mut rules.errors,
        &path.field("driver"),
        text(device, "driver"),
    );
    pool(&mut rules.errors, &path.field("pool"), text(device, "pool"));
    each(
        &mut rules.errors,
        &path.field("device"),
        name,
        names::dns1123_label(name),
    );
    let share = some(device, "shareID").and_then(Value::as_str);
    if let Some(share) = share
        && !is_uid(share)
    {
        let detail = "must be a lowercase UUID in 8-4-4-4-12 format";
        let at = path.field("shareID");
        rules.tagged.push(Error::invalid(&at, share, detail));
    }
    if !given.contains(&key(device)) {
        let quoted = |text: &str| Value::from(text).to_string();
        let shown = format!(
            "{{\"Driver\":{},\"Pool\":{},\"Device\":{},\"ShareID\":{}}}",
            quoted(text(device, "driver")),
            quoted(text(device, "pool")),
            quoted(name),
            share.map_or_else(|| "null".to_owned(), quoted)
        );
        let detail = "must be an allocated device in the claim";
        rules
            .errors
            .push(Error::invalid(path, Bad::Text(shown), detail));
    }
    let at = path.field("conditions");
    let count = list(device, "conditions").len();
    if count > CONDITIONS_MAX {
        rules
            .errors
            .push(Error::too_many(&at, count, CONDITIONS_MAX));
    }
    conditions::conditions(&mut rules.errors, &at, device);
    if let Some(data) = some(device, "data") {
        raw(&mut rules.errors, &path.field("data"), Some(data), DATA_MAX);
    }
    if let Some(network) = some(device, "networkData") {
        network_data(rules, &path.field("networkData"), network);
    }
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn network_data(rules: &mut Rules, path: &Path<'_>, network: &Value) {
    for (member, max) in [
        ("interfaceName", INTERFACE_MAX),
        ("hardwareAddress", HARDWARE_MAX),
    ] {
        if text(network, member).len() > max {
            rules.tagged.push(Error::too_long(&path.field(member), max));
        }
    }
    let (at, all) = (path.field("ips"), list(network, "ips"));
    if !rules.fits(&at, all, ADDRESSES_MAX) {
        return;
    }
    rules.unique(&at, all.iter().filter_map(Value::as_str));
    for (i, text) in all.iter().filter_map(Value::as_str).enumerate() {
        if address::prefix(text).is_none() {
            let detail =
                "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            rules
                .errors
                .push(Error::invalid(&at.index(i), text, detail));
        }
    }
}

fn allocated(rules: &mut Rules, path: &Path<'_>, allocation: &Value, devices: &Value) {
    let (parent, given) = (path.field("devices"), &allocation["devices"]);
    let (at, results) = (parent.field("results"), list(given, "results"));
    if rules.fits(&at, results, LISTED_MAX) {
        for (i, result) in results.iter().enumerate() {
            self::result(rules, &at.index(i), result, devices);
        }
    }
    let (at, configs) = (parent.field("config"), list(given, "config"));
    if rules.fits(&at, configs, 2 * LISTED_MAX) {
        for (i, config) in configs.iter().enumerate() {
            let at = at.index(i);
            let sources = ["FromClaim", "FromClass"];
            one_of_words(
                &mut rules.tagged,
                &at.field("source"),
                text(config, "source"),
                &sources,
            );
            references(rules, &at, config, devices);
            configuration(rules, &at, config);
        }
    }
    if let Some(selector) = some(allocation, "nodeSelector") {
        nodes(&mut rules.errors, &path.field("nodeSelector"), selector);
    }
}

fn result(rules: &mut Rules, path: &Path<'_>, result: &Value, devices: &Value) {
    reference(
        &mut rules.errors,
        &path.field("request"),
        text(result, "request"),
        devices,
    );
    tagged_driver(
        &mut rules.tagged,
        &path.field("driver"),
        text(result, "driver"),
    );
    pool(&mut rules.tagged, &path.field("pool"), text(result, "pool"));
    let name = text(result, "device");
    each(
        &mut rules.errors,
        &path.field("device"),
        name,
        names::dns1123_label(name),
    );
    binding_conditions(rules, path, result);
    let at = path.field("tolerations");
    for (i, each) in list(result, "tolerations").iter().enumerate() {
        toleration(rules, &at.index(i), each);
    }
}
