//! Checks of profiles: AppArmor, SELinux, seccomp.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Subject;
use super::checks::{bad, found};
use super::finding::{Finding, Words, containers, plural, quoted, setters};
use crate::field;

/// Profiles that confine.
fn confines(profile: &Value) -> bool {
    matches!(
        profile["type"].as_str(),
        Some("RuntimeDefault" | "Localhost")
    )
}

/// Whether the Pod, and which containers, set a profile that does not confine; and which these are.
fn unconfined<'a>(subject: &Subject<'a>, member: &str) -> (bool, Vec<&'a str>, Words<'a>) {
    let mut kinds = Words::new();
    let mut is_bad = |of: &'a Value| {
        let profile = &of["securityContext"][member];
        let wrong = profile.is_object() && !confines(profile);
        if wrong {
            kinds.insert(profile["type"].as_str().unwrap_or_default());
        }
        wrong
    };
    let pod = is_bad(subject.spec);
    let names = bad(subject, |c| is_bad(c));
    (pod, names, kinds)
}

pub(super) fn app_armor(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let (pod, names, kinds) = unconfined(subject, "appArmorProfile");
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let annotations: BTreeSet<String> = subject
        .annotations
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(PREFIX) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", field::quote(value)))
        .collect();
    let mut who = setters(pod, &names);
    if !annotations.is_empty() {
        let word = plural("annotation", "annotations", annotations.len());
        who = match who.is_empty() {
            true => word.to_owned(),
            false => format!("{who} and {word}"),
        };
    }
    let values: Vec<&str> = kinds
        .into_iter()
        .chain(annotations.iter().map(String::as_str))
        .collect();
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    found(!who.is_empty(), reason, || {
        format!(
            "{who} must not set AppArmor profile type to {}",
            quoted(&values)
        )
    })
}

pub(super) fn selinux(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    let allowed = |kind: &str| match kind {
        "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
        "container_engine_t" => minor >= 31,
        _ => false,
    };
    let (mut kinds, mut user, mut role) = (Words::new(), false, false);
    let mut is_bad = |of: &Value| {
        let options = &of["securityContext"]["seLinuxOptions"];
        let sets = |member: &str| {
            options[member]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        };
        user |= sets("user");
        role |= sets("role");
        sets("user") || sets("role") || !allowed(options["type"].as_str().unwrap_or_default())
    };
    let pod = is_bad(subject.spec);
    let names = bad(subject, |c| is_bad(c));
    let all = std::iter::once(subject.spec).chain(subject.containers());
    kinds.extend(
        all.filter_map(|of| of["securityContext"]["seLinuxOptions"]["type"].as_str())
            .filter(|kind| !allowed(kind)),
    );
    found(pod || !names.is_empty(), "seLinuxOptions", || {
        let mut data = Vec::new();
        if !kinds.is_empty() {
            data.push(format!(
                "{} {}",
                plural("type", "types", kinds.len()),
                quoted(kinds)
            ));
        }
        data.extend(user.then(|| "user may not be set".to_owned()));
        data.extend(role.then(|| "role may not be set".to_owned()));
        let who = setters(pod, &names);
        format!(
            "{who} set forbidden securityContext.seLinuxOptions: {}",
            data.join("; ")
        )
    })
}

pub(super) fn seccomp_baseline(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    match minor >= 19 {
        true => seccomp_set(subject),
        false => seccomp_annotations(subject),
    }
}

fn seccomp_set(subject: &Subject<'_>) -> Option<Finding> {
    let (pod, names, kinds) = unconfined(subject, "seccompProfile");
    found(pod || !names.is_empty(), "seccompProfile", || {
        let (who, what) = (setters(pod, &names), quoted(kinds));
        format!("{who} must not set securityContext.seccompProfile.type to {what}")
    })
}

/// Before there were fields.
fn seccomp_annotations(subject: &Subject<'_>) -> Option<Finding> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let keys = subject.containers().map(|container| {
        let name = container["name"].as_str().unwrap_or_default();
        format!("container.seccomp.security.alpha.kubernetes.io/{name}")
    });
    let allowed =
        |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let forbidden: BTreeSet<String> = std::iter::once(POD.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = subject.annotations.get(&key)?.as_str()?;
            (!allowed(value)).then(|| format!("{key}={}", field::quote(value)))
        })
        .collect();
    found(!forbidden.is_empty(), "seccompProfile", || {
        let list: Vec<&str> = forbidden.iter().map(String::as_str).collect();
        let word = plural("annotation", "annotations", list.len());
        format!("forbidden {word} {}", list.join(", "))
    })
}

pub(super) fn seccomp_restricted(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && subject.is_windows() {
        return None;
    }
    if let Some(finding) = seccomp_set(subject) {
        return Some(finding);
    }
    let confined = confines(&subject.spec["securityContext"]["seccompProfile"]);
    let silent = bad(subject, |container| {
        !confined && !container["securityContext"]["seccompProfile"].is_object()
    });
    found(!silent.is_empty(), "seccompProfile", || {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&silent)
        )
    })
}
