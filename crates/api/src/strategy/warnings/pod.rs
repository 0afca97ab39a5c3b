//! Pods and templates of Pods that are right but unwise.

use super::fraction;
use crate::field::{Path, quote};
use serde_json::Value;
use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

/// Labels of Nodes that have newer names, with the version since which they are old.
const OLD_LABELS: [(&str, &str, &str); 6] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "v1.17",
        "topology.kubernetes.io/region",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "v1.17",
        "topology.kubernetes.io/zone",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "v1.17",
        "node.kubernetes.io/instance-type",
    ),
    ("beta.kubernetes.io/fluentd-ds-ready", "v1.17", ""),
];
const CRITICAL: &str = "scheduler.alpha.kubernetes.io/critical-pod";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";

fn list<'a>(node: &'a Value, member: &str) -> &'a [Value] {
    node.get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(node: &'a Value, member: &str) -> &'a str {
    node.get(member).and_then(Value::as_str).unwrap_or("")
}

/// A Pod.
pub(super) fn pod(pod: &Value) -> Vec<String> {
    spec(
        &Path::root("metadata"),
        &pod["metadata"],
        &Path::root("spec"),
        &pod["spec"],
    )
}

/// A template at a path.
pub(super) fn template(path: &Path<'_>, template: &Value) -> Vec<String> {
    spec(
        &path.field("metadata"),
        &template["metadata"],
        &path.field("spec"),
        &template["spec"],
    )
}

fn spec(meta_path: &Path<'_>, meta: &Value, path: &Path<'_>, spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let selector = path.field("nodeSelector");
    for (label, since, now) in OLD_LABELS {
        if spec["nodeSelector"].get(label).is_some() {
            let instead = if now.is_empty() {
                String::new()
            } else {
                format!("; use {} instead", quote(now))
            };
            warnings.push(format!(
                "{}: deprecated since {since}{instead}",
                selector.key(label)
            ));
        }
    }
    spread(&mut warnings, path, spec);
    let annotations = meta_path.field("annotations");
    let annotated = |name: &str| meta["annotations"].get(name).is_some();
    if annotated(CRITICAL) {
        let detail = "non-functional in v1.16+; use the \"priorityClassName\" field instead";
        warnings.push(format!("{}: {detail}", annotations.key(CRITICAL)));
    }
    let aliases_path = path.field("hostAliases");
    let mut seen = HashSet::new();
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let ip = text(alias, "ip");
        if !seen.insert(ip) {
            warnings.push(format!(
                "{}: duplicate ip {}",
                aliases_path.index(i).field("ip"),
                quote(ip)
            ));
        }
    }
    volumes(&mut warnings, path, spec);
    pull_secrets(&mut warnings, path, spec);
    if annotated(SECCOMP) {
        let detail = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        warnings.push(format!("{}: {detail}", annotations.key(SECCOMP)));
    }
    for member in ["initContainers", "containers"] {
        let list_path = path.field(member);
        for (i, container) in list(spec, member).iter().enumerate() {
            self::container(&mut warnings, &list_path.index(i), container);
        }
    }
    warnings
}

fn spread(warnings: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    let path = path.field("topologySpreadConstraints");
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let at = path.index(i);
        let key = text(constraint, "topologyKey");
        if let Some((_, since, now)) = OLD_LABELS.iter().find(|(old, ..)| *old == key) {
            let at = at.field("topologyKey");
            warnings.push(format!(
                "{at}: {key} is deprecated since {since}; use {} instead",
                quote(now)
            ));
        }
        if constraint["labelSelector"].is_null() {
            let detail = "a null labelSelector results in matching no pod";
            warnings.push(format!("{}: {detail}", at.field("labelSelector")));
        }
    }
}

fn volumes(warnings: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    let path = path.field("volumes");
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        if volume["gitRepo"].is_object() {
            let at = path.index(i);
            warnings.push(format!(
                "{}: deprecated in v1.11, and disabled by default in v1.33+",
                at.field("gitRepo")
            ));
        }
        let projected = &volume["projected"];
        let empty = |s: &Value| s.as_object().is_none_or(|m| m.values().all(Value::is_null));
        if projected.is_object() && list(projected, "sources").iter().all(empty) {
            let name = quote(text(volume, "name"));
            warnings.push(format!("volume {name} (Projected) has no sources provided"));
        }
    }
}

fn pull_secrets(warnings: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    let path = path.field("imagePullSecrets");
    let mut seen = HashSet::new();
    for (i, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        let (at, name) = (path.index(i), text(secret, "name"));
        if name.is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", at.field("name")));
        } else if !seen.insert(name) {
            warnings.push(format!(
                "{}: duplicate name {}",
                at.field("name"),
                quote(name)
            ));
        }
    }
}

fn container(warnings: &mut Vec<String>, path: &Path<'_>, container: &Value) {
    let resources_path = path.field("resources");
    for name in ["memory", "ephemeral-storage"] {
        for member in ["limits", "requests"] {
            let list = &container["resources"][member];
            warnings.extend(fraction(&resources_path.field(member), list, name));
        }
    }
    let env_path = path.field("env");
    let mut seen = HashSet::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        if !seen.insert(name) {
            let detail = "which may be dropped when using apply";
            warnings.push(format!(
                "{}: hides previous definition of {}, {detail}",
                env_path.index(i),
                quote(name)
            ));
        }
    }
    let ports_path = path.field("ports");
    let mut first: HashMap<_, usize> = HashMap::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let numbers = ["containerPort", "hostPort"].map(|m| port[m].as_i64().unwrap_or(0));
        let words = ["protocol", "hostIP"].map(|m| text(port, m));
        match first.entry((numbers, words)) {
            Entry::Vacant(entry) => {
                entry.insert(i);
            }
            Entry::Occupied(entry) => {
                let (this, other) = (ports_path.index(i), ports_path.index(*entry.get()));
                warnings.push(format!("{this}: duplicate port definition with {other}"));
            }
        }
    }
}
