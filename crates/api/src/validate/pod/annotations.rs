//! Annotations of Pods that mean something: profiles from before their fields, the cost of deletion, mirror Pods.

use super::super::checks::{Errors, map, some, text};
use super::super::volume_source::descending_path;
use super::MIRROR;
use super::container::visit;
use crate::field::{Error, Path, quote};
use serde_json::Value;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The annotations of a Pod or of a template of one.
pub(super) fn check(errors: &mut Errors, path: &Path<'_>, meta: &Value, spec: &Value) {
    let annotations = &meta["annotations"];
    if let Some(value) = annotations.get(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(MIRROR), value, detail));
    }
    if let Some(cost) = annotations.get(DELETION_COST).and_then(Value::as_str)
        && !is_cost(cost)
    {
        errors.push(Error::invalid(
            &path.key(DELETION_COST),
            cost,
            "must be a 32bit integer",
        ));
    }
    if let Some(profile) = annotations.get(SECCOMP_POD).and_then(Value::as_str) {
        seccomp(errors, &path.field(SECCOMP_POD), profile);
    }
    for (key, value) in map(meta, "annotations") {
        let value = value.as_str().unwrap_or("");
        if key.starts_with(SECCOMP_CONTAINER) {
            seccomp(errors, &path.field(key), value);
        }
    }
    for (key, value) in map(meta, "annotations") {
        if let Some(name) = key.strip_prefix(APP_ARMOR) {
            app_armor(
                errors,
                &path.key(key),
                name,
                value.as_str().unwrap_or(""),
                spec,
            );
        }
    }
}

fn is_cost(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = text == "0"
        || digits.starts_with(|c: char| ('1'..='9').contains(&c))
        || text.starts_with('-');
    plain && text.parse::<i32>().is_ok()
}

fn seccomp(errors: &mut Errors, path: &Path<'_>, profile: &str) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(local) => descending_path(errors, path, local),
        None => errors.push(Error::invalid(
            path,
            profile,
            "must be a valid seccomp profile",
        )),
    }
}

fn app_armor(errors: &mut Errors, path: &Path<'_>, name: &str, profile: &str, spec: &Value) {
    let mut found = false;
    visit(&Path::root("spec"), spec, |_, container| {
        found |= container["name"] == name
    });
    if !found {
        errors.push(Error::invalid(path, name, "container not found"));
    }
    let right = matches!(profile, "" | "runtime/default" | "unconfined")
        || profile.starts_with("localhost/");
    if !right {
        let detail = format!("invalid AppArmor profile name: {}", quote(profile));
        errors.push(Error::invalid(path, profile, detail));
    }
}

/// A profile of an annotation and the one of the field are the same.
fn matches(
    errors: &mut Errors,
    path: &Path<'_>,
    what: [&str; 2],
    annotation: &str,
    profile: &Value,
) {
    let [kind, noun] = what;
    let same = |value: &str| annotation == value;
    let right = match text(profile, "type") {
        "Unconfined" => same("unconfined"),
        "RuntimeDefault" => same("runtime/default") || kind == "seccomp" && same("docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(local) => {
                if text(profile, "localhostProfile") != local {
                    let detail = format!("{kind} {noun} in annotation and field must match");
                    errors.push(Error::forbidden(&path.field("localhostProfile"), detail));
                }
                true
            }
            None => false,
        },
        _ => true,
    };
    if !right {
        let detail = format!("{kind} type in annotation and field must match");
        errors.push(Error::forbidden(&path.field("type"), detail));
    }
}

/// What old annotations and new fields say of a new Pod.
pub(super) fn match_fields(errors: &mut Errors, pod: &Value) {
    let (spec, annotations, path) = (
        &pod["spec"],
        &pod["metadata"]["annotations"],
        Path::root("spec"),
    );
    let context = &spec["securityContext"];
    let context_path = path.field("securityContext");
    let found = annotations.get(SECCOMP_POD).and_then(Value::as_str);
    if let (Some(annotation), Some(profile)) = (found, some(context, "seccompProfile")) {
        let at = context_path.field("seccompProfile");
        matches(errors, &at, ["seccomp", "profile"], annotation, profile);
    }
    let of_container = |prefix: &str, container: &Value| {
        let key = format!("{prefix}{}", text(container, "name"));
        annotations.get(&key).and_then(Value::as_str)
    };
    visit(&path, spec, |path, container| {
        let own = some(&container["securityContext"], "seccompProfile");
        if let (Some(profile), Some(annotation)) = (own, of_container(SECCOMP_CONTAINER, container))
        {
            let at = path.field("securityContext");
            matches(
                errors,
                &at.field("seccompProfile"),
                ["seccomp", "profile"],
                annotation,
                profile,
            );
        }
    });
    if spec["os"]["name"] == "windows" {
        return;
    }
    let of_pod = some(context, "appArmorProfile");
    visit(&path, spec, |path, container| {
        let own = some(&container["securityContext"], "appArmorProfile").or(of_pod);
        if let (Some(profile), Some(annotation)) = (own, of_container(APP_ARMOR, container)) {
            let at = path.field("securityContext");
            matches(
                errors,
                &at.field("appArmorProfile"),
                ["apparmor", "profile"],
                annotation,
                profile,
            );
        }
    });
}

/// Annotations that no update changes.
pub(super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    let meta = Path::root("metadata");
    let path = meta.field("annotations");
    let (before, after) = (&old["metadata"], &new["metadata"]);
    let mut forbid = |key: &str, verb: &str| {
        let what = if key.starts_with(APP_ARMOR) {
            "AppArmor annotations"
        } else if key == MIRROR {
            "mirror pod annotation"
        } else {
            return;
        };
        errors.push(Error::forbidden(
            &path.key(key),
            format!("may not {verb} {what}"),
        ));
    };
    for (key, value) in map(before, "annotations") {
        if after["annotations"].get(key) != Some(value) {
            forbid(key, "remove or update");
        }
    }
    for (key, _) in map(after, "annotations") {
        if before["annotations"].get(key).is_none() {
            forbid(key, "add");
        }
    }
    check(errors, &path, after, &new["spec"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_plain_numbers_of_32_bits() {
        for (text, right) in [
            ("0", true),
            ("-5", true),
            ("+5", false),
            ("05", false),
            ("2147483648", false),
        ] {
            assert_eq!(is_cost(text), right, "{text}");
        }
    }
}
