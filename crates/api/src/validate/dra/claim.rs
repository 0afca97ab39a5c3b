//! What is asked for: requests for devices, constraints between them, and classes.

use super::super::checks::{Errors, immutable, int, list, some, text};
use super::super::{meta, pod};
use super::{LISTED_MAX, Rules, configuration, each, fully_qualified, toleration};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

const EXPRESSION_MAX: usize = 10 * 1024;
const ALTERNATIVES_MAX: usize = 8;
const REFERENCE: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

pub(in super::super) fn class(errors: &mut Errors, class: &Value) {
    let mut rules = Rules::default();
    let (spec, path) = (&class["spec"], Path::root("spec"));
    selectors(&mut rules, &path, spec);
    let (at, configs) = (path.field("config"), list(spec, "config"));
    if rules.fits(&at, configs, LISTED_MAX) {
        for (i, config) in configs.iter().enumerate() {
            configuration(&mut rules, &at.index(i), config);
        }
    }
    if let Some(name) = some(spec, "extendedResourceName").and_then(Value::as_str) {
        extended(&mut rules.tagged, &path.field("extendedResourceName"), name);
    }
    let name = text(&class["metadata"], "name");
    let wrong = names::dns1123_subdomain(name).into_iter();
    let at = Path::root("metadata");
    each(
        &mut rules.tagged,
        &at.field("name"),
        name,
        wrong.map(names::in_bytes).collect(),
    );
    rules.finish(errors);
}

/// The name of an extended resource, in the words of the tag for it.
fn extended(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let mut wrong = Vec::new();
    if !name.contains('/') {
        wrong.push("a name must be a domain-prefixed path, such as 'example.com/my-prop'".into());
    } else if name.contains("kubernetes.io/") {
        wrong.push("must not have \"kubernetes.io/\" domain".into());
    }
    if name.starts_with("requests.") {
        wrong.push("must not have \"requests.\" prefix".into());
    }
    wrong.extend(names::qualified_name(&format!("requests.{name}")));
    each(errors, path, name, wrong);
}

pub(in super::super) fn claim(errors: &mut Errors, claim: &Value) {
    let spec = Path::root("spec");
    devices(errors, &spec.field("devices"), &claim["spec"]["devices"]);
}

pub(in super::super) fn claim_update(errors: &mut Errors, old: &Value, new: &Value) {
    if !super::super::checks::same(&old["spec"], &new["spec"]) {
        let detail = "field is immutable";
        errors.push(Error::invalid(&Path::root("spec"), Value::Null, detail));
    }
}

pub(in super::super) fn template(errors: &mut Errors, template: &Value) {
    let spec = Path::root("spec");
    meta::bare_template(
        errors,
        &spec.field("metadata"),
        &template["spec"]["metadata"],
    );
    let inner = spec.field("spec");
    devices(
        errors,
        &inner.field("devices"),
        &template["spec"]["spec"]["devices"],
    );
}

pub(in super::super) fn template_update(errors: &mut Errors, old: &Value, new: &Value) {
    template(errors, new);
    let mut found = Errors::new();
    immutable(&mut found, &Path::root(""), old, new, "spec");
    for mut error in found {
        "spec".clone_into(&mut error.field);
        error.value =
            crate::internal::show("resource.ResourceClaimTemplateSpec", some(new, "spec"));
        errors.push(error);
    }
}

fn devices(errors: &mut Errors, path: &Path<'_>, devices: &Value) {
    let mut rules = Rules::default();
    let (at, requests) = (path.field("requests"), list(devices, "requests"));
    if rules.fits(&at, requests, LISTED_MAX) {
        rules.unique_by(&at, requests, "name", "DeviceRequest");
        for (i, each) in requests.iter().enumerate() {
            request(&mut rules, &at.index(i), each);
        }
    }
    let (at, constraints) = (path.field("constraints"), list(devices, "constraints"));
    if rules.fits(&at, constraints, LISTED_MAX) {
        for (i, each) in constraints.iter().enumerate() {
            constraint(&mut rules, &at.index(i), each, devices);
        }
    }
    let (at, configs) = (path.field("config"), list(devices, "config"));
    if rules.fits(&at, configs, LISTED_MAX) {
        for (i, config) in configs.iter().enumerate() {
            let at = at.index(i);
            references(&mut rules, &at, config, devices);
            configuration(&mut rules, &at, config);
        }
    }
    rules.finish(errors);
}

fn request(rules: &mut Rules, path: &Path<'_>, request: &Value) {
    let name = text(request, "name");
    each(
        &mut rules.errors,
        &path.field("name"),
        name,
        names::dns1123_label(name),
    );
    let (exactly, first) = (some(request, "exactly"), list(request, "firstAvailable"));
    let detail = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly, first.is_empty()) {
        (None, true) => rules.errors.push(Error::required(path, detail)),
        (Some(_), false) => {
            let detail = format!("{detail}, but multiple fields are set");
            rules.errors.push(Error::invalid(path, Value::Null, detail));
        }
        (Some(exactly), true) => {
            let at = path.field("exactly");
            let class = text(exactly, "deviceClassName");
            let class_path = at.field("deviceClassName");
            match class {
                "" => rules.errors.push(Error::required(&class_path, "")),
                _ => each(
                    &mut rules.errors,
                    &class_path,
                    class,
                    names::dns1123_subdomain(class),
                ),
            }
            asked(rules, &at, exactly);
        }
        (None, false) => {
            let at = path.field("firstAvailable");
            if !rules.fits(&at, first, ALTERNATIVES_MAX) {
                return;
            }
            rules.unique_by(&at, first, "name", "DeviceSubRequest");
            for (i, one) in first.iter().enumerate() {
                alternative(rules, &at.index(i), one);
            }
        }
    }
}

fn alternative(rules: &mut Rules, path: &Path<'_>, request: &Value) {
    let name = text(request, "name");
    each(
        &mut rules.errors,
        &path.field("name"),
        name,
        names::dns1123_label(name),
    );
    let (class, at) = (
        text(request, "deviceClassName"),
        path.field("deviceClassName"),
    );
    match class {
        "" => rules.tagged.push(Error::required(&at, "")),
        _ => {
            let wrong = names::dns1123_subdomain(class);
            let wrong = wrong.into_iter().map(names::in_bytes).collect();
            each(&mut rules.tagged, &at, class, wrong);
        }
    }
    asked(rules, path, request);
}

/// What both kinds of requests have.
fn asked(rules: &mut Rules, path: &Path<'_>, request: &Value) {
    selectors(rules, path, request);
    let (mode, count) = (text(request, "allocationMode"), int(request, "count"));
    let at = path.field("count");
    match mode {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            rules.errors.push(Error::invalid(&at, count, detail));
        }
        "ExactCount" if count <= 0 => {
            rules
                .errors
                .push(Error::invalid(&at, count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => {
            let at = path.field("allocationMode");
            rules
                .tagged
                .push(Error::not_supported(&at, other, &["All", "ExactCount"]));
        }
    }
    let at = path.field("tolerations");
    for (i, each) in list(request, "tolerations").iter().enumerate() {
        toleration(rules, &at.index(i), each);
    }
}

fn selectors(rules: &mut Rules, path: &Path<'_>, node: &Value) {
    let (at, all) = (path.field("selectors"), list(node, "selectors"));
    if !rules.fits(&at, all, LISTED_MAX) {
        return;
    }
    for (i, selector) in all.iter().enumerate() {
        let at = at.index(i);
        let cel = at.field("cel");
        match some(selector, "cel") {
            None => rules.errors.push(Error::required(&cel, "")),
            Some(found) if text(found, "expression").len() > EXPRESSION_MAX => {
                rules
                    .errors
                    .push(Error::too_long(&cel.field("expression"), EXPRESSION_MAX));
            }
            Some(_) => {}
        }
    }
}

fn constraint(rules: &mut Rules, path: &Path<'_>, constraint: &Value, devices: &Value) {
    references(rules, path, constraint, devices);
    for member in ["matchAttribute", "distinctAttribute"] {
        if let Some(name) = some(constraint, member).and_then(Value::as_str) {
            fully_qualified(&mut rules.tagged, &path.field(member), name);
        }
    }
    if some(constraint, "matchAttribute").is_none()
        && some(constraint, "distinctAttribute").is_none()
    {
        // The words are upstream's, though none is set.
        let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
        rules.errors.push(Error::required(path, detail));
    }
}

/// Names of requests, or of requests and their alternatives.
pub(super) fn references(rules: &mut Rules, path: &Path<'_>, node: &Value, devices: &Value) {
    let (at, names) = (path.field("requests"), list(node, "requests"));
    if !rules.fits(&at, names, LISTED_MAX) {
        return;
    }
    let words = || names.iter().filter_map(Value::as_str);
    rules.unique(&at, words());
    for (i, name) in words().enumerate() {
        reference(&mut rules.errors, &at.index(i), name, devices);
    }
}

/// The name of a request in a claim.
pub(super) fn reference(errors: &mut Errors, path: &Path<'_>, name: &str, devices: &Value) {
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() > 2 {
        errors.push(Error::invalid(path, name, REFERENCE));
        return;
    }
    for segment in &segments {
        each(errors, path, segment, names::dns1123_label(segment));
    }
    let named = |list_of: &Value, member: &str, name: &str| {
        list(list_of, member)
            .iter()
            .rfind(|r| text(r, "name") == name)
            .cloned()
    };
    let known = named(devices, "requests", segments[0]).is_some_and(|request| {
        segments
            .get(1)
            .is_none_or(|sub| named(&request, "firstAvailable", sub).is_some())
    });
    if !known {
        errors.push(Error::invalid(path, name, REFERENCE));
    }
}

/// A selector of Nodes.
pub(super) fn nodes(errors: &mut Errors, path: &Path<'_>, selector: &Value) {
    pod::node_selector(errors, path, selector);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_name_requests_and_their_alternatives() {
        let devices =
            json!({"requests": [{"name": "a"}, {"name": "b", "firstAvailable": [{"name": "c"}]}]});
        let table = [
            ("a", true),
            ("b", true),
            ("b/c", true),
            ("a/c", false),
            ("c", false),
            ("a/b/c", false),
        ];
        for (name, right) in table {
            let mut errors = Errors::new();
            reference(&mut errors, &Path::root("r"), name, &devices);
            assert_eq!(errors.is_empty(), right, "{name}");
        }
    }
}
