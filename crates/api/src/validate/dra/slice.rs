//! What drivers offer: ResourceSlices, and the taints that administrators put on devices.

use super::super::checks::{Errors, immutable, int, list, map, some, text};
use super::claim::nodes;
use super::device::{counters, device};
use super::{Rules, driver, each, node_name, pool, taint};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const DEVICES_MAX: usize = 128;
/// Of devices with taints, counters or lists of values.
const RICH_DEVICES_MAX: usize = 64;
const SETS_MAX: usize = 8;

/// `old` is the version that an update replaces.
pub(in super::super) fn slice(errors: &mut Errors, slice: &Value, old: Option<&Value>) {
    let mut rules = Rules::default();
    let (spec, path) = (&slice["spec"], Path::root("spec"));
    driver(
        &mut rules.errors,
        &path.field("driver"),
        text(spec, "driver"),
    );
    let pool_path = path.field("pool");
    pool(
        &mut rules.errors,
        &pool_path.field("name"),
        text(&spec["pool"], "name"),
    );
    let (count, generation) = (
        int(&spec["pool"], "resourceSliceCount"),
        int(&spec["pool"], "generation"),
    );
    if count <= 0 {
        let at = pool_path.field("resourceSliceCount");
        rules
            .errors
            .push(Error::invalid(&at, count, "must be greater than zero"));
    }
    if generation < 0 {
        let at = pool_path.field("generation");
        rules.errors.push(Error::invalid(
            &at,
            generation,
            "must be greater than or equal to zero",
        ));
    }
    if let Some(old) = old.map(|old| &old["spec"]) {
        immutable(
            &mut rules.errors,
            &pool_path,
            &old["pool"],
            &spec["pool"],
            "name",
        );
        immutable(&mut rules.errors, &path, old, spec, "driver");
        immutable(&mut rules.errors, &path, old, spec, "nodeName");
    }
    placed(&mut rules.errors, &path, spec);
    if some(spec, "sharedCounters").is_some() && some(spec, "devices").is_some() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        rules.errors.push(Error::invalid(&path, "", detail));
    }
    devices(&mut rules, &path, spec, old.map(|old| &old["spec"]));
    let (at, sets) = (path.field("sharedCounters"), list(spec, "sharedCounters"));
    if rules.fits(&at, sets, SETS_MAX) {
        rules.unique_by(&at, sets, "name", "CounterSet");
        for (i, set) in sets.iter().enumerate() {
            counters(&mut rules, &at.index(i), set, "name");
        }
    }
    rules.finish(errors);
}

/// Where the devices are.
fn placed(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let mut set = Vec::new();
    let detail = "must be either unset or set to a non-empty string";
    if node_name(errors, path, spec, detail) {
        set.push("`nodeName`");
    }
    if let Some(selector) = some(spec, "nodeSelector") {
        set.push("`nodeSelector`");
        let at = path.field("nodeSelector");
        nodes(errors, &at, selector);
        if list(selector, "nodeSelectorTerms").len() != 1 {
            let shown = internal::show(
                "[core.NodeSelectorTerm",
                some(selector, "nodeSelectorTerms"),
            );
            let detail = "must have exactly one node selector term";
            errors.push(Error::invalid(
                &at.field("nodeSelectorTerms"),
                shown,
                detail,
            ));
        }
    }
    for (member, shown) in [
        ("allNodes", "`allNodes`"),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`"),
    ] {
        match some(spec, member) {
            Some(Value::Bool(true)) => set.push(shown),
            Some(other) => {
                let detail = "must be either unset or set to true";
                errors.push(Error::invalid(&path.field(member), other, detail));
            }
            None => {}
        }
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => errors.push(Error::required(path, detail)),
        1 => {}
        _ => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(Error::invalid(
                path,
                format!("{{{}}}", set.join(", ")),
                detail,
            ));
        }
    }
}

fn is_rich(device: &Value) -> bool {
    let lists = ["bools", "ints", "strings", "versions"];
    !list(device, "taints").is_empty()
        || !list(device, "consumesCounters").is_empty()
        || map(device, "attributes").any(|(_, a)| lists.iter().any(|l| some(a, l).is_some()))
}

fn devices(rules: &mut Rules, path: &Path<'_>, spec: &Value, old: Option<&Value>) {
    let (at, all) = (path.field("devices"), list(spec, "devices"));
    let max = match all.iter().any(is_rich) {
        true => RICH_DEVICES_MAX,
        false => DEVICES_MAX,
    };
    if all.len() > max {
        rules.errors.push(Error::too_many(&at, all.len(), max));
        return;
    }
    let own_nodes = spec["perDeviceNodeSelection"] == true;
    for (i, one) in all.iter().enumerate() {
        let before = old.and_then(|old| {
            list(old, "devices")
                .iter()
                .find(|d| d["name"] == one["name"])
        });
        device(rules, &at.index(i), one, before, own_nodes);
    }
    let mut seen = HashSet::new();
    for (i, name) in all.iter().map(|d| text(d, "name")).enumerate() {
        if !seen.insert(name) {
            rules.errors.push(Error::duplicate(&at.index(i), name));
        }
    }
}

/// A DeviceTaintRule; `old` is the version that an update replaces.
pub(in super::super) fn taint_rule(errors: &mut Errors, rule: &Value, old: Option<&Value>) {
    let mut rules = Rules::default();
    let (spec, path) = (&rule["spec"], Path::root("spec"));
    if let Some(selector) = some(spec, "deviceSelector") {
        let at = path.field("deviceSelector");
        let word = |member: &str| some(selector, member).and_then(Value::as_str);
        if let Some(name) = word("driver") {
            driver(&mut rules.errors, &at.field("driver"), name);
        }
        if let Some(name) = word("pool") {
            pool(&mut rules.errors, &at.field("pool"), name);
        }
        if let Some(name) = word("device") {
            each(
                &mut rules.errors,
                &at.field("device"),
                name,
                names::dns1123_label(name),
            );
        }
    }
    taint(
        &mut rules,
        &path.field("taint"),
        &spec["taint"],
        old.map(|old| &old["spec"]["taint"]),
    );
    rules.finish(errors);
}
