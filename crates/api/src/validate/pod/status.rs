//! The status of a Pod, as kubelets and schedulers write it.

use super::super::address;
use super::super::checks::{Errors, int, invalid_each, list, some, text};
use super::annotations;
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

/// A changed status. The Pod's metadata is already checked.
pub(in super::super) fn status(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_status, status, path) = (&old["status"], &new["status"], Path::root("status"));
    annotations::update(errors, old, new);
    conditions(errors, &path.field("conditions"), status);
    nominated(errors, old, new);
    if int(status, "observedGeneration") < 0 {
        let shown = int(status, "observedGeneration");
        let at = path.field("observedGeneration");
        errors.push(Error::invalid(&at, shown, "must be a non-negative integer"));
    }
    if text(old_status, "qosClass") != text(status, "qosClass") {
        let at = path.field("qosClass");
        errors.push(Error::invalid(
            &at,
            text(status, "qosClass"),
            "field is immutable",
        ));
    }
    states(errors, old, new);
    claims(errors, &path.field("resourceClaimStatuses"), new);
    addresses(errors, old_status, status, "podIPs", "podIP");
    addresses(errors, old_status, status, "hostIPs", "hostIP");
}

fn conditions(errors: &mut Errors, path: &Path<'_>, status: &Value) {
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let (at, kind) = (path.index(i), text(condition, "type"));
        let seen = int(condition, "observedGeneration");
        if seen < 0 {
            let detail = "must be a non-negative integer";
            errors.push(Error::invalid(
                &at.field("observedGeneration"),
                seen,
                detail,
            ));
        }
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            invalid_each(errors, &at.field("Type"), kind, names::qualified_name(kind));
        }
    }
}

/// The Node that a Pod waits for room on.
fn nominated(errors: &mut Errors, old: &Value, new: &Value) {
    let path = Path::root("status");
    let name = text(&new["status"], "nominatedNodeName");
    if name.is_empty() || name == text(&old["status"], "nominatedNodeName") {
        return;
    }
    let at = path.field("nominatedNodeName");
    invalid_each(errors, &at, name, names::dns1123_subdomain(name));
    if !text(&old["spec"], "nodeName").is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(Error::forbidden(&at, detail));
    }
}

/// Whether a container that ended so may start again.
fn may_restart(container: &Value, spec: &Value, exit_code: i64) -> bool {
    for rule in list(container, "restartPolicyRules") {
        let codes = &rule["exitCodes"];
        let named = list(codes, "values").iter().any(|v| *v == exit_code);
        let applies = match text(codes, "operator") {
            "In" => named,
            "NotIn" => !named,
            _ => false,
        };
        if applies && text(rule, "action") == "Restart" {
            return true;
        }
    }
    let policy = match some(container, "restartPolicy").and_then(Value::as_str) {
        Some(policy) => policy,
        None => text(spec, "restartPolicy"),
    };
    policy == "Always" || policy == "OnFailure" && exit_code != 0
}

/// Whether a rule may make all containers start again (KEP-5532).
fn all_may_restart(spec: &Value) -> bool {
    ["containers", "initContainers"].iter().any(|member| {
        let rules = list(spec, member)
            .iter()
            .flat_map(|c| list(c, "restartPolicyRules"));
        rules
            .into_iter()
            .any(|rule| text(rule, "action") == "RestartAllContainers")
    })
}

/// What has ended for good does not run again.
fn states(errors: &mut Errors, old: &Value, new: &Value) {
    let (path, spec) = (Path::root("status"), &old["spec"]);
    for (member, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ] {
        if !containers.is_empty() && all_may_restart(spec) {
            continue;
        }
        let (at, after) = (path.field(member), list(&new["status"], member));
        for (i, before) in list(&old["status"], member).iter().enumerate() {
            let Some(ended) = some(&before["state"], "terminated") else {
                continue;
            };
            let runs = |s: &Value| {
                s["name"] == before["name"] && some(&s["state"], "terminated").is_none()
            };
            if !after.iter().any(runs) {
                continue;
            }
            let own = list(spec, containers)
                .iter()
                .find(|c| c["name"] == before["name"]);
            if !own.is_some_and(|c| may_restart(c, spec, int(ended, "exitCode"))) {
                let at = at.index(i);
                let detail = "may not be transitioned to non-terminated state";
                errors.push(Error::forbidden(&at.field("state"), detail));
            }
        }
    }
}

fn claims(errors: &mut Errors, path: &Path<'_>, pod: &Value) {
    let mut seen = HashSet::new();
    for (i, claim) in list(&pod["status"], "resourceClaimStatuses")
        .iter()
        .enumerate()
    {
        let (at, name) = (path.index(i), text(claim, "name"));
        if !list(&pod["spec"], "resourceClaims")
            .iter()
            .any(|c| c["name"] == name)
        {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&at.field("name"), name, detail));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        if let Some(claim) = some(claim, "resourceClaimName").and_then(Value::as_str) {
            let wrong = names::dns1123_subdomain(claim);
            invalid_each(errors, &at.field("resourceClaimName"), claim, wrong);
        }
    }
}

/// One address of each family at most, the first of them also alone.
fn addresses(errors: &mut Errors, old: &Value, new: &Value, member: &str, single: &str) {
    let root = Path::root("status");
    let path = root.field(member);
    let ips = |status| -> Vec<&str> {
        let all: &[Value] = list(status, member);
        all.iter().map(|a| text(a, "ip")).collect()
    };
    let (before, all, first) = (ips(old), ips(new), text(new, single));
    let differs = all.first().is_some_and(|ip| *ip != first);
    let unequal = |errors: &mut Errors| {
        let (at, detail) = (path.index(0), format!("must be equal to `{single}`"));
        errors.push(Error::invalid(&at.field("ip"), all[0], detail));
    };
    if member == "hostIPs" && differs {
        unequal(errors);
    }
    for (i, ip) in all.iter().enumerate() {
        address::ip(errors, &path.index(i), ip, before.contains(ip));
    }
    let shown = || {
        let ty = if member == "podIPs" {
            "[core.PodIP"
        } else {
            "[core.HostIP"
        };
        internal::show(ty, new.get(member))
    };
    let dual = matches!(all[..], [a, b] if address::is_ipv6(a) != address::is_ipv6(b));
    if all.len() > 1 && !dual {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&path, shown(), detail));
    }
    if member == "podIPs" {
        if first.is_empty() != all.is_empty() {
            let detail = "podIP and podIPs must either both be set or both be unset";
            errors.push(Error::invalid(&path, shown(), detail));
        } else if differs {
            unequal(errors);
        }
    }
}
