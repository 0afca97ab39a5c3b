//! Budgets, quotas, limits, network policies and roles.

use super::checks::{
    Errors, at_most_all, count_or_percent, label_selector, list, map, port_number,
    port_number_or_name, some, text,
};
use super::{address, pod};
use crate::field::{Bad, Error, Path};
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn disruption_budget(errors: &mut Errors, budget: &Value) {
    let (spec, path) = (&budget["spec"], Path::root("spec"));
    let (min, max) = (some(spec, "minAvailable"), some(spec, "maxUnavailable"));
    if let (Some(min), Some(max)) = (min, max) {
        let selector = some(spec, "selector").map_or_else(|| "null".to_owned(), Value::to_string);
        let shown = format!(
            r#"{{"MinAvailable":{min},"Selector":{selector},"MaxUnavailable":{max},"UnhealthyPodEvictionPolicy":{}}}"#,
            some(spec, "unhealthyPodEvictionPolicy").unwrap_or(&Value::Null)
        );
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(Error::invalid(&path, Bad::Text(shown), detail));
    }
    for (member, value) in [("minAvailable", min), ("maxUnavailable", max)] {
        if let Some(value) = value {
            let at = path.field(member);
            count_or_percent(errors, &at, value);
            at_most_all(errors, &at, value);
        }
    }
    if let Some(selector) = some(spec, "selector") {
        label_selector(errors, &path.field("selector"), selector);
    }
    let policy = text(spec, "unhealthyPodEvictionPolicy");
    if !matches!(policy, "" | "AlwaysAllow" | "IfHealthyBudget") {
        let supported = ["AlwaysAllow", "IfHealthyBudget"];
        errors.push(Error::not_supported(
            &path.field("unhealthyPodEvictionPolicy"),
            policy,
            &supported,
        ));
    }
}

const QUOTA_NAMES: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether an amount is a count of objects.
fn is_count(name: &str) -> bool {
    QUOTA_NAMES[10..].contains(&name) || name.starts_with("count/")
}

pub(super) fn resource_quota(errors: &mut Errors, quota: &Value) {
    let (spec, path) = (&quota["spec"], Path::root("spec"));
    let hard = path.field("hard");
    for (name, value) in map(spec, "hard") {
        let at = hard.key(name);
        if pod::resource_name(errors, &at, name) {
            let known = QUOTA_NAMES.contains(&name.as_str())
                || name.starts_with("hugepages-")
                || name.starts_with("requests.hugepages-");
            if !name.contains('/') && !known {
                errors.push(Error::invalid(
                    &at,
                    name.as_str(),
                    "must be a standard resource for quota",
                ));
            }
        }
        pod::amount(errors, &at, value, is_count(name));
    }
    scopes(errors, spec);
}

fn scopes(errors: &mut Errors, spec: &Value) {
    const KNOWN: [&str; 7] = [
        "BestEffort",
        "CrossNamespacePodAffinity",
        "NotBestEffort",
        "NotTerminating",
        "PriorityClass",
        "Terminating",
        "VolumeAttributesClass",
    ];
    const COMPUTE: [&str; 4] = ["pods", "cpu", "memory", "ephemeral-storage"];
    let parent = Path::root("spec");
    let path = parent.field("scopes");
    let all = list(spec, "scopes");
    let shown = || some(spec, "scopes");
    // Each thing is told once, however many scopes are wrong: the text shows them all.
    if all.iter().any(|scope| !KNOWN.iter().any(|k| scope == k)) {
        errors.push(Error::invalid(&path, shown(), "unsupported scope"));
    }
    let fits = |scope: &str, name: &str| match scope {
        "BestEffort" => name == "pods",
        _ => {
            COMPUTE.contains(&name) || name.starts_with("requests.") || name.starts_with("limits.")
        }
    };
    let known = KNOWN
        .into_iter()
        .filter(|k| all.iter().any(|scope| scope == k));
    for scope in known {
        if map(spec, "hard").any(|(name, _)| !fits(scope, name)) {
            let detail = "unsupported scope applied to resource";
            errors.push(Error::invalid(&path, shown(), detail));
        }
    }
    let has = |name: &str| all.iter().any(|s| s == name);
    for (one, other) in [
        ("BestEffort", "NotBestEffort"),
        ("Terminating", "NotTerminating"),
    ] {
        if has(one) && has(other) {
            errors.push(Error::invalid(&path, shown(), "conflicting scopes"));
        }
    }
}

pub(super) fn limit_range(errors: &mut Errors, range: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("limits");
    let mut seen = HashSet::new();
    for (i, item) in list(&range["spec"], "limits").iter().enumerate() {
        let at = path.index(i);
        let kind = text(item, "type");
        let wrong = names::qualified_name(kind);
        super::checks::invalid_each(errors, &at.field("type"), kind, wrong);
        if !seen.insert(kind) {
            errors.push(Error::duplicate(&at.field("type"), kind));
        }
        limit_item(errors, &at, item, kind);
    }
}

fn limit_item(errors: &mut Errors, path: &Path<'_>, item: &Value, kind: &str) {
    for member in [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ] {
        let at = path.field(member);
        if kind == "Pod" && member.starts_with("default") && some(item, member).is_some() {
            errors.push(Error::forbidden(
                &at,
                "may not be specified when `type` is 'Pod'",
            ));
            continue;
        }
        for (name, _) in map(item, member) {
            let at = at.key(name);
            if pod::resource_name(errors, &at, name)
                && matches!(kind, "Container" | "Pod")
                && !name.contains('/')
                && !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            {
                errors.push(Error::invalid(
                    &at,
                    name.as_str(),
                    "must be a standard resource for containers",
                ));
            }
        }
    }
    let storage = |member: &str| item[member].get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.field("limits"), detail));
    }
    for (low, high) in [
        ("min", "max"),
        ("min", "defaultRequest"),
        ("defaultRequest", "max"),
        ("min", "default"),
        ("defaultRequest", "default"),
        ("default", "max"),
    ] {
        limit_order(errors, path, item, low, high);
    }
}

/// No amount of one list is above that of another.
fn limit_order(errors: &mut Errors, path: &Path<'_>, item: &Value, low: &str, high: &str) {
    let word = |member: &str| match member {
        "defaultRequest" => "default request".to_owned(),
        other => other.to_owned(),
    };
    for (name, value) in map(item, low) {
        let Some(limit) = item[high].get(name) else {
            continue;
        };
        let amounts = (Quantity::from_json(value), Quantity::from_json(limit));
        if !matches!(&amounts, (Ok(amount), Ok(limit)) if amount > limit) {
            continue;
        }
        // A minimum is told of at the default that is below it; upstream shows the default in one case only.
        let (member, shown) = match (low, high) {
            ("min", "defaultRequest") => (high, limit),
            ("min", "default") => (high, value),
            _ => (low, value),
        };
        let (amount, limit) = (text(&item[low], name), text(&item[high], name));
        let (low, high) = (word(low), word(high));
        let detail = format!("{low} value {amount} is greater than {high} value {limit}");
        let list_path = path.field(member);
        errors.push(Error::invalid(&list_path.key(name), shown, detail));
    }
}

pub(super) fn network_policy(errors: &mut Errors, policy: &Value) {
    let (spec, path) = (&policy["spec"], Path::root("spec"));
    label_selector(errors, &path.field("podSelector"), &spec["podSelector"]);
    for (member, peers) in [("ingress", "from"), ("egress", "to")] {
        let rules = path.field(member);
        for (i, rule) in list(spec, member).iter().enumerate() {
            let at = rules.index(i);
            let ports = at.field("ports");
            for (j, port) in list(rule, "ports").iter().enumerate() {
                policy_port(errors, &ports.index(j), port);
            }
            let peers_path = at.field(peers);
            for (j, peer) in list(rule, peers).iter().enumerate() {
                policy_peer(errors, &peers_path.index(j), peer);
            }
        }
    }
    let types = path.field("policyTypes");
    for (i, kind) in list(spec, "policyTypes").iter().enumerate() {
        if kind != "Ingress" && kind != "Egress" {
            errors.push(Error::not_supported(
                &types.index(i),
                kind,
                &["Ingress", "Egress"],
            ));
        }
    }
}

fn policy_port(errors: &mut Errors, path: &Path<'_>, port: &Value) {
    let protocol = text(port, "protocol");
    if !matches!(protocol, "" | "TCP" | "UDP" | "SCTP") {
        errors.push(Error::not_supported(
            &path.field("protocol"),
            protocol,
            &["TCP", "UDP", "SCTP"],
        ));
    }
    let number = some(port, "port");
    if let Some(number) = number {
        port_number_or_name(errors, &path.field("port"), number);
    }
    let Some(end) = some(port, "endPort").and_then(Value::as_i64) else {
        return;
    };
    let at = path.field("endPort");
    match number {
        None => errors.push(Error::invalid(
            &at,
            end,
            "may not be specified when `port` is not specified",
        )),
        Some(Value::String(_)) => errors.push(Error::invalid(
            &at,
            end,
            "may not be specified when `port` is non-numeric",
        )),
        Some(number) => {
            if end < number.as_i64().unwrap_or(0) {
                errors.push(Error::invalid(
                    &at,
                    end,
                    "must be greater than or equal to `port`",
                ));
            }
            port_number(errors, &at, end);
        }
    }
}

fn policy_peer(errors: &mut Errors, path: &Path<'_>, peer: &Value) {
    let mut found = 0;
    for member in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = some(peer, member) {
            found += 1;
            label_selector(errors, &path.field(member), selector);
        }
    }
    if let Some(block) = some(peer, "ipBlock") {
        if found > 0 {
            errors.push(Error::forbidden(
                path,
                "may not specify both ipBlock and another peer",
            ));
        }
        found += 1;
        ip_block(errors, &path.field("ipBlock"), block);
    }
    if found == 0 {
        errors.push(Error::required(path, "must specify a peer"));
    }
}

fn ip_block(errors: &mut Errors, path: &Path<'_>, block: &Value) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        errors.push(Error::required(&path.field("cidr"), ""));
        return;
    }
    if !address::cidr(errors, &path.field("cidr"), cidr, false) {
        return;
    }
    let Ok(outer) = cidr.parse::<ipnet::IpNet>() else {
        return;
    };
    let excepts = path.field("except");
    for (i, text) in list(block, "except")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let at = excepts.index(i);
        if !address::cidr(errors, &at, text, false) {
            continue;
        }
        if let Ok(inner) = text.parse::<ipnet::IpNet>()
            && (!outer.contains(&inner) || outer == inner)
        {
            errors.push(Error::invalid(
                &at,
                text,
                "must be a strict subset of `cidr`",
            ));
        }
    }
}

pub(super) fn role(errors: &mut Errors, role: &Value, namespaced: bool) {
    let path = Path::root("rules");
    for (i, rule) in list(role, "rules").iter().enumerate() {
        let at = path.index(i);
        if list(rule, "verbs").is_empty() {
            errors.push(Error::required(&at.field("verbs"), ""));
        }
        if !list(rule, "nonResourceURLs").is_empty() {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(Error::invalid(
                    &at.field("nonResourceURLs"),
                    some(rule, "nonResourceURLs"),
                    detail,
                ));
            }
            let resources = ["apiGroups", "resources", "resourceNames"];
            if resources.iter().any(|m| !list(rule, m).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(Error::invalid(
                    &at.field("nonResourceURLs"),
                    some(rule, "nonResourceURLs"),
                    detail,
                ));
            }
            continue;
        }
        for (member, noun) in [("apiGroups", "api group"), ("resources", "resource")] {
            if list(rule, member).is_empty() {
                let detail = format!("resource rules must supply at least one {noun}");
                errors.push(Error::required(&at.field(member), detail));
            }
        }
    }
}

pub(super) fn role_binding(errors: &mut Errors, binding: &Value) {
    let path = Path::root("roleRef");
    let role = &binding["roleRef"];
    let group = text(role, "apiGroup");
    if group != "rbac.authorization.k8s.io" {
        errors.push(Error::not_supported(
            &path.field("apiGroup"),
            group,
            &["rbac.authorization.k8s.io"],
        ));
    }
    let kind = text(role, "kind");
    if !matches!(kind, "Role" | "ClusterRole") {
        errors.push(Error::not_supported(
            &path.field("kind"),
            kind,
            &["Role", "ClusterRole"],
        ));
    }
    let name = text(role, "name");
    match name {
        "" => errors.push(Error::required(&path.field("name"), "")),
        _ => super::checks::invalid_each(
            errors,
            &path.field("name"),
            name,
            names::path_segment(name),
        ),
    }
    let subjects = Path::root("subjects");
    for (i, subject) in list(binding, "subjects").iter().enumerate() {
        let at = subjects.index(i);
        if text(subject, "name").is_empty() {
            errors.push(Error::required(&at.field("name"), ""));
        }
        let (kind, group) = (text(subject, "kind"), text(subject, "apiGroup"));
        let wanted = match kind {
            "ServiceAccount" => {
                let name = text(subject, "name");
                if !name.is_empty() {
                    let wrong = names::dns1123_subdomain(name);
                    super::checks::invalid_each(errors, &at.field("name"), name, wrong);
                }
                if text(subject, "namespace").is_empty() && binding["kind"] == "ClusterRoleBinding"
                {
                    errors.push(Error::required(&at.field("namespace"), ""));
                }
                ""
            }
            "User" | "Group" => "rbac.authorization.k8s.io",
            other => {
                let supported = ["ServiceAccount", "User", "Group"];
                errors.push(Error::not_supported(&at.field("kind"), other, &supported));
                continue;
            }
        };
        if group != wanted {
            errors.push(Error::not_supported(
                &at.field("apiGroup"),
                group,
                &[wanted],
            ));
        }
    }
}

pub(super) fn role_binding_update(errors: &mut Errors, old: &Value, new: &Value) {
    role_binding(errors, new);
    if some(old, "roleRef") != some(new, "roleRef") {
        let detail = "cannot change roleRef";
        errors.push(Error::invalid(
            &Path::root("roleRef"),
            some(new, "roleRef"),
            detail,
        ));
    }
}
