//! Configurations of admission webhooks, and the clients and rules that they share with others.
//!
//! Absent: whether the expressions of match conditions compile, which the server asks the expression language.

use super::checks::{Errors, invalid_each, label_selector, list, one_of_if_set, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const CONDITIONS_MAX: usize = 64;

/// What an update may leave as it was.
struct Leniency {
    side_effects: bool,
    review_versions: bool,
    names: bool,
    conditions: bool,
}

/// A MutatingWebhookConfiguration or a ValidatingWebhookConfiguration. `old` is what is changed.
pub(super) fn configuration(errors: &mut Errors, object: &Value, old: Option<&Value>) {
    let hooks = list(object, "webhooks");
    let leniency = leniency(hooks, old.map(|old| list(old, "webhooks")));
    let path = Path::root("webhooks");
    let mut names = HashSet::new();
    for (i, hook) in hooks.iter().enumerate() {
        let at = path.index(i);
        webhook(errors, &at, hook, &leniency);
        review_versions(errors, &at, hook, !leniency.review_versions);
        let name = text(hook, "name");
        if !leniency.names && !name.is_empty() && !names.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
    }
}

fn leniency(new: &[Value], old: Option<&[Value]>) -> Leniency {
    let Some(old) = old else {
        return Leniency {
            side_effects: false,
            review_versions: false,
            names: false,
            conditions: false,
        };
    };
    let accepted = |hook: &Value| {
        let versions = list(hook, "admissionReviewVersions");
        versions.is_empty()
            || versions
                .iter()
                .any(|v| REVIEW_VERSIONS.iter().any(|r| v == r))
    };
    let names: HashSet<&str> = old.iter().map(|hook| text(hook, "name")).collect();
    let conditions = |hook: &Value| list(hook, "matchConditions").to_vec();
    Leniency {
        side_effects: !old
            .iter()
            .all(|h| matches!(text(h, "sideEffects"), "None" | "NoneOnDryRun")),
        review_versions: !old.iter().all(accepted),
        names: names.len() < old.len(),
        conditions: new.len() == old.len()
            && new
                .iter()
                .zip(old)
                .all(|(n, o)| conditions(n) == conditions(o)),
    }
}

fn webhook(errors: &mut Errors, at: &Path<'_>, hook: &Value, leniency: &Leniency) {
    qualified_domain(errors, &at.field("name"), text(hook, "name"));
    let rules_path = at.field("rules");
    for (i, rule) in list(hook, "rules").iter().enumerate() {
        rule_with_operations(errors, &rules_path.index(i), rule);
    }
    one_of_if_set(errors, at, hook, "failurePolicy", &["Fail", "Ignore"]);
    one_of_if_set(errors, at, hook, "matchPolicy", &["Equivalent", "Exact"]);
    side_effects(errors, at, hook, leniency.side_effects);
    if let Some(seconds) = some(hook, "timeoutSeconds").and_then(Value::as_i64)
        && !(1..=30).contains(&seconds)
    {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(&at.field("timeoutSeconds"), seconds, why));
    }
    for member in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = some(hook, member) {
            label_selector(errors, &at.field(member), selector);
        }
    }
    one_of_if_set(
        errors,
        at,
        hook,
        "reinvocationPolicy",
        &["IfNeeded", "Never"],
    );
    client(errors, &at.field("clientConfig"), &hook["clientConfig"]);
    if !leniency.conditions {
        conditions(
            errors,
            &at.field("matchConditions"),
            list(hook, "matchConditions"),
        );
    }
}

fn side_effects(errors: &mut Errors, at: &Path<'_>, hook: &Value, lenient: bool) {
    let allowed: &[&str] = match lenient {
        true => &["None", "NoneOnDryRun", "Some", "Unknown"],
        false => &["None", "NoneOnDryRun"],
    };
    let path = at.field("sideEffects");
    match some(hook, "sideEffects").and_then(Value::as_str) {
        None => {
            let why = format!("must specify one of {}", allowed.join(", "));
            errors.push(Error::required(&path, why));
        }
        Some(class) if !allowed.contains(&class) => {
            errors.push(Error::not_supported(&path, class, allowed));
        }
        Some(_) => {}
    }
}

/// A domain of at least three parts.
fn qualified_domain(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let wrong = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(path, name, wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(Error::invalid(path, name, why));
    }
}

fn review_versions(errors: &mut Errors, at: &Path<'_>, hook: &Value, strict: bool) {
    let path = at.field("admissionReviewVersions");
    let versions = list(hook, "admissionReviewVersions");
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        errors.push(Error::required(
            &path,
            format!("must specify one of {known}"),
        ));
        return;
    }
    let mut seen = HashSet::new();
    for (i, version) in versions.iter().enumerate() {
        let version = version.as_str().unwrap_or_default();
        match seen.insert(version) {
            true => invalid_each(
                errors,
                &path.index(i),
                version,
                names::dns1035_label(version),
            ),
            false => errors.push(Error::invalid(&path.index(i), version, "duplicate version")),
        }
    }
    if strict && !REVIEW_VERSIONS.iter().any(|v| seen.contains(v)) {
        let why = format!("must include at least one of {known}");
        errors.push(Error::invalid(&path, Value::from(versions.to_vec()), why));
    }
}

/// A rule with its operations.
pub(super) fn rule_with_operations(errors: &mut Errors, at: &Path<'_>, rule: &Value) {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let path = at.field("operations");
    let operations = list(rule, "operations");
    if operations.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    if is_more_than_all(operations) {
        let why = "if '*' is present, must not specify other operations";
        errors.push(Error::invalid(&path, Value::from(operations.to_vec()), why));
    }
    for (i, operation) in operations.iter().enumerate() {
        let operation = operation.as_str().unwrap_or_default();
        if !OPERATIONS.contains(&operation) {
            errors.push(Error::not_supported(&path.index(i), operation, &OPERATIONS));
        }
    }
    self::rule(errors, at, rule);
}

fn is_more_than_all(items: &[Value]) -> bool {
    items.len() > 1 && items.iter().any(|item| item == "*")
}

fn rule(errors: &mut Errors, at: &Path<'_>, rule: &Value) {
    for (member, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let (path, items) = (at.field(member), list(rule, member));
        if items.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        if is_more_than_all(items) {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.push(Error::invalid(&path, Value::from(items.to_vec()), why));
        }
        for (i, item) in items.iter().enumerate() {
            if member == "apiVersions" && item == "" {
                errors.push(Error::required(&path.index(i), ""));
            }
        }
    }
    resources(errors, &at.field("resources"), list(rule, "resources"));
    one_of_if_set(errors, at, rule, "scope", &["*", "Cluster", "Namespaced"]);
}

fn resources(errors: &mut Errors, path: &Path<'_>, resources: &[Value]) {
    if resources.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let (mut all_of, mut of_all) = (HashSet::new(), HashSet::new());
    let mut plain = false;
    for (i, resource) in resources.iter().enumerate() {
        let (at, resource) = (path.index(i), resource.as_str().unwrap_or_default());
        if resource.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        let Some((parent, sub)) = resource.split_once('/') else {
            plain = resource != "*";
            continue;
        };
        for (known, wide) in [
            (all_of.contains(parent), format!("{parent}/*")),
            (of_all.contains(sub), format!("*/{sub}")),
        ] {
            if known {
                let why = format!("if '{wide}' is present, must not specify {resource}");
                errors.push(Error::invalid(&at, resource, why));
            }
        }
        if sub == "*" {
            all_of.insert(parent);
        }
        if parent == "*" {
            of_all.insert(sub);
        }
    }
    let has = |name: &str| resources.iter().any(|resource| resource == name);
    if resources.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(Error::invalid(path, Value::from(resources.to_vec()), why));
    }
    if has("*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, Value::from(resources.to_vec()), why));
    }
}

/// Names of match conditions, and that there is an expression.
fn conditions(errors: &mut Errors, path: &Path<'_>, conditions: &[Value]) {
    if conditions.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(path, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let at = path.index(i);
        if text(condition, "expression").trim().is_empty() {
            errors.push(Error::required(&at.field("expression"), ""));
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.push(Error::required(&at.field("name"), ""));
            continue;
        }
        invalid_each(errors, &at.field("name"), name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
    }
}

/// Where a webhook is: a URL, or a Service.
pub(super) fn client(errors: &mut Errors, path: &Path<'_>, client: &Value) {
    let url = some(client, "url").and_then(Value::as_str);
    match (url, some(client, "service")) {
        (Some(url), None) => self::url(errors, &path.field("url"), url),
        (None, Some(service)) => self::service(errors, &path.field("service"), service),
        _ => {
            let why = "exactly one of url or service is required";
            errors.push(Error::required(path, why));
        }
    }
}

fn url(errors: &mut Errors, path: &Path<'_>, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(&scheme) => (scheme.to_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let authority = rest
        .strip_prefix("//")
        .map(|rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = match authority.unwrap_or_default().rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority.unwrap_or_default()),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(path, scheme, why));
    }
    if host.is_empty() {
        errors.push(Error::invalid(
            path,
            host,
            format!("host must be specified{FORM}"),
        ));
    }
    if let Some(user) = user {
        let why = "user information is not permitted in the URL";
        errors.push(Error::invalid(path, user, why));
    }
    for (part, what) in [(fragment, "fragments"), (query, "query parameters")] {
        if !part.is_empty() {
            let why = format!("{what} are not permitted in the URL");
            errors.push(Error::invalid(path, part, why));
        }
    }
}

fn service(errors: &mut Errors, path: &Path<'_>, service: &Value) {
    // Upstream passes the two the wrong way round, which shows only in the order.
    for (member, named) in [("name", "namespace"), ("namespace", "name")] {
        if text(service, named).is_empty() {
            errors.push(Error::required(&path.field(member), ""));
        }
    }
    let port = some(service, "port").and_then(Value::as_i64).unwrap_or(443);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(&path.field("port"), port, why));
    }
    let at = path.field("path");
    let url_path = text(service, "path");
    if matches!(url_path, "" | "/") {
        return;
    }
    if url_path == "//" {
        errors.push(Error::invalid(&at, url_path, "segment[0] may not be empty"));
        return;
    }
    let steps = match url_path.strip_prefix('/') {
        Some(steps) => steps,
        None => {
            errors.push(Error::invalid(&at, url_path, "must start with a '/'"));
            let second = url_path
                .char_indices()
                .nth(1)
                .map_or(url_path.len(), |(i, _)| i);
            &url_path[second..]
        }
    };
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (i, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{i}] may not be empty");
            errors.push(Error::invalid(&at, url_path, why));
            continue;
        }
        for failure in names::dns1123_subdomain(step) {
            errors.push(Error::invalid(
                &at,
                url_path,
                format!("segment[{i}]: {failure}"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(check: impl FnOnce(&mut Errors)) -> Vec<String> {
        let mut errors = Errors::new();
        check(&mut errors);
        errors.iter().map(|e| e.to_string()).collect()
    }

    #[test]
    fn clients_are_found() {
        let path = Path::root("c");
        let of = |value: Value| texts(|errors| client(errors, &path, &value));
        assert!(of(json!({"url": "https://host:8443/path"})).is_empty());
        assert!(
            of(json!({"service": {"namespace": "n", "name": "s", "path": "/a/b/"}})).is_empty()
        );
        assert_eq!(
            of(json!({})),
            ["c: Required value: exactly one of url or service is required"]
        );
        assert_eq!(
            of(json!({"url": "https://u@h/#f"})),
            [
                "c.url: Invalid value: \"u\": user information is not permitted in the URL",
                "c.url: Invalid value: \"f\": fragments are not permitted in the URL",
            ]
        );
        assert_eq!(
            of(json!({"service": {"namespace": "n", "name": "s", "port": 0, "path": "a"}})),
            [
                "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "c.service.path: Invalid value: \"a\": must start with a '/'",
                "c.service.path: Invalid value: \"a\": segment[0] may not be empty",
            ]
        );
    }

    #[test]
    fn resources_do_not_overlap() {
        let path = Path::root("r");
        let of = |value: Value| {
            texts(|errors| resources(errors, &path, value.as_array().expect("list")))
        };
        assert!(of(json!(["pods", "pods/*", "*/scale"])).is_empty());
        assert_eq!(
            of(json!(["pods/*", "pods/log"])),
            [
                "r[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log"
            ]
        );
        assert_eq!(
            of(json!(["*/*", "pods"])),
            [
                "r: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources"
            ]
        );
    }

    #[test]
    fn updates_may_keep_what_would_not_be_made_today() {
        let hook = |effects: &str| {
            json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"url": "https://x"}, "sideEffects": effects,
                "admissionReviewVersions": ["v1"]}]})
        };
        let of = |old: Option<&Value>, new: &Value| texts(|errors| configuration(errors, new, old));
        assert_eq!(of(None, &hook("Some")).len(), 1);
        assert_eq!(of(Some(&hook("None")), &hook("Some")).len(), 1);
        assert!(of(Some(&hook("Unknown")), &hook("Some")).is_empty());
    }
}
