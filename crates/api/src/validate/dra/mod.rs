//! Dynamic resource allocation (KEP-4381): DeviceClasses, ResourceClaims and their templates, ResourceSlices and
//! DeviceTaintRules.
//!
//! What upstream has as tags of its types is told of last ([`Rules::tagged`]). Deliberately absent: whether the CEL
//! expressions of selectors compile, which takes an engine; only their length is looked at here.

mod allocation;
mod capacity;
mod claim;
mod device;
mod slice;

pub(super) use allocation::status;
pub(super) use claim::{claim, claim_update, class, template, template_update};
pub(super) use slice::{slice, taint_rule};

use super::checks::{Errors, invalid_each as each, some, text};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const ID_MAX: usize = 32;
const DRIVER_MAX: usize = 63;
const POOL_MAX: usize = 253;
const PARAMETERS_MAX: usize = 10 * 1024;
const LISTED_MAX: usize = 32;

/// What was found wrong: by code, and by tags.
#[derive(Default)]
struct Rules {
    errors: Errors,
    tagged: Errors,
}

impl Rules {
    /// Everything, in upstream's order.
    fn finish(self, errors: &mut Errors) {
        errors.extend(self.errors);
        errors.extend(self.tagged);
    }

    /// Whether a list is not too long; a longer one is not looked into.
    fn fits(&mut self, path: &Path<'_>, list: &[Value], max: usize) -> bool {
        if list.len() > max {
            self.tagged.push(Error::too_many(path, list.len(), max));
        }
        list.len() <= max
    }

    /// Tells of items that were there before.
    fn unique<'a>(&mut self, path: &Path<'_>, items: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for (i, item) in items.enumerate() {
            if !seen.insert(item) {
                self.tagged.push(Error::duplicate(&path.index(i), item));
            }
        }
    }

    /// Tells of items of the type `ty` whose member `key` was there before.
    fn unique_by(&mut self, path: &Path<'_>, items: &[Value], key: &str, ty: &str) {
        let mut seen = HashSet::new();
        let model = format!("io.k8s.api.resource.v1.{ty}");
        for (i, item) in items.iter().enumerate() {
            if !seen.insert(text(item, key)) {
                let shown = internal::show_versioned(&model, item);
                self.tagged.push(Error::duplicate(&path.index(i), shown));
            }
        }
    }
}

/// The member `nodeName`, if there is one, with what is said of an empty one; whether it names a node.
fn node_name(errors: &mut Errors, path: &Path<'_>, of: &Value, empty: &str) -> bool {
    let path = path.field("nodeName");
    match some(of, "nodeName").and_then(Value::as_str) {
        Some("") => {
            errors.push(Error::invalid(&path, "", empty));
            false
        }
        Some(name) => {
            each(errors, &path, name, names::dns1123_subdomain(name));
            true
        }
        None => false,
    }
}

/// A driver's name, checked by code.
fn driver(errors: &mut Errors, path: &Path<'_>, name: &str) {
    super::volume_source::csi_driver_name(errors, path, name);
}

/// A driver's name, checked by tags: it may have capitals.
fn tagged_driver(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    each(errors, path, name, names::subdomain_of_any_case(name));
    if name.chars().count() > DRIVER_MAX {
        errors.push(too_many_characters(path, DRIVER_MAX));
    }
}

/// A text of more than `max` characters, in the words of the tag for that.
fn too_many_characters(path: &Path<'_>, max: usize) -> Error {
    let mut error = Error::too_long(path, max);
    error.detail = format!("may not be more than {max} characters");
    error
}

/// A pool's name: subdomains with slashes between them.
fn pool(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > POOL_MAX {
        errors.push(Error::too_long(path, POOL_MAX));
    }
    for part in name.split('/') {
        each(errors, path, part, names::dns1123_subdomain(part));
    }
}

const IDENTIFIER_TEXT: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

fn identifier(errors: &mut Errors, path: &Path<'_>, id: &str) {
    if id.len() > ID_MAX {
        errors.push(Error::too_long(path, ID_MAX));
    }
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let right = id.bytes().next().is_some_and(letter)
        && id.bytes().all(|b| letter(b) || b.is_ascii_digit());
    if !right {
        errors.push(Error::invalid(path, id, IDENTIFIER_TEXT));
    }
}

/// `name` or `domain/name`.
fn qualified(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(errors, path, id),
        [domain, id] => {
            match domain {
                "" => errors.push(Error::invalid(path, "", "the domain must not be empty")),
                _ => driver(errors, path, domain),
            }
            match id {
                "" => errors.push(Error::invalid(path, "", "the name must not be empty")),
                _ => identifier(errors, path, id),
            }
        }
        // Upstream takes what has more.
        _ => {}
    }
}

/// `domain/name`.
fn fully_qualified(errors: &mut Errors, path: &Path<'_>, name: &str) {
    qualified(errors, path, name);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, name, detail));
    }
}

/// Parameters for a driver: a JSON object.
fn raw(errors: &mut Errors, path: &Path<'_>, value: Option<&Value>, max: usize) {
    match value {
        None => errors.push(Error::required(path, "")),
        Some(value) if value.to_string().len() > max => errors.push(Error::too_long(path, max)),
        Some(value) if !value.is_object() => {
            let detail = "must be a valid JSON object";
            errors.push(Error::invalid(path, "<value omitted>", detail));
        }
        Some(_) => {}
    }
}

/// What configures the devices of a driver.
fn configuration(rules: &mut Rules, path: &Path<'_>, config: &Value) {
    let at = path.field("opaque");
    match some(config, "opaque") {
        None => rules.errors.push(Error::required(&at, "")),
        Some(opaque) => {
            let parameters = some(opaque, "parameters");
            raw(
                &mut rules.errors,
                &at.field("parameters"),
                parameters,
                PARAMETERS_MAX,
            );
            tagged_driver(
                &mut rules.tagged,
                &at.field("driver"),
                text(opaque, "driver"),
            );
        }
    }
}

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// A taint of a device; an effect that an update leaves as it is may be unknown.
fn taint(rules: &mut Rules, path: &Path<'_>, taint: &Value, old: Option<&Value>) {
    let (key, value, effect) = (
        text(taint, "key"),
        text(taint, "value"),
        text(taint, "effect"),
    );
    each(
        &mut rules.errors,
        &path.field("key"),
        key,
        names::qualified_name(key),
    );
    if !value.is_empty() {
        each(
            &mut rules.errors,
            &path.field("value"),
            value,
            names::label_value(value),
        );
    }
    if old.is_none_or(|old| text(old, "effect") != effect) {
        super::checks::one_of_words(&mut rules.tagged, &path.field("effect"), effect, &EFFECTS);
    }
}

fn toleration(rules: &mut Rules, path: &Path<'_>, toleration: &Value) {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    let (operator, effect) = (text(toleration, "operator"), text(toleration, "effect"));
    match operator {
        "Exists" if !value.is_empty() => {
            let detail = "must be empty for operator `Exists`";
            rules
                .errors
                .push(Error::invalid(&path.field("value"), value, detail));
        }
        "Equal" => each(
            &mut rules.errors,
            &path.field("value"),
            value,
            names::label_value(value),
        ),
        _ => {}
    }
    if !key.is_empty() {
        each(
            &mut rules.tagged,
            &path.field("key"),
            key,
            names::qualified_name(key),
        );
    }
    super::checks::one_of_words(
        &mut rules.tagged,
        &path.field("operator"),
        operator,
        &["Equal", "Exists"],
    );
    if !effect.is_empty() {
        super::checks::one_of_words(&mut rules.tagged, &path.field("effect"), effect, &EFFECTS);
    }
}
