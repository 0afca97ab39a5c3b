//! Security contexts, and what of the host a Pod shares.

use super::super::checks::{Errors, int, list, one_of_if_set, some, text};
use super::super::volume_source::descending_path;
use super::container::visit;
use crate::field::{Error, Path};
use crate::internal;
use serde_json::Value;
use std::collections::HashSet;

const ID_TEXT: &str = "must be between 0 and 2147483647, inclusive";
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// Ids of users and groups have 31 bits.
pub(super) fn id(errors: &mut Errors, path: &Path<'_>, value: Option<i64>) {
    if let Some(value) = value
        && !(0..=i64::from(i32::MAX)).contains(&value)
    {
        errors.push(Error::invalid(path, value, ID_TEXT));
    }
}

fn seccomp(errors: &mut Errors, path: &Path<'_>, context: &Value) {
    let Some(profile) = some(context, "seccompProfile") else {
        return;
    };
    let path = path.field("seccompProfile");
    let kind = text(profile, "type");
    match kind {
        "" => {
            let detail = "type is required when seccompProfile is set";
            errors.push(Error::required(&path.field("type"), detail));
        }
        kind if !PROFILES.contains(&kind) => {
            errors.push(Error::not_supported(&path.field("type"), kind, &PROFILES));
        }
        _ => {}
    }
    let at = path.field("localhostProfile");
    let local = some(profile, "localhostProfile").and_then(Value::as_str);
    match (kind, local) {
        ("Localhost", None) => {
            errors.push(Error::required(
                &at,
                "must be set when seccomp type is Localhost",
            ));
        }
        ("Localhost", Some(local)) => descending_path(errors, &at, local),
        (_, Some(_)) => {
            let shown = internal::show("core.SeccompProfile", Some(profile));
            errors.push(Error::invalid(
                &at,
                shown,
                "can only be set when seccomp type is Localhost",
            ));
        }
        (_, None) => {}
    }
}

fn app_armor(errors: &mut Errors, path: &Path<'_>, context: &Value) {
    const PATH_MAX: usize = 4095;
    let Some(profile) = some(context, "appArmorProfile") else {
        return;
    };
    let path = path.field("appArmorProfile");
    let at = path.field("localhostProfile");
    let local = some(profile, "localhostProfile").and_then(Value::as_str);
    let missing = "must be set when AppArmor type is Localhost";
    match (text(profile, "type"), local) {
        ("Localhost", None) => errors.push(Error::required(&at, missing)),
        ("Localhost", Some(local)) => {
            if local.trim() != local {
                errors.push(Error::invalid(
                    &at,
                    local,
                    "must not be padded with whitespace",
                ));
            } else if local.is_empty() {
                errors.push(Error::required(&at, missing));
            }
            if local.len() > PATH_MAX {
                errors.push(Error::too_long(&at, PATH_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            errors.push(Error::invalid(
                &at,
                local,
                "can only be set when AppArmor type is Localhost",
            ));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            let detail = "type is required when appArmorProfile is set";
            errors.push(Error::required(&path.field("type"), detail));
        }
        (other, _) => errors.push(Error::not_supported(&path.field("type"), other, &PROFILES)),
    }
}

/// A Pod in the host's network has the ports that it asks of the host. Only Pods need to say so; templates are filled
/// in later.
pub(super) fn host_ports(errors: &mut Errors, path: &Path<'_>, spec: &Value, is_pod: bool) {
    if spec["hostNetwork"] != true {
        return;
    }
    let containers = path.field("containers");
    for (i, container) in list(spec, "containers").iter().enumerate() {
        let at = containers.index(i);
        let ports = at.field("ports");
        for (j, port) in list(container, "ports").iter().enumerate() {
            let (host, own) = (int(port, "hostPort"), int(port, "containerPort"));
            if (is_pod || host != 0) && host != own {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(
                    &ports.index(j).field("hostPort"),
                    host,
                    detail,
                ));
            }
        }
    }
}

/// `securityContext` of a Pod.
pub(super) fn pod(errors: &mut Errors, spec_path: &Path<'_>, spec: &Value) {
    let path = spec_path.field("securityContext");
    let context = &spec["securityContext"];
    for member in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(
            errors,
            &path.field(member),
            some(context, member).and_then(Value::as_i64),
        );
    }
    let groups = path.field("supplementalGroups");
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        id(errors, &groups.index(i), group.as_i64());
    }
    sysctls(errors, &path.field("sysctls"), spec);
    one_of_if_set(
        errors,
        &path,
        context,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
    );
    seccomp(errors, &path, context);
    super::windows::options(errors, &path, context);
    app_armor(errors, &path, context);
    one_of_if_set(
        errors,
        &path,
        context,
        "supplementalGroupsPolicy",
        &["Merge", "Strict"],
    );
    one_of_if_set(
        errors,
        &path,
        context,
        "seLinuxChangePolicy",
        &["MountOption", "Recursive"],
    );
    if spec["hostPID"] == true && spec["shareProcessNamespace"] == true {
        errors.push(Error::invalid(
            &spec_path.field("shareProcessNamespace"),
            Value::from(true),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
}

/// `[a-z0-9]([-_a-z0-9]*[a-z0-9])?` with dots or slashes between.
fn is_sysctl_name(name: &str) -> bool {
    const MAX: usize = 253;
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|b| edge(*b))
            && bytes.last().is_some_and(|b| edge(*b))
            && bytes.iter().all(|b| edge(*b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= MAX && name.split(['.', '/']).all(part)
}

fn sysctls(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const TEXT: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    const IPC: [&str; 10] = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    let mut seen = HashSet::new();
    for (i, sysctl) in list(&spec["securityContext"], "sysctls").iter().enumerate() {
        let at = path.index(i);
        let (at, name) = (at.field("name"), text(sysctl, "name"));
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !is_sysctl_name(name) {
            errors.push(Error::invalid(&at, name, TEXT));
        } else if seen.contains(name) {
            errors.push(Error::duplicate(&at, name));
        }
        // Slashes and dots are the same, whichever comes first being the one that parts.
        let slashes = name
            .find(['.', '/'])
            .is_some_and(|i| name[i..].starts_with('/'));
        let dotted = if slashes {
            name.replace('/', ".")
        } else {
            name.to_owned()
        };
        let net = dotted.starts_with("net.");
        let ipc = IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.");
        if spec["hostNetwork"] == true && net {
            errors.push(Error::invalid(
                &at,
                name,
                "may not be specified when 'hostNetwork' is true",
            ));
        } else if spec["hostIPC"] == true && ipc {
            errors.push(Error::invalid(
                &at,
                name,
                "may not be specified when 'hostIPC' is true",
            ));
        }
        seen.insert(name);
    }
}

/// A Pod with users of its own shares no other namespace of the host (KEP-127).
pub(super) fn host_users(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const DETAIL: &str = "when `hostUsers` is false";
    if spec["hostUsers"] != false {
        return;
    }
    for (member, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec[member] == true {
            errors.push(Error::forbidden(&path.field(shown), DETAIL));
        }
    }
    visit(path, spec, |path, container| {
        if !list(container, "volumeDevices").is_empty() {
            errors.push(Error::forbidden(&path.field("volumeDevices"), DETAIL));
        }
    });
}

/// `securityContext` of a container.
pub(super) fn container(errors: &mut Errors, path: &Path<'_>, context: &Value, host_users: bool) {
    for member in ["runAsUser", "runAsGroup"] {
        id(
            errors,
            &path.field(member),
            some(context, member).and_then(Value::as_i64),
        );
    }
    let at = path.field("procMount");
    match some(context, "procMount").and_then(Value::as_str) {
        None | Some("Default") => {}
        Some("Unmasked") => {
            if host_users {
                let detail = "`hostUsers` must be false to use `Unmasked`";
                errors.push(Error::invalid(&at, "Unmasked", detail));
            }
        }
        Some(other) => errors.push(Error::not_supported(&at, other, &["Default", "Unmasked"])),
    }
    seccomp(errors, path, context);
    if context["allowPrivilegeEscalation"] == false {
        let shown = || internal::show("core.SecurityContext", Some(context));
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, shown(), detail));
        }
        let added = list(&context["capabilities"], "add");
        if added.iter().any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, shown(), detail));
        }
    }
    super::windows::options(errors, path, context);
    app_armor(errors, path, context);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_have_parts_of_lower_case_letters() {
        for (name, right) in [
            ("kernel.shm_rmid_forced", true),
            ("net/ipv4/ip_local_port_range", true),
            ("net.ipv4.conf.IF", false),
            ("a..b", false),
            ("-a", false),
        ] {
            assert_eq!(is_sysctl_name(name), right, "{name}");
        }
    }
}
