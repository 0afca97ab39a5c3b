//! Security contexts.

use super::super::checks::{Errors, int, list, one_of, some, text};
use crate::field::{Error, Path};
use serde_json::Value;

const ID_TEXT: &str = "must be between 0 and 2147483647, inclusive";

/// Ids of users and groups have 31 bits.
fn id(errors: &mut Errors, path: &Path<'_>, value: Option<i64>) {
    if let Some(value) = value
        && !(0..=i64::from(i32::MAX)).contains(&value)
    {
        errors.push(Error::invalid(path, value, ID_TEXT));
    }
}

fn profile(errors: &mut Errors, path: &Path<'_>, context: &Value, member: &str) {
    let Some(profile) = some(context, member) else {
        return;
    };
    let path = path.field(member);
    one_of(
        errors,
        &path,
        profile,
        "type",
        &["Localhost", "RuntimeDefault", "Unconfined"],
    );
    let local = text(profile, "localhostProfile");
    match (text(profile, "type"), local) {
        ("Localhost", "") => errors.push(Error::required(
            &path.field("localhostProfile"),
            "must be set when seccomp type is Localhost",
        )),
        ("Localhost", _) | (_, "") => {}
        (_, local) => errors.push(Error::invalid(
            &path.field("localhostProfile"),
            local,
            "can only be set when seccomp type is Localhost",
        )),
    }
}

/// `securityContext` of a Pod, and what of the host it shares.
pub(super) fn pod(errors: &mut Errors, spec_path: &Path<'_>, spec: &Value) {
    let path = spec_path.field("securityContext");
    let context = &spec["securityContext"];
    if spec["hostNetwork"] == true {
        let containers = spec_path.field("containers");
        for (i, container) in list(spec, "containers").iter().enumerate() {
            let at = containers.index(i);
            for port in list(container, "ports") {
                let (host, own) = (int(port, "hostPort"), int(port, "containerPort"));
                if host != 0 && host != own {
                    let detail = "must match `hostPort` when `hostNetwork` is true";
                    errors.push(Error::invalid(&at.field("containerPort"), own, detail));
                }
            }
        }
    }
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
    if spec["hostPID"] == true && spec["shareProcessNamespace"] == true {
        errors.push(Error::invalid(
            &path.field("shareProcessNamespace"),
            Value::from(true),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    profile(errors, &path, context, "seccompProfile");
}

/// `securityContext` of a container.
pub(super) fn container(errors: &mut Errors, path: &Path<'_>, context: &Value) {
    for member in ["runAsUser", "runAsGroup"] {
        id(
            errors,
            &path.field(member),
            some(context, member).and_then(Value::as_i64),
        );
    }
    profile(errors, path, context, "seccompProfile");
    let added = list(&context["capabilities"], "add");
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, context, detail));
        }
        if added.iter().any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, context, detail));
        }
    }
}
