//! Containers, init containers and ephemeral containers.

use super::super::checks::{Errors, int, invalid_each, list, one_of, port_number, some, text};
use super::mount;
use super::volume::Volumes;
use super::{env, probe, resources, restart, security};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

/// What of a Pod its containers refer to.
pub(super) struct Pod<'a> {
    pub(super) spec: &'a Value,
    pub(super) volumes: Volumes<'a>,
    pub(super) claims: Vec<&'a str>,
}

/// All containers of a Pod, in upstream's order.
pub(super) fn all(errors: &mut Errors, path: &Path<'_>, pod: &Pod<'_>) {
    containers(errors, &path.field("containers"), pod);
    init_containers(errors, &path.field("initContainers"), pod);
    ephemeral_containers(errors, &path.field("ephemeralContainers"), pod);
    resources::pod_level(errors, path, pod);
}

fn containers(errors: &mut Errors, path: &Path<'_>, pod: &Pod<'_>) {
    let all = list(pod.spec, "containers");
    if all.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = HashSet::new();
    for (i, container) in all.iter().enumerate() {
        let at = path.index(i);
        common(errors, &at, container, pod);
        let name = text(container, "name");
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        running(errors, &at, container, pod);
        restart::policy(errors, &at, container);
    }
    host_port_conflicts(errors, path, all);
}

/// Hooks and probes: only for containers that go on.
fn running(errors: &mut Errors, path: &Path<'_>, container: &Value, pod: &Pod<'_>) {
    if let Some(lifecycle) = some(container, "lifecycle") {
        probe::lifecycle(errors, &path.field("lifecycle"), lifecycle, pod.spec);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = some(container, kind) {
            probe::probe(errors, &path.field(kind), probe, kind);
        }
    }
}

fn common(errors: &mut Errors, path: &Path<'_>, container: &Value, pod: &Pod<'_>) {
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
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(
        errors,
        path,
        container,
        "terminationMessagePolicy",
        &policies,
    );
    ports(errors, &path.field("ports"), list(container, "ports"));
    env::env(errors, &path.field("env"), list(container, "env"));
    env::env_from(errors, &path.field("envFrom"), list(container, "envFrom"));
    mount::mounts(errors, path, container, &pod.volumes);
    mount::devices(errors, path, container, &pod.volumes);
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(errors, path, container, "imagePullPolicy", &policies);
    resources::container(
        errors,
        &path.field("resources"),
        &container["resources"],
        pod,
    );
    resize_policy(errors, &path.field("resizePolicy"), container, pod.spec);
    let context = &container["securityContext"];
    let host_users = pod.spec["hostUsers"] != false;
    security::container(errors, &path.field("securityContext"), context, host_users);
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

/// What a container does when its resources change (KEP-1287). Paths are those of the list.
fn resize_policy(errors: &mut Errors, path: &Path<'_>, container: &Value, spec: &Value) {
    const POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];
    let mut seen = HashSet::new();
    for (i, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (name, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.index(i), name));
        }
        super::super::checks::one_of_words(errors, path, name, &["cpu", "memory"]);
        super::super::checks::one_of_words(errors, path, restart, &POLICIES);
        if text(spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, restart, detail));
        }
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

fn init_containers(errors: &mut Errors, path: &Path<'_>, pod: &Pod<'_>) {
    let mut seen = container_names(pod.spec, "containers");
    for (i, container) in list(pod.spec, "initContainers").iter().enumerate() {
        let at = path.index(i);
        common(errors, &at, container, pod);
        restart::policy(errors, &at, container);
        let name = text(container, "name");
        if seen.contains(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        } else if !name.is_empty() {
            seen.insert(name);
        }
        host_port_conflicts(errors, path, std::slice::from_ref(container));
        if text(container, "restartPolicy") == "Always" {
            running(errors, &at, container, pod);
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
        let policies = at.field("resizePolicy");
        for (j, policy) in list(container, "resizePolicy").iter().enumerate() {
            if policy["restartPolicy"] == "RestartContainer" {
                let at = policies.index(j);
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(Error::invalid(
                    &at.field("restartPolicy"),
                    "RestartContainer",
                    detail,
                ));
            }
        }
    }
}

/// They can be added to a Pod that runs, and so have no ports, probes or resources (KEP-277).
fn ephemeral_containers(errors: &mut Errors, path: &Path<'_>, pod: &Pod<'_>) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    // In the order of the Go struct.
    const FORBIDDEN: [&str; 9] = [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let mut targets = container_names(pod.spec, "containers");
    targets.extend(container_names(pod.spec, "initContainers"));
    let mut seen = targets.clone();
    for (i, container) in list(pod.spec, "ephemeralContainers").iter().enumerate() {
        let at = path.index(i);
        common(errors, &at, container, pod);
        image_padding(errors, &at, container);
        let name = text(container, "name");
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !targets.contains(target) {
            errors.push(Error::not_found(&at.field("targetContainerName"), target));
        }
        for member in FORBIDDEN {
            if !super::super::checks::same(&container[member], &Value::Null) {
                errors.push(Error::forbidden(&at.field(member), DETAIL));
            }
        }
        let mounts = at.field("volumeMounts");
        for (j, mount) in list(container, "volumeMounts").iter().enumerate() {
            for member in ["subPath", "subPathExpr"] {
                if !text(mount, member).is_empty() {
                    let at = mounts.index(j);
                    errors.push(Error::forbidden(&at.field(member), DETAIL));
                }
            }
        }
    }
}

/// Blanks around the name of an image; templates may have them.
pub(super) fn image_padding(errors: &mut Errors, path: &Path<'_>, container: &Value) {
    let image = text(container, "image");
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(Error::invalid(&path.field("image"), image, detail));
    }
}

/// Each container of a Pod with its path, in upstream's order: init, regular, ephemeral.
pub(super) fn visit(path: &Path<'_>, spec: &Value, mut seen: impl FnMut(&Path<'_>, &Value)) {
    for member in ["initContainers", "containers", "ephemeralContainers"] {
        let all = path.field(member);
        for (i, container) in list(spec, member).iter().enumerate() {
            seen(&all.index(i), container);
        }
    }
}

/// `resourceClaims` of a Pod (KEP-4381).
pub(super) fn resource_claims(errors: &mut Errors, path: &Path<'_>, spec: &Value, mirror: bool) {
    let path = path.field("resourceClaims");
    let mut seen = HashSet::new();
    for (i, claim) in list(spec, "resourceClaims").iter().enumerate() {
        if mirror {
            let detail = "static pods do not support resource claims";
            errors.push(Error::forbidden(&Path::root(""), detail));
            continue;
        }
        let (at, name) = (path.index(i), text(claim, "name"));
        match name {
            "" => errors.push(Error::required(&at.field("name"), "")),
            name if !seen.insert(name) => errors.push(Error::duplicate(&at.field("name"), name)),
            name => invalid_each(errors, &at.field("name"), name, names::dns1123_label(name)),
        }
        let members = ["resourceClaimName", "resourceClaimTemplateName"];
        let detail = match members.iter().filter(|m| some(claim, m).is_some()).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
        };
        if !detail.is_empty() {
            let shown = internal::show("core.PodResourceClaim", Some(claim));
            errors.push(Error::invalid(&at, shown, detail));
        }
        for member in members {
            if let Some(name) = some(claim, member).and_then(Value::as_str) {
                invalid_each(
                    errors,
                    &at.field(member),
                    name,
                    names::dns1123_subdomain(name),
                );
            }
        }
    }
}
