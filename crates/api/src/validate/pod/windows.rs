//! Pods of one operating system: what Linux Pods may not have, what Windows Pods may not have, and how it is there.

use super::super::checks::{Errors, invalid_each, list, some};
use super::container::visit;
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

/// In the order in which they are looked at.
const NOT_IN_POD: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const NOT_IN_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// `os`, and what goes with it.
pub(super) fn operating_system(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let Some(os) = some(spec, "os") else {
        return;
    };
    let at = path.field("os");
    match super::text(os, "name") {
        "" => errors.push(Error::required(&at.field("name"), "")),
        "linux" => linux(errors, path, spec),
        "windows" => windows(errors, path, spec),
        other => errors.push(Error::not_supported(&at, other, &["linux", "windows"])),
    }
}

fn linux(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const DETAIL: &str = "windows options cannot be set for a linux pod";
    if some(&spec["securityContext"], "windowsOptions").is_some() {
        let at = path.field("securityContext");
        errors.push(Error::forbidden(&at.field("windowsOptions"), DETAIL));
    }
    visit(path, spec, |path, container| {
        if some(&container["securityContext"], "windowsOptions").is_some() {
            let at = path.field("securityContext");
            errors.push(Error::forbidden(&at.field("windowsOptions"), DETAIL));
        }
    });
}

fn windows(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const DETAIL: &str = "cannot be set for a windows pod";
    let mut forbid = |path: &Path<'_>, context: &Value, members: &[&str]| {
        for member in members {
            let set =
                some(context, member).is_some_and(|v| v.as_array().is_none_or(|a| !a.is_empty()));
            if set {
                errors.push(Error::forbidden(&path.field(member), DETAIL));
            }
        }
    };
    forbid(
        &path.field("securityContext"),
        &spec["securityContext"],
        &NOT_IN_POD,
    );
    forbid(path, spec, &["hostUsers"]);
    for member in ["hostPID", "hostIPC"] {
        if spec[member] == true {
            forbid(path, spec, &[member]);
        }
    }
    forbid(path, spec, &["shareProcessNamespace"]);
    visit(path, spec, |path, container| {
        let context = &container["securityContext"];
        forbid(&path.field("securityContext"), context, &NOT_IN_CONTAINER);
    });
}

/// `windowsOptions` of a security context.
pub(super) fn options(errors: &mut Errors, path: &Path<'_>, context: &Value) {
    const SPEC_MAX: usize = 64 * 1024;
    let Some(options) = some(context, "windowsOptions") else {
        return;
    };
    let path = path.field("windowsOptions");
    let found = |member: &str| some(options, member).and_then(Value::as_str);
    if let Some(name) = found("gmsaCredentialSpecName") {
        let wrong = names::dns1123_subdomain(name);
        invalid_each(errors, &path.field("gmsaCredentialSpecName"), name, wrong);
    }
    if let Some(spec) = found("gmsaCredentialSpec") {
        let at = path.field("gmsaCredentialSpec");
        if spec.is_empty() {
            let detail = "gmsaCredentialSpec cannot be an empty string";
            errors.push(Error::invalid(&at, spec, detail));
        } else if spec.len() > SPEC_MAX {
            errors.push(Error::invalid(
                &at,
                spec,
                "gmsaCredentialSpec size must be under 64 KiB",
            ));
        }
    }
    if let Some(user) = found("runAsUserName") {
        run_as(errors, &path.field("runAsUserName"), user);
    }
}

fn run_as(errors: &mut Errors, path: &Path<'_>, name: &str) {
    const DOMAIN_MAX: usize = 255;
    const USER_MAX: usize = 104;
    let mut say = |detail: &str| errors.push(Error::invalid(path, name, detail));
    if name.is_empty() {
        return say("runAsUserName cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return say("runAsUserName cannot contain control characters");
    }
    if name.matches('\\').count() > 1 {
        return say("runAsUserName cannot contain more than one backslash");
    }
    let (domain, user) = match name.split_once('\\') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    if domain.is_some_and(|d| d.len() > DOMAIN_MAX) {
        say("runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !is_domain(d)) {
        say("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        say("runAsUserName's User cannot be empty");
    } else if user.len() > USER_MAX {
        say("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        say("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        say("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
}

fn is_net_bios(domain: &str) -> bool {
    const MAX: usize = 15;
    let wrong = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=MAX).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(wrong)
}

fn is_domain(domain: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

/// Containers that run as the host's own processes: all or none (KEP-1981).
pub(super) fn host_process(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let flag =
        |context: &Value| some(&context["windowsOptions"], "hostProcess").and_then(Value::as_bool);
    let of_pod = flag(&spec["securityContext"]);
    let (mut all, mut hosts) = (0, 0);
    visit(path, spec, |path, container| {
        all += 1;
        let own = flag(&container["securityContext"]);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let context = path.field("securityContext");
            let options = context.field("windowsOptions");
            let detail =
                format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(Error::invalid(
                &options.field("hostProcess"),
                Value::from(own),
                detail,
            ));
        }
        hosts += usize::from(own.or(of_pod) == Some(true));
    });
    if hosts == 0 {
        return;
    }
    if hosts != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(path, "", detail));
    }
    if spec["hostNetwork"] != true {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(
            &path.field("hostNetwork"),
            Value::from(false),
            detail,
        ));
    }
}

/// Variables from files need a volume that the Pod's own containers write (KEP-3721).
pub(super) fn file_keys(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let volumes = list(spec, "volumes");
    visit(path, spec, |path, container| {
        let env = path.field("env");
        for (i, variable) in list(container, "env").iter().enumerate() {
            let Some(reference) = some(&variable["valueFrom"], "fileKeyRef") else {
                continue;
            };
            let (at, name) = (env.index(i), super::text(reference, "volumeName"));
            let (from, found) = (
                at.field("valueFrom"),
                volumes.iter().rfind(|v| v["name"] == name),
            );
            let reference = from.field("fileKeyRef");
            let at = reference.field("volumeName");
            match found {
                None => errors.push(Error::not_found(&at, name)),
                Some(volume) if some(volume, "emptyDir").is_none() => {
                    let detail = "referenced volume must be of type emptyDir";
                    errors.push(Error::invalid(&at, name, detail));
                }
                Some(_) => {}
            }
        }
    });
}
