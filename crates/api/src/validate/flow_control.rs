//! FlowSchemas and PriorityLevelConfigurations (KEP-1040).

use super::checks::{Errors, int, invalid_each, list, required, same, some, text};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::{Value, json};
use std::collections::HashSet;

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
const HASH_BITS: u32 = 60;
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
const SUBJECTS: [&str; 3] = ["Group", "ServiceAccount", "User"];

pub(super) fn flow_schema(errors: &mut Errors, schema: &Value) {
    let (spec, path) = (&schema["spec"], Path::root("spec"));
    let (precedence, at) = (
        int(spec, "matchingPrecedence"),
        path.field("matchingPrecedence"),
    );
    if precedence <= 0 {
        errors.push(Error::invalid(&at, precedence, "must be a positive value"));
    }
    if precedence > PRECEDENCE_MAX {
        let detail = format!("must not be greater than {PRECEDENCE_MAX}");
        errors.push(Error::invalid(&at, precedence, detail));
    }
    if precedence == 1 && schema["metadata"]["name"] != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(Error::invalid(&at, precedence, detail));
    }
    if let Some(method) = some(spec, "distinguisherMethod")
        && !matches!(text(method, "type"), "ByUser" | "ByNamespace")
    {
        let at = path.field("distinguisherMethod");
        let shown = internal::show("flowcontrol.FlowDistinguisherMethod", Some(method));
        let supported = ["ByNamespace", "ByUser"];
        errors.push(Error::not_supported(&at.field("type"), shown, &supported));
    }
    let level = text(&spec["priorityLevelConfiguration"], "name");
    let reference = path.field("priorityLevelConfiguration");
    match level {
        "" => {
            let detail = "must reference a priority level";
            errors.push(Error::required(&reference.field("name"), detail));
        }
        _ => invalid_each(
            errors,
            &reference.field("name"),
            level,
            names::dns1123_subdomain(level),
        ),
    }
    let rules = path.field("rules");
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        policy_rule(errors, &rules.index(i), rule);
    }
    let name = text(&schema["metadata"], "name");
    if fixed_schema(name).is_some_and(|fixed| !same(&fixed, spec)) {
        let shown = internal::show("flowcontrol.FlowSchemaSpec", Some(spec));
        let detail = format!("spec of '{name}' must equal the fixed value");
        errors.push(Error::invalid(&path, shown, detail));
    }
    conditions(errors, schema);
}

/// The specs of the FlowSchemas without which some requests would have no level.
fn fixed_schema(name: &str) -> Option<Value> {
    let (precedence, method, groups): (i64, Value, &[&str]) = match name {
        "exempt" => (1, Value::Null, &["system:masters"]),
        "catch-all" => (
            10_000,
            json!({"type": "ByUser"}),
            &["system:unauthenticated", "system:authenticated"],
        ),
        _ => return None,
    };
    let group = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
    let subjects: Vec<Value> = groups.iter().map(group).collect();
    Some(json!({
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": precedence,
        "distinguisherMethod": method,
        "rules": [{
            "subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    }))
}

/// What is wrong with the level of a name that is reserved.
fn fixed_level(errors: &mut Errors, name: &str, spec: &Value) {
    let (mut found, detail) = (spec.clone(), "spec of");
    let (fixed, detail) = match name {
        "exempt" => {
            if let Some(members) = found.as_object_mut() {
                members.remove("exempt");
            }
            let detail = format!(
                "{detail} 'exempt' except the 'spec.exempt' field must equal the fixed value"
            );
            (json!({"type": "Exempt"}), detail)
        }
        "catch-all" => (
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}),
            format!("{detail} 'catch-all' must equal the fixed value"),
        ),
        _ => return,
    };
    if !same(&fixed, &found) {
        let shown = internal::show("flowcontrol.PriorityLevelConfigurationSpec", Some(spec));
        errors.push(Error::invalid(&Path::root("spec"), shown, detail));
    }
}

fn policy_rule(errors: &mut Errors, path: &Path<'_>, rule: &Value) {
    let (subjects, at) = (list(rule, "subjects"), path.field("subjects"));
    if subjects.is_empty() {
        errors.push(Error::required(
            &at,
            "subjects must contain at least one value",
        ));
    }
    for (i, each) in subjects.iter().enumerate() {
        subject(errors, &at.index(i), each);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path, detail));
    }
    let at = path.field("resourceRules");
    for (i, rule) in resources.iter().enumerate() {
        resource_rule(errors, &at.index(i), rule);
    }
    let at = path.field("nonResourceRules");
    for (i, rule) in others.iter().enumerate() {
        non_resource_rule(errors, &at.index(i), rule);
    }
}

/// The member of a subject that goes with its kind, and what upstream says of the others.
const MEMBERS: [(&str, &str); 3] = [
    ("ServiceAccount", "serviceAccount"),
    ("User", "user"),
    ("Group", "group"),
];

fn subject(errors: &mut Errors, path: &Path<'_>, subject: &Value) {
    let kind = text(subject, "kind");
    let Some((_, own)) = MEMBERS.iter().find(|(k, _)| *k == kind) else {
        errors.push(Error::not_supported(&path.field("kind"), kind, &SUBJECTS));
        return;
    };
    let at = path.field(own);
    match some(subject, own) {
        None => {
            let detail = format!("{own} is required when subject kind is '{kind}'");
            errors.push(Error::required(&at, detail));
        }
        Some(named) => {
            let name = text(named, "name");
            if required(errors, &at, named, "name") && kind == "ServiceAccount" && name != "*" {
                invalid_each(
                    errors,
                    &at.field("name"),
                    name,
                    names::dns1123_subdomain(name),
                );
            }
            if kind == "ServiceAccount" {
                let (namespace, at) = (text(named, "namespace"), at.field("namespace"));
                match namespace {
                    "" => {
                        let detail = "must specify namespace for service account";
                        errors.push(Error::required(&at, detail));
                    }
                    _ => invalid_each(errors, &at, namespace, names::dns1123_label(namespace)),
                }
            }
        }
    }
    for (other, member) in MEMBERS.iter().filter(|(k, _)| *k != kind) {
        if some(subject, member).is_some() {
            let detail = format!("{member} is forbidden when subject kind is not '{other}'");
            errors.push(Error::forbidden(&path.field(member), detail));
        }
    }
}

/// A list in which `*` stands alone. Whether its items are to be looked at.
fn wildcard(errors: &mut Errors, path: &Path<'_>, rule: &Value, member: &str, noun: &str) -> bool {
    let all = list(rule, member);
    let wild = all.iter().any(|item| item == "*");
    if wild && all.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {noun}");
        errors.push(Error::invalid(
            &path.field(member),
            rule.get(member),
            detail,
        ));
    }
    !wild
}

fn verbs(errors: &mut Errors, path: &Path<'_>, rule: &Value) {
    let (all, at) = (list(rule, "verbs"), path.field("verbs"));
    if all.is_empty() {
        errors.push(Error::required(
            &at,
            "verbs must contain at least one value",
        ));
    } else if wildcard(errors, path, rule, "verbs", "verbs")
        && all
            .iter()
            .any(|verb| !VERBS.iter().any(|known| verb == known))
    {
        errors.push(Error::not_supported(&at, rule.get("verbs"), &VERBS));
    }
}

fn resource_rule(errors: &mut Errors, path: &Path<'_>, rule: &Value) {
    verbs(errors, path, rule);
    for (member, noun, nouns) in [
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ] {
        match list(rule, member).len() {
            0 => {
                let detail = format!("resource rules must supply at least one {noun}");
                errors.push(Error::required(&path.field(member), detail));
            }
            _ => drop(wildcard(errors, path, rule, member, nouns)),
        }
    }
    let (namespaces, at) = (list(rule, "namespaces"), path.field("namespaces"));
    if namespaces.is_empty() && rule["clusterScope"] != true {
        let detail =
            "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(Error::required(&at, detail));
    } else if wildcard(errors, path, rule, "namespaces", "namespaces") {
        for (i, name) in namespaces.iter().filter_map(Value::as_str).enumerate() {
            for why in names::dns1123_label(name) {
                let detail =
                    format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                errors.push(Error::invalid(&at.index(i), name, detail));
            }
        }
    }
}

fn non_resource_rule(errors: &mut Errors, path: &Path<'_>, rule: &Value) {
    verbs(errors, path, rule);
    let (urls, at) = (list(rule, "nonResourceURLs"), path.field("nonResourceURLs"));
    if urls.is_empty() {
        let detail = "nonResourceURLs must contain at least one value";
        errors.push(Error::required(&at, detail));
    } else if wildcard(errors, path, rule, "nonResourceURLs", "non-resource URLs") {
        for (i, url) in urls.iter().filter_map(Value::as_str).enumerate() {
            if let Some(detail) = url_fault(url) {
                errors.push(Error::invalid(&at.index(i), url, detail));
            }
        }
    }
}

fn url_fault(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !url.ends_with("/*") => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

/// Conditions have types, each once.
pub(super) fn conditions(errors: &mut Errors, object: &Value) {
    let root = Path::root("status");
    let path = root.field("conditions");
    let mut seen = HashSet::new();
    for (i, condition) in list(&object["status"], "conditions").iter().enumerate() {
        let (at, kind) = (path.index(i), text(condition, "type"));
        if !seen.insert(kind) {
            errors.push(Error::duplicate(&at.field("type"), kind));
        }
        required(errors, &at, condition, "type");
    }
}

pub(super) fn priority_level(errors: &mut Errors, level: &Value) {
    const PRESERVE: &str = "flowcontrol.k8s.io/preserve-zero-concurrency-shares";
    let (spec, path) = (&level["spec"], Path::root("spec"));
    if level["metadata"]["annotations"].get(PRESERVE).is_some() {
        let meta = Path::root("metadata");
        let detail = format!("annotation '{PRESERVE}' is forbidden");
        errors.push(Error::forbidden(&meta.field("annotations"), detail));
    }
    let kind = text(spec, "type");
    if (level["metadata"]["name"] == "exempt") != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(&path.field("type"), kind, detail));
    }
    let (exempt, limited) = (some(spec, "exempt"), some(spec, "limited"));
    let mut after = Errors::new();
    if limited.is_some() && kind != "Limited" {
        after.push(Error::forbidden(&path.field("limited"), ""));
    }
    match kind {
        "Exempt" => {
            if let Some(exempt) = exempt {
                shares(errors, &path.field("exempt"), exempt);
            }
        }
        "Limited" => match limited {
            None => after.push(Error::required(&path.field("limited"), "")),
            Some(limited) => self::limited(errors, &mut after, &path.field("limited"), limited),
        },
        "" => after.push(Error::required(&path.field("type"), "")),
        other => errors.push(Error::not_supported(
            &path.field("type"),
            other,
            &["Exempt", "Limited"],
        )),
    }
    if exempt.is_some() && kind != "Exempt" {
        after.push(Error::forbidden(&path.field("exempt"), ""));
    }
    fixed_level(errors, text(&level["metadata"], "name"), spec);
    conditions(errors, level);
    errors.extend(after);
}

fn nominal(errors: &mut Errors, path: &Path<'_>, node: &Value) {
    let shares = int(node, "nominalConcurrencyShares");
    if shares < 0 {
        let detail = "must be a non-negative integer";
        errors.push(Error::invalid(
            &path.field("nominalConcurrencyShares"),
            shares,
            detail,
        ));
    }
}

fn lendable(errors: &mut Errors, path: &Path<'_>, node: &Value) {
    let percent = int(node, "lendablePercent");
    if !(0..=100).contains(&percent) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(
            &path.field("lendablePercent"),
            percent,
            detail,
        ));
    }
}

fn shares(errors: &mut Errors, path: &Path<'_>, node: &Value) {
    nominal(errors, path, node);
    lendable(errors, path, node);
}

/// What upstream's generated validation tells comes last: `after`.
fn limited(errors: &mut Errors, after: &mut Errors, path: &Path<'_>, limited: &Value) {
    nominal(errors, path, limited);
    let (response, at) = (&limited["limitResponse"], path.field("limitResponse"));
    let queuing = some(response, "queuing");
    let kind = text(response, "type");
    if queuing.is_some() && kind != "Queue" {
        after.push(Error::forbidden(&at.field("queuing"), ""));
    }
    match (kind, queuing) {
        ("Queue", None) => after.push(Error::required(&at.field("queuing"), "")),
        ("Queue", Some(queuing)) => self::queuing(errors, &at.field("queuing"), queuing),
        ("Reject", _) => {}
        ("", _) => after.push(Error::required(&at.field("type"), "")),
        (other, _) => errors.push(Error::not_supported(
            &at.field("type"),
            other,
            &["Queue", "Reject"],
        )),
    }
    lendable(errors, path, limited);
    let borrowing = int(limited, "borrowingLimitPercent");
    if borrowing < 0 {
        let detail = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(
            &path.field("borrowingLimitPercent"),
            borrowing,
            detail,
        ));
    }
}

fn queuing(errors: &mut Errors, path: &Path<'_>, queuing: &Value) {
    let (length, queues, hand) = (
        int(queuing, "queueLengthLimit"),
        int(queuing, "queues"),
        int(queuing, "handSize"),
    );
    let mut say = |member: &str, value: i64, detail: String| {
        errors.push(Error::invalid(&path.field(member), value, detail));
    };
    if length <= 0 {
        say("queueLengthLimit", length, "must be positive".to_owned());
    }
    if queues <= 0 {
        say("queues", queues, "must be positive".to_owned());
    } else if queues > QUEUES_MAX {
        say(
            "queues",
            queues,
            format!("must not be greater than {QUEUES_MAX}"),
        );
    }
    let bits = ((queues.max(1) as f64).log2() * hand as f64).ceil();
    if hand <= 0 {
        say("handSize", hand, "must be positive".to_owned());
    } else if hand > queues {
        say(
            "handSize",
            hand,
            format!("should not be greater than queues ({queues})"),
        );
    } else if bits > f64::from(HASH_BITS) {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        say("handSize", hand, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_absolute_and_wild_at_their_end_only() {
        for (url, right) in [
            ("/", true),
            ("/a/*", true),
            ("/a*", false),
            ("a", false),
            ("/a//b", false),
        ] {
            assert_eq!(url_fault(url).is_none(), right, "{url}");
        }
    }
}
