//! Budgets, network policies and roles.

use super::address;
use super::checks::{
    Errors, at_most_all, count_or_percent, label_selector, list, non_negative, one_of_if_set,
    port_number, port_number_or_name, some, text,
};
use crate::field::{Bad, Error, Path};
use crate::names;
use serde_json::Value;

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
    one_of_if_set(
        errors,
        &path,
        spec,
        "unhealthyPodEvictionPolicy",
        &["AlwaysAllow", "IfHealthyBudget"],
    );
}

/// What a budget's controller says of it.
pub(super) fn disruption_budget_status(errors: &mut Errors, budget: &Value) {
    let (status, path) = (&budget["status"], Path::root("status"));
    super::conditions::conditions(errors, &path.field("conditions"), status);
    for member in [
        "disruptionsAllowed",
        "currentHealthy",
        "desiredHealthy",
        "expectedPods",
    ] {
        non_negative(errors, &path, status, member);
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
    if list(spec, "policyTypes").len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(Error::invalid(&types, some(spec, "policyTypes"), detail));
        return;
    }
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
    one_of_if_set(errors, path, port, "protocol", &["TCP", "UDP", "SCTP"]);
    let (at, end) = (
        path.field("endPort"),
        some(port, "endPort").and_then(Value::as_i64),
    );
    match some(port, "port") {
        None => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is not specified";
                errors.push(Error::invalid(&at, end, detail));
            }
        }
        Some(number) => {
            if let (Some(end), Some(first)) = (end, number.as_i64()) {
                if end < first {
                    errors.push(Error::invalid(
                        &at,
                        end,
                        "must be greater than or equal to `port`",
                    ));
                }
                port_number(errors, &at, end);
            } else if let Some(end) = end {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(Error::invalid(&at, end, detail));
            }
            port_number_or_name(errors, &path.field("port"), number);
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
        let role = &new["roleRef"];
        let [group, kind, name] = ["apiGroup", "kind", "name"].map(|m| Value::from(text(role, m)));
        let shown = Bad::Text(format!(
            r#"{{"APIGroup":{group},"Kind":{kind},"Name":{name}}}"#
        ));
        errors.push(Error::invalid(
            &Path::root("roleRef"),
            shown,
            "field is immutable",
        ));
    }
}
