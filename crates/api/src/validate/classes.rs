//! PriorityClasses, RuntimeClasses and IngressClasses; and StorageVersionMigrations, as small as they.

use super::checks::{Errors, int, invalid_each, label_selector, labels, list, same, some, text};
use super::pod;
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM: &str = "system-";
/// The server's own classes.
const KNOWN: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];
const IMMUTABLE: &str = "field is immutable";

pub(super) fn priority_class(errors: &mut Errors, class: &Value, old: Option<&Value>) {
    let value = int(class, "value");
    if let Some(old) = old {
        if int(old, "value") != value {
            let detail = "may not be changed in an update.";
            errors.push(Error::forbidden(&Path::root("value"), detail));
        }
        if !same(&old["preemptionPolicy"], &class["preemptionPolicy"]) {
            let found = some(class, "preemptionPolicy");
            errors.push(Error::invalid(
                &Path::root("preemptionPolicy"),
                found,
                IMMUTABLE,
            ));
        }
        return;
    }
    let name = text(&class["metadata"], "name");
    if name.starts_with(SYSTEM) {
        if let Some(why) = system_fault(name, value, class["globalDefault"] == true) {
            let meta = Path::root("metadata");
            let detail = format!(
                "priority class names with '{SYSTEM}' prefix are reserved for system use only. error: {why}"
            );
            errors.push(Error::forbidden(&meta.field("name"), detail));
        }
    } else if value > PRIORITY_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.push(Error::forbidden(&Path::root("value"), detail));
    }
    if let Some(policy) = some(class, "preemptionPolicy").and_then(Value::as_str) {
        let policies = ["PreemptLowerPriority", "Never"];
        let path = Path::root("preemptionPolicy");
        super::checks::one_of_words(errors, &path, policy, &policies);
    }
}

fn system_fault(name: &str, value: i64, default: bool) -> Option<String> {
    match KNOWN.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, known)) if *known != value => {
            Some(format!("value of {name} PriorityClass must be {known}"))
        }
        Some(_) if default => Some(format!(
            "globalDefault of {name} PriorityClass must be false"
        )),
        Some(_) => None,
    }
}

pub(super) fn runtime_class(errors: &mut Errors, class: &Value, old: Option<&Value>) {
    let (path, handler) = (Path::root("handler"), text(class, "handler"));
    if let Some(old) = old {
        if text(old, "handler") != handler {
            errors.push(Error::invalid(&path, Value::Null, IMMUTABLE));
        }
        return;
    }
    if let Some(overhead) = some(class, "overhead") {
        pod::overhead(errors, &Path::root("overhead"), &overhead["podFixed"]);
    }
    if let Some(scheduling) = some(class, "scheduling") {
        let at = Path::root("scheduling");
        labels(
            errors,
            &at.field("nodeSelector"),
            scheduling.get("nodeSelector"),
        );
        pod::tolerations(errors, &at, scheduling);
        let mut seen = HashSet::new();
        let path = at.field("tolerations");
        for (i, toleration) in list(scheduling, "tolerations").iter().enumerate() {
            if !seen.insert(["key", "operator", "value", "effect"].map(|m| text(toleration, m))) {
                let shown = internal::show("core.Toleration", Some(toleration));
                errors.push(Error::duplicate(&path.index(i), shown));
            }
        }
    }
    // Told by upstream's generated validation, which comes last.
    match handler {
        "" => errors.push(Error::required(&path, "")),
        _ => invalid_each(errors, &path, handler, names::dns1123_label(handler)),
    }
}

pub(super) fn ingress_class(errors: &mut Errors, class: &Value, old: Option<&Value>) {
    let (spec, path) = (&class["spec"], Path::root("spec"));
    if let Some(old) = old
        && text(&old["spec"], "controller") != text(spec, "controller")
    {
        let shown = text(spec, "controller");
        errors.push(Error::invalid(&path.field("controller"), shown, IMMUTABLE));
    }
    let (controller, at) = (text(spec, "controller"), path.field("controller"));
    const CONTROLLER_MAX: usize = 250;
    if controller.len() > CONTROLLER_MAX {
        errors.push(Error::too_long(&at, CONTROLLER_MAX));
    }
    super::checks::domain_prefixed_path(errors, &at, controller);
    if let Some(parameters) = some(spec, "parameters") {
        ingress_parameters(errors, &path.field("parameters"), parameters);
    }
}

fn ingress_parameters(errors: &mut Errors, path: &Path<'_>, parameters: &Value) {
    let group = text(parameters, "apiGroup");
    if some(parameters, "apiGroup").is_some() {
        invalid_each(
            errors,
            &path.field("apiGroup"),
            group,
            names::dns1123_subdomain(group),
        );
    }
    let mut after = Errors::new();
    for member in ["kind", "name"] {
        let (at, word) = (path.field(member), text(parameters, member));
        match word {
            "" => after.push(Error::required(&at, "")),
            _ => invalid_each(errors, &at, word, names::path_segment(word)),
        }
    }
    let namespace = some(parameters, "namespace").and_then(Value::as_str);
    let at = path.field("namespace");
    match text(parameters, "scope") {
        "" => errors.push(Error::required(&path.field("scope"), "")),
        "Namespace" => match namespace {
            None => {
                let detail = "`parameters.scope` is set to 'Namespace'";
                errors.push(Error::required(&at, detail));
            }
            Some(name) => invalid_each(errors, &at, name, names::dns1123_label(name)),
        },
        "Cluster" => {
            if namespace.is_some() {
                let detail = "`parameters.scope` is set to 'Cluster'";
                errors.push(Error::forbidden(&at, detail));
            }
        }
        other => errors.push(Error::not_supported(
            &path.field("scope"),
            other,
            &["Cluster", "Namespace"],
        )),
    }
    errors.extend(after);
}

pub(super) fn migration(errors: &mut Errors, migration: &Value, old: Option<&Value>) {
    let (spec, path) = (&migration["spec"], Path::root("spec"));
    let at = path.field("resource");
    let (resource, group) = (
        text(&spec["resource"], "resource"),
        text(&spec["resource"], "group"),
    );
    let mut joined = |path: &Path<'_>, text: &str, wrong: Vec<String>| {
        if !wrong.is_empty() {
            errors.push(Error::invalid(path, text, wrong.join(",")));
        }
    };
    match resource {
        "" => {}
        _ => joined(
            &at.field("resource"),
            resource,
            names::dns1035_label(resource),
        ),
    }
    if !group.is_empty() {
        joined(&at.field("group"), group, names::dns1123_subdomain(group));
    }
    if resource.is_empty() {
        errors.insert(
            0,
            Error::required(&at.field("resource"), "resource is required to be set"),
        );
    }
    if old.is_some_and(|old| !same(&old["spec"], spec)) {
        errors.push(Error::invalid(&path, some(migration, "spec"), IMMUTABLE));
    }
}

/// Roles that gather others have selectors to find them by.
pub(super) fn aggregation(errors: &mut Errors, role: &Value) {
    let Some(rule) = some(role, "aggregationRule") else {
        return;
    };
    let root = Path::root("aggregationRule");
    let (selectors, path) = (
        list(rule, "clusterRoleSelectors"),
        root.field("clusterRoleSelectors"),
    );
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(Error::required(&path, detail));
    }
    for (i, selector) in selectors.iter().enumerate() {
        label_selector(errors, &path.index(i), selector);
    }
}

pub(super) fn controller_revision(errors: &mut Errors, revision: &Value, old: Option<&Value>) {
    let (data, path) = (some(revision, "data"), Path::root("data"));
    if int(revision, "revision") < 0 {
        let shown = int(revision, "revision");
        let detail = super::checks::NOT_NEGATIVE;
        errors.push(Error::invalid(&Path::root("revision"), shown, detail));
    }
    match old {
        Some(old) if some(old, "data") != data => {
            errors.push(Error::invalid(&path, data, IMMUTABLE));
        }
        Some(_) => {}
        None if data.is_none() => errors.push(Error::required(&path, "data is mandatory")),
        None if !data.is_some_and(Value::is_object) => {
            errors.push(Error::required(&path, "data must be a valid JSON object"));
        }
        None => {}
    }
}
