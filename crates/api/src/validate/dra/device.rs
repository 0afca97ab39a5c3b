//! One device of a ResourceSlice.

use super::super::checks::{Errors, list, map, same, some, text};
use super::claim::nodes;
use super::{Rules, capacity, each, node_name, qualified, taint};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const VALUES_MAX: usize = 48;
const MEMBERS_MAX: usize = 32;
const VALUE_BYTES_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const CONSUMED_MAX: usize = 2;
const COUNTERS_MAX: usize = 32;
const CONDITIONS_MAX: usize = 4;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
const SCALARS: [&str; 4] = ["bool", "int", "string", "version"];

/// `own_nodes` says that each device names its Nodes.
pub(super) fn device(
    rules: &mut Rules,
    path: &Path<'_>,
    device: &Value,
    old: Option<&Value>,
    own_nodes: bool,
) {
    let name = text(device, "name");
    each(
        &mut rules.errors,
        &path.field("name"),
        name,
        names::dns1123_label(name),
    );
    let count = |member: &str| map(device, member).count();
    let members = count("attributes") + count("capacity");
    if members > MEMBERS_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {MEMBERS_MAX}");
        rules
            .errors
            .push(Error::invalid(path, members as i64, detail));
    }
    let values: usize = map(device, "attributes")
        .map(|(_, a)| LISTS.iter().map(|l| list(a, l).len()).sum::<usize>().max(1))
        .sum();
    if values > VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        rules
            .errors
            .push(Error::invalid(path, values as i64, detail));
    }
    let at = path.field("attributes");
    for (key, value) in map(device, "attributes") {
        qualified(&mut rules.errors, &at, key);
        attribute(rules, &at.key(key), value);
    }
    if old.is_none_or(|old| !same(&old["capacity"], &device["capacity"])) {
        capacity::capacities(&mut rules.errors, path, device);
    }
    taints(rules, path, device, old);
    consumed(rules, path, device);
    placed(&mut rules.errors, path, device, own_nodes);
    binding_conditions(rules, path, device);
}

fn attribute(rules: &mut Rules, path: &Path<'_>, attribute: &Value) {
    let word = |member: &str| some(attribute, member).and_then(Value::as_str);
    if let Some(value) = word("string") {
        bytes(&mut rules.errors, &path.field("string"), value);
    }
    if let Some(value) = word("version") {
        version(&mut rules.errors, &path.field("version"), value);
    }
    for member in LISTS {
        let at = path.field(member);
        let Some(items) = some(attribute, member).and_then(Value::as_array) else {
            continue;
        };
        if items.is_empty() {
            let detail = "must not be empty if specified";
            rules
                .errors
                .push(Error::invalid(&at, &attribute[member], detail));
        }
        for (i, item) in items.iter().enumerate() {
            match (member, item.as_str()) {
                ("strings", Some(value)) => bytes(&mut rules.errors, &at.index(i), value),
                ("versions", Some(value)) => version(&mut rules.errors, &at.index(i), value),
                _ => {}
            }
        }
    }
    let set = SCALARS
        .iter()
        .chain(&LISTS)
        .filter(|m| some(attribute, m).is_some())
        .count();
    union(&mut rules.tagged, path, attribute, set);
}

/// Exactly one of the kinds of values.
fn union(errors: &mut Errors, path: &Path<'_>, attribute: &Value, set: usize) {
    const MEMBERS: [&str; 8] = [
        "int", "bool", "string", "version", "ints", "bools", "strings", "versions",
    ];
    let all = MEMBERS.map(|m| format!("`{m}`")).join(", ");
    match set {
        0 => {
            let detail = format!("must specify one of: {all}");
            errors.push(Error::invalid(path, "", detail));
        }
        1 => {}
        _ => {
            let found = MEMBERS.iter().filter(|m| some(attribute, m).is_some());
            let found: Vec<&str> = found.copied().collect();
            errors.push(Error::invalid(
                path,
                format!("{{{}}}", found.join(", ")),
                format!("must specify exactly one of: {all}"),
            ));
        }
    }
}

fn bytes(errors: &mut Errors, path: &Path<'_>, value: &str) {
    if value.len() > VALUE_BYTES_MAX {
        errors.push(Error::too_long(path, VALUE_BYTES_MAX));
    }
}

fn version(errors: &mut Errors, path: &Path<'_>, value: &str) {
    if !is_semantic(value) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(Error::invalid(path, value, detail));
    }
    bytes(errors, path, value);
}

/// Whether a text is a version of semver.org 2.0.0.
fn is_semantic(text: &str) -> bool {
    let (text, build) = text
        .split_once('+')
        .map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, pre) = text
        .split_once('-')
        .map_or((text, None), |(t, p)| (t, Some(p)));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let number = |s: &str| digits(s) && (s == "0" || !s.starts_with('0'));
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|p| p.split('.').all(|s| word(s) && (!digits(s) || number(s))))
        && build.is_none_or(|b| b.split('.').all(word))
}

fn taints(rules: &mut Rules, path: &Path<'_>, device: &Value, old: Option<&Value>) {
    if old.is_some_and(|old| same(&old["taints"], &device["taints"])) {
        return;
    }
    let (at, all) = (path.field("taints"), list(device, "taints"));
    if all.len() > TAINTS_MAX {
        rules
            .errors
            .push(Error::too_many(&at, all.len(), TAINTS_MAX));
        return;
    }
    for (i, each) in all.iter().enumerate() {
        taint(rules, &at.index(i), each, None);
    }
}

/// A set of counters, or what is taken of one.
pub(super) fn counters(rules: &mut Rules, path: &Path<'_>, node: &Value, name_member: &str) {
    let (name, at) = (text(node, name_member), path.field(name_member));
    let short = |errors: &mut Errors, at: &Path<'_>, name: &str| {
        let wrong = names::dns1123_label(name).into_iter().map(names::in_bytes);
        each(errors, at, name, wrong.collect());
    };
    match name {
        "" => rules.tagged.push(Error::required(&at, "")),
        _ => short(&mut rules.tagged, &at, name),
    }
    let at = path.field("counters");
    let count = map(node, "counters").count();
    if count == 0 {
        rules.tagged.push(Error::required(&at, ""));
    } else if count > COUNTERS_MAX {
        rules.errors.push(Error::too_many(&at, count, COUNTERS_MAX));
    }
    for (key, _) in map(node, "counters") {
        short(&mut rules.tagged, &at, key);
    }
}

fn consumed(rules: &mut Rules, path: &Path<'_>, device: &Value) {
    let (at, all) = (
        path.field("consumesCounters"),
        list(device, "consumesCounters"),
    );
    if !rules.fits(&at, all, CONSUMED_MAX) {
        return;
    }
    rules.unique_by(&at, all, "counterSet", "DeviceCounterConsumption");
    for (i, one) in all.iter().enumerate() {
        counters(rules, &at.index(i), one, "counterSet");
    }
}

/// Where a device is, when each device says so.
fn placed(errors: &mut Errors, path: &Path<'_>, device: &Value, own_nodes: bool) {
    const MEMBERS: [&str; 3] = ["nodeName", "nodeSelector", "allNodes"];
    if !own_nodes {
        if MEMBERS.iter().any(|member| some(device, member).is_some()) {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(Error::invalid(path, Value::Null, detail));
        }
        return;
    }
    let mut set = Vec::new();
    if node_name(errors, path, device, "must not be empty") {
        set.push("`nodeName`");
    }
    if let Some(selector) = some(device, "nodeSelector") {
        set.push("`nodeSelector`");
        nodes(errors, &path.field("nodeSelector"), selector);
    }
    match some(device, "allNodes") {
        Some(Value::Bool(true)) => set.push("`allNodes`"),
        Some(other) => {
            let detail = "must be either unset or set to true";
            errors.push(Error::invalid(&path.field("allNodes"), other, detail));
        }
        None => {}
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.len() {
        0 => errors.push(Error::required(path, detail)),
        1 => {}
        _ => errors.push(Error::invalid(
            path,
            format!("{{{}}}", set.join(", ")),
            detail,
        )),
    }
}

/// Conditions that must hold before a Pod is bound, and those that tell of failure (KEP-5007).
pub(super) fn binding_conditions(rules: &mut Rules, path: &Path<'_>, node: &Value) {
    let words = |member: &str| -> Vec<String> {
        let all = list(node, member).iter();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (wanted, failed) = ("bindingConditions", "bindingFailureConditions");
    for member in [wanted, failed] {
        let at = path.field(member);
        if rules.fits(&at, list(node, member), CONDITIONS_MAX) {
            for (i, word) in words(member).iter().enumerate() {
                each(
                    &mut rules.errors,
                    &at.index(i),
                    word,
                    names::qualified_name(word),
                );
            }
        }
    }
    let needed = words(wanted);
    for member in [wanted, failed] {
        let (at, mut seen) = (path.field(member), HashSet::new());
        for (i, word) in words(member).into_iter().enumerate() {
            let overlaps = member == failed && needed.contains(&word);
            if !seen.insert(word.clone()) {
                rules
                    .errors
                    .push(Error::duplicate(&at.index(i), word.as_str()));
            }
            if overlaps {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                rules
                    .errors
                    .push(Error::invalid(&at.index(i), word, detail));
            }
        }
    }
    for (member, other) in [(wanted, failed), (failed, wanted)] {
        if list(node, member).is_empty() && !list(node, other).is_empty() {
            let detail = format!("{member} are required to use {other}");
            rules.errors.push(Error::invalid(
                &path.field(member),
                some(node, member),
                detail,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for (text, right) in [
            ("1.2.3", true),
            ("1.2.3-a.1+b.01", true),
            ("01.2.3", false),
            ("1.2", false),
            ("1.2.3-01", false),
            ("1.2.3-", false),
        ] {
            assert_eq!(is_semantic(text), right, "{text}");
        }
    }
}
