//! Containers, init containers and ephemeral containers.

use super::super::checks::{Errors, int, invalid_each, list, one_of, port_number, some, text};
use super::volume::{Volumes, mounts};
use super::{env, probe, resources, security};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

/// All containers of a Pod, in upstream's order.
pub(super) fn all(errors: &mut Errors, path: &Path<'_>, spec: &Value, volumes: &Volumes<'_>) {
    let regular = list(spec, "containers");
    containers(errors, &path.field("containers"), regular, volumes);
    init_containers(errors, &path.field("initContainers"), spec, volumes);
    ephemeral_containers(errors, &path.field("ephemeralContainers"), spec, volumes);
    if let Some(own) = some(spec, "resources") {
        resources::requirements(errors, &path.field("resources"), own);
    }
}

fn containers(errors: &mut Errors, path: &Path<'_>, all: &[Value], volumes: &Volumes<'_>) {
    if all.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = HashSet::new();
    for (i, container) in all.iter().enumerate() {
        let at = path.index(i);
        common(errors, &at, container, volumes);
        let name = text(container, "name");
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        running(errors, &at, container);
    }
    host_port_conflicts(errors, path, all);
}

/// Hooks and probes: only for containers that go on.
fn running(errors: &mut Errors, path: &Path<'_>, container: &Value) {
    if let Some(lifecycle) = some(container, "lifecycle") {
        probe::lifecycle(errors, &path.field("lifecycle"), lifecycle);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = some(container, kind) {
            probe::probe(errors, &path.field(kind), probe, kind);
        }
    }
}

fn common(errors: &mut Errors, path: &Path<'_>, container: &Value, volumes: &Volumes<'_>) {
    let name = text(container, "name");
    match name {
        "" => errors.push(Error::required(&path.field("name"), "")),
        _ => invalid_each(
            errors,
            &path.field("name"),
            name,
            names::dns1123_label(name),
        ),
    }
    if text(container, "image").is_empty() {
        errors.push(Error::required(&path.field("image"), ""));
    }
    one_of(
        errors,
        path,
        container,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
    );
    ports(errors, &path.field("ports"), list(container, "ports"));
    env::env(errors, &path.field("env"), list(container, "env"));
    env::env_from(errors, &path.field("envFrom"), list(container, "envFrom"));
    mounts(errors, path, container, volumes);
    one_of(
        errors,
        path,
        container,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
    );
    resources::requirements(errors, &path.field("resources"), &container["resources"]);
    security::container(
        errors,
        &path.field("securityContext"),
        &container["securityContext"],
    );
}

fn ports(errors: &mut Errors, path: &Path<'_>, all: &[Value]) {
    let mut seen = HashSet::new();
    for (i, port) in all.iter().enumerate() {
        let at = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.push(Error::duplicate(&at.field("name"), name));
            }
            invalid_each(errors, &at.field("name"), name, wrong);
        }
        match int(port, "containerPort") {
            0 => errors.push(Error::required(&at.field("containerPort"), "")),
            number => port_number(errors, &at.field("containerPort"), number),
        }
        match int(port, "hostPort") {
            0 => {}
            number => port_number(errors, &at.field("hostPort"), number),
        }
        one_of(errors, &at, port, "protocol", &["SCTP", "TCP", "UDP"]);
    }
}

fn container_names<'a>(spec: &'a Value, member: &str) -> HashSet<&'a str> {
    let all = list(spec, member).iter();
    all.map(|c| text(c, "name")).collect()
}

/// A port of the host is had by one container only.
fn host_port_conflicts(errors: &mut Errors, path: &Path<'_>, all: &[Value]) {
    let mut taken = HashSet::new();
    for (i, container) in all.iter().enumerate() {
        let at = path.index(i);
        let ports_path = at.field("ports");
        for (j, port) in list(container, "ports").iter().enumerate() {
            let number = int(port, "hostPort");
            if number == 0 {
                continue;
            }
            let (protocol, address) = (text(port, "protocol"), text(port, "hostIP"));
            if !taken.insert((protocol, address, number)) {
                let key = format!("{protocol}/{address}/{number}");
                errors.push(Error::duplicate(
                    &ports_path.index(j).field("hostPort"),
                    key,
                ));
            }
        }
    }
}

fn init_containers(errors: &mut Errors, path: &Path<'_>, spec: &Value, volumes: &Volumes<'_>) {
    let mut seen = container_names(spec, "containers");
    for (i, container) in list(spec, "initContainers").iter().enumerate() {
        let at = path.index(i);
        common(errors, &at, container, volumes);
        let policy = text(container, "restartPolicy");
        if !matches!(policy, "" | "Always" | "Never" | "OnFailure") {
            let supported = ["Always", "Never", "OnFailure"];
            errors.push(Error::not_supported(
                &at.field("restartPolicy"),
                policy,
                &supported,
            ));
        }
        let name = text(container, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        if policy == "Always" {
            running(errors, &at, container);
            continue;
        }
        for member in [
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
        ] {
            if some(container, member).is_some() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(Error::forbidden(&at.field(member), detail));
            }
        }
    }
}

/// They can be added to a Pod that runs, and so have no ports, probes or resources (KEP-277).
fn ephemeral_containers(errors: &mut Errors, path: &Path<'_>, spec: &Value, volumes: &Volumes<'_>) {
    const FORBIDDEN: [&str; 8] = [
        "lifecycle",
        "livenessProbe",
        "ports",
        "readinessProbe",
        "resizePolicy",
        "resources",
        "restartPolicy",
        "startupProbe",
    ];
    let mut targets = container_names(spec, "containers");
    targets.extend(container_names(spec, "initContainers"));
    let mut seen = targets.clone();
    for (i, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let at = path.index(i);
        common(errors, &at, container, volumes);
        let name = text(container, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !targets.contains(target) {
            errors.push(Error::not_found(&at.field("targetContainerName"), target));
        }
        for member in FORBIDDEN {
            let empty = |v: &Value| {
                v.as_object().is_some_and(|m| m.is_empty())
                    || v.as_array().is_some_and(Vec::is_empty)
            };
            if some(container, member).is_some_and(|v| !empty(v)) {
                let detail = "cannot be set for an Ephemeral Container";
                errors.push(Error::forbidden(&at.field(member), detail));
            }
        }
    }
}
