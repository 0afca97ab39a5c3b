//! When a Job's failed Pods count (KEP-3329), when it has succeeded (KEP-3998), when a Pod is replaced (KEP-3939).

use super::super::checks::{Errors, invalid_each, list, non_negative, some, text};
use super::{indexes, number};
use crate::field::{Bad, Error, Path, quote};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Go's `%q` of a list.
fn valid_values(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

/// A word that must be one of some; says which when there is none.
fn word(errors: &mut Errors, path: &Path<'_>, word: &str, supported: &[&str]) {
    if word.is_empty() {
        errors.push(Error::required(path, valid_values(supported)));
    } else if !supported.contains(&word) {
        errors.push(Error::not_supported(path, word, supported));
    }
}

/// `podFailurePolicy`.
pub(super) fn failure(errors: &mut Errors, path: &Path<'_>, spec: &Value, policy: &Value) {
    let (rules, at) = (list(policy, "rules"), path.field("rules"));
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&at, rules.len(), RULES_MAX));
    }
    let pod = &spec["template"]["spec"];
    let all = list(pod, "containers")
        .iter()
        .chain(list(pod, "initContainers"));
    let containers: HashSet<&str> = all.map(|c| text(c, "name")).collect();
    for (i, rule) in rules.iter().enumerate() {
        failure_rule(errors, &at.index(i), spec, rule, &containers);
    }
}

fn failure_rule(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &Value,
    rule: &Value,
    containers: &HashSet<&str>,
) {
    let (action_path, action) = (path.field("action"), text(rule, "action"));
    word(errors, &action_path, action, &ACTIONS);
    if action == "FailIndex" && some(spec, "backoffLimitPerIndex").is_none() {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(Error::invalid(&action_path, action, detail));
    }
    let codes = some(rule, "onExitCodes");
    if let Some(codes) = codes {
        exit_codes(errors, &path.field("onExitCodes"), codes, containers);
    }
    let patterns = list(rule, "onPodConditions");
    conditions(errors, &path.field("onPodConditions"), patterns);
    let detail = match (codes.is_some(), patterns.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(Error::invalid(path, Bad::Omitted, detail));
}

fn conditions(errors: &mut Errors, path: &Path<'_>, patterns: &[Value]) {
    if patterns.len() > PATTERNS_MAX {
        errors.push(Error::too_many(path, patterns.len(), PATTERNS_MAX));
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let (at, kind) = (path.index(i), text(pattern, "type"));
        invalid_each(errors, &at.field("type"), kind, names::qualified_name(kind));
        word(
            errors,
            &at.field("status"),
            text(pattern, "status"),
            &STATUSES,
        );
    }
}

fn exit_codes(errors: &mut Errors, path: &Path<'_>, codes: &Value, containers: &HashSet<&str>) {
    let operator = text(codes, "operator");
    word(errors, &path.field("operator"), operator, &OPERATORS);
    if let Some(name) = some(codes, "containerName").and_then(Value::as_str)
        && !containers.contains(name)
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.field("containerName"), name, detail));
    }
    let (values, at) = (list(codes, "values"), path.field("values"));
    if values.is_empty() {
        errors.push(Error::invalid(
            &at,
            codes.get("values"),
            "at least one value is required",
        ));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(Error::too_many(&at, values.len(), EXIT_CODES_MAX));
    }
    let mut seen = HashSet::new();
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (i, number) in numbers.iter().enumerate() {
        let at = at.index(i);
        if operator == "In" && *number == 0 {
            errors.push(Error::invalid(&at, 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(number) {
            errors.push(Error::duplicate(&at, *number));
        }
    }
    if !numbers.is_sorted() {
        errors.push(Error::invalid(&at, codes.get("values"), "must be ordered"));
    }
}

/// `successPolicy` of an indexed Job.
pub(super) fn success(errors: &mut Errors, path: &Path<'_>, spec: &Value, policy: &Value) {
    let (rules, at) = (list(policy, "rules"), path.field("rules"));
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(&at, detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&at, rules.len(), RULES_MAX));
    }
    let completions = number(spec, "completions").unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(errors, &at.index(i), rule, completions);
    }
}

fn success_rule(errors: &mut Errors, path: &Path<'_>, rule: &Value, completions: i64) {
    let count = number(rule, "succeededCount");
    let named = some(rule, "succeededIndexes").and_then(Value::as_str);
    if count.is_none() && named.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(Error::required(path, detail));
    }
    let mut total = 0;
    if let Some(text) = named {
        let at = path.field("succeededIndexes");
        if text.len() > INDEXES_MAX {
            errors.push(Error::too_long(&at, INDEXES_MAX));
        }
        match indexes::count(text, completions) {
            Ok(count) => total = count,
            Err(why) => {
                let detail = format!("error parsing succeededIndexes: {why}");
                errors.push(Error::invalid(&at, text, detail));
            }
        }
    }
    let Some(count) = count else {
        return;
    };
    let at = path.field("succeededCount");
    non_negative(errors, path, rule, "succeededCount");
    if count > completions {
        let detail = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.push(Error::invalid(&at, count, detail));
    }
    if named.is_some() && count > total {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(Error::invalid(&at, count, detail));
    }
}

/// `podReplacementPolicy`.
pub(super) fn replacement(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let Some(policy) = some(spec, "podReplacementPolicy").and_then(Value::as_str) else {
        return;
    };
    let supported: &[&str] = match some(spec, "podFailurePolicy") {
        Some(_) => &["Failed"],
        None => &["Failed", "TerminatingOrFailed"],
    };
    if !supported.contains(&policy) {
        let at = path.field("podReplacementPolicy");
        errors.push(Error::not_supported(&at, policy, supported));
    }
}
