//! APIServices: which group and version, and who answers for it.

use super::checks::{Errors, int, invalid_each, one_of_words, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

/// A new or changed APIService.
pub(super) fn api_service(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let wanted = format!("{version}.{group}");
    let name = text(&object["metadata"], "name");
    if !name.is_empty() && name != wanted && names::path_segment(name).is_empty() {
        let meta = Path::root("metadata");
        let why = format!(
            "must be `spec.version+\".\"+spec.group`: {}",
            crate::field::quote(&wanted)
        );
        errors.push(Error::invalid(&meta.field("name"), name, why));
    }
    let path = Path::root("spec");
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(&path.field("group"), why));
    }
    if !group.is_empty() {
        invalid_each(
            errors,
            &path.field("group"),
            group,
            names::dns1123_subdomain(group),
        );
    }
    invalid_each(
        errors,
        &path.field("version"),
        version,
        names::dns1035_label(version),
    );
    for (member, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = int(spec, member);
        if !(1..=max).contains(&priority) {
            let why = format!("must be positive and less than {max}");
            errors.push(Error::invalid(&path.field(member), priority, why));
        }
    }
    match some(spec, "service") {
        Some(service) => remote(errors, &path, spec, service),
        None => local(errors, &path, spec),
    }
}

fn local(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let bundle = bytes(text(spec, "caBundle"));
    if bundle > 0 {
        let why = "local APIServices may not have a caBundle";
        let shown = format!("{bundle} bytes");
        errors.push(Error::invalid(&path.field("caBundle"), shown, why));
    }
    if spec["insecureSkipTLSVerify"] == true {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        let at = path.field("insecureSkipTLSVerify");
        errors.push(Error::invalid(&at, Value::from(true), why));
    }
}

fn remote(errors: &mut Errors, path: &Path<'_>, spec: &Value, service: &Value) {
    let at = path.field("service");
    for member in ["namespace", "name"] {
        if text(service, member).is_empty() {
            errors.push(Error::required(&at.field(member), ""));
        }
    }
    let port = some(service, "port").and_then(Value::as_i64).unwrap_or(443);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(&at.field("port"), port, why));
    }
    if spec["insecureSkipTLSVerify"] == true && !text(spec, "caBundle").is_empty() {
        let why = "may not be true if caBundle is present";
        let at = path.field("insecureSkipTLSVerify");
        errors.push(Error::invalid(&at, Value::from(true), why));
    }
}

/// How many bytes a text in base 64 stands for.
fn bytes(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// The status of an APIService.
pub(super) fn status(errors: &mut Errors, object: &Value) {
    let status = Path::root("status");
    let path = status.field("conditions");
    let conditions = object["status"]["conditions"].as_array();
    for (i, condition) in conditions.into_iter().flatten().enumerate() {
        let at = path.index(i);
        let words = ["True", "False", "Unknown"];
        one_of_words(
            errors,
            &at.field("status"),
            text(condition, "status"),
            &words,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_api_services_are_told_with_upstreams_words() {
        let of = |name: &str, spec: Value| {
            let mut errors = Errors::new();
            api_service(
                &mut errors,
                &json!({"metadata": {"name": name}, "spec": spec}),
            );
            errors.iter().map(|e| e.to_string()).collect::<Vec<_>>()
        };
        let right = json!({"group": "g.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        assert!(of("v1.g.io", right.clone()).is_empty());
        assert_eq!(
            of("v1.x", right),
            [
                "metadata.name: Invalid value: \"v1.x\": must be `spec.version+\".\"+spec.group`: \"v1.g.io\""
            ]
        );
        let wrong = json!({"group": "", "version": "v2", "groupPriorityMinimum": 0, "versionPriority": 1001, "caBundle": "YWJj"});
        assert_eq!(
            of("v2.", wrong),
            [
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
                "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
            ]
        );
    }
}
