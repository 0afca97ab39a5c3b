//! Scheduling gates, tolerations and spreading.

use super::super::checks::{Errors, invalid_each, list, one_of, one_of_if_set, some, text};
use super::{positive, selector_if_set};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `schedulingGates` (KEP-3521).
pub(super) fn gates(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let path = path.field("schedulingGates");
    let mut seen = HashSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (at, name) = (path.index(i), text(gate, "name"));
        invalid_each(errors, &at, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at, name));
        }
    }
}

/// `topologySpreadConstraints`.
pub(super) fn spread(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let path = path.field("topologySpreadConstraints");
    let mut seen = HashSet::new();
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let at = path.index(i);
        positive(
            errors,
            &at,
            constraint,
            "maxSkew",
            "must be greater than zero",
        );
        let key = text(constraint, "topologyKey");
        match key {
            "" => errors.push(Error::required(
                &at.field("topologyKey"),
                "can not be empty",
            )),
            _ => invalid_each(
                errors,
                &at.field("topologyKey"),
                key,
                names::qualified_name(key),
            ),
        }
        one_of(
            errors,
            &at,
            constraint,
            "whenUnsatisfiable",
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        let action = text(constraint, "whenUnsatisfiable");
        let all = list(spec, "topologySpreadConstraints");
        let again =
            |c: &Value| text(c, "topologyKey") == key && text(c, "whenUnsatisfiable") == action;
        // Told of at the first: upstream looks ahead.
        if seen.insert((key, action)) && all[i + 1..].iter().any(again) {
            errors.push(Error::duplicate(
                &at.field("{topologyKey, whenUnsatisfiable}"),
                format!("{{{key}, {action}}}"),
            ));
        }
        if let Some(domains) = some(constraint, "minDomains") {
            let detail = "must be greater than zero";
            positive(errors, &at, constraint, "minDomains", detail);
            if action != "DoNotSchedule" {
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.push(Error::invalid(&at.field("minDomains"), domains, detail));
            }
        }
        for member in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of_if_set(errors, &at, constraint, member, &["Honor", "Ignore"]);
        }
        label_keys(errors, &at, constraint);
        selector_if_set(errors, &at, constraint, "labelSelector");
    }
}

/// Labels of the Pod itself that it is compared by (KEP-3243, KEP-3633).
pub(super) fn label_keys(errors: &mut Errors, path: &Path<'_>, term: &Value) {
    let selector = some(term, "labelSelector");
    for member in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (at, keys) = (path.field(member), list(term, member));
        if !keys.is_empty() && selector.is_none() {
            let detail = "must not be specified when labelSelector is not set";
            errors.push(Error::forbidden(&at, detail));
            continue;
        }
        for (i, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            invalid_each(errors, &at.index(i), key, names::qualified_name(key));
        }
    }
    let matched: Vec<&str> = list(term, "matchLabelKeys")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if let Some(selector) = selector {
        let labels = super::super::checks::map(selector, "matchLabels");
        let mut known: HashSet<&str> = labels.map(|(key, _)| key.as_str()).collect();
        for expression in list(selector, "matchExpressions") {
            let key = text(expression, "key");
            let place = matched.iter().rposition(|m| *m == key);
            if let Some(i) = place.filter(|_| known.contains(key)) {
                let detail = "exists in both matchLabelKeys and labelSelector";
                errors.push(Error::invalid(&path.index(i), key, detail));
            }
            known.insert(key);
        }
    }
    let at = path.field("matchLabelKeys");
    for (i, key) in matched.iter().enumerate() {
        if list(term, "mismatchLabelKeys")
            .iter()
            .any(|other| other == key)
        {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(Error::invalid(&at.index(i), *key, detail));
        }
    }
}

/// The effect of a taint or toleration.
pub(in super::super) fn taint_effect(errors: &mut Errors, path: &Path<'_>, effect: &str) {
    if !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(path, effect, &EFFECTS));
    }
}

/// `tolerations`.
pub(in super::super) fn tolerations(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let path = path.field("tolerations");
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        let at = path.index(i);
        let (key, operator, value, effect) = (
            text(toleration, "key"),
            text(toleration, "operator"),
            text(toleration, "value"),
            text(toleration, "effect"),
        );
        let operator_path = at.field("operator");
        if !key.is_empty() {
            invalid_each(errors, &at.field("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&operator_path, operator, detail));
        }
        if some(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(Error::invalid(&at.field("effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    errors.push(Error::invalid(&operator_path, value, wrong.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.push(Error::invalid(
                    &operator_path,
                    value,
                    "value must be empty when `operator` is 'Exists'",
                ));
            }
            "Exists" => {}
            "Lt" | "Gt" => {
                let supported = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(Error::not_supported(&operator_path, operator, &supported));
            }
            other => errors.push(Error::not_supported(
                &operator_path,
                other,
                &["Equal", "Exists"],
            )),
        }
        if !effect.is_empty() {
            taint_effect(errors, &at.field("effect"), effect);
        }
    }
}
