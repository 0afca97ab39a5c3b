//! Affinities.

use super::super::checks::{Errors, int, invalid_each, list, some, text};
use super::selector_if_set;
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity` of a Pod.
pub(super) fn affinity(errors: &mut Errors, path: &Path<'_>, affinity: &Value) {
    if let Some(node) = some(affinity, "nodeAffinity") {
        let path = path.field("nodeAffinity");
        if let Some(required) = some(node, REQUIRED) {
            node_selector(errors, &path.field(REQUIRED), required);
        }
        let preferred = path.field(PREFERRED);
        for (i, term) in list(node, PREFERRED).iter().enumerate() {
            let at = preferred.index(i);
            weight(errors, &at, term);
            node_term(errors, &at.field("preference"), &term["preference"], true);
        }
    }
    for member in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = some(affinity, member) else {
            continue;
        };
        let path = path.field(member);
        let required = path.field(REQUIRED);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            pod_term(errors, &required.index(i), term);
        }
        let preferred = path.field(PREFERRED);
        for (i, term) in list(pods, PREFERRED).iter().enumerate() {
            let at = preferred.index(i);
            weight(errors, &at, term);
            pod_term(
                errors,
                &at.field("podAffinityTerm"),
                &term["podAffinityTerm"],
            );
        }
    }
}

fn weight(errors: &mut Errors, path: &Path<'_>, term: &Value) {
    let weight = int(term, "weight");
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(
            &path.field("weight"),
            weight,
            "must be in the range 1-100",
        ));
    }
}

/// A selector of Nodes.
pub(in super::super) fn node_selector(errors: &mut Errors, path: &Path<'_>, selector: &Value) {
    let path = path.field("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(Error::required(
            &path,
            "must have at least one node selector term",
        ));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(errors, &path.index(i), term, false);
    }
}

/// A preference may have values that no label has: it only loses weight.
fn node_term(errors: &mut Errors, path: &Path<'_>, term: &Value, any_value: bool) {
    let expressions = path.field("matchExpressions");
    for (i, expression) in list(term, "matchExpressions").iter().enumerate() {
        let at = expressions.index(i);
        node_requirement(errors, &at, expression);
        let key = text(expression, "key");
        invalid_each(errors, &at.field("key"), key, names::qualified_name(key));
        let values = at.field("values");
        for (j, value) in list(expression, "values")
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            if !any_value {
                invalid_each(errors, &values.index(j), value, names::label_value(value));
            }
        }
    }
    let fields = path.field("matchFields");
    for (i, field) in list(term, "matchFields").iter().enumerate() {
        let at = fields.index(i);
        let operator = text(field, "operator");
        match operator {
            "In" | "NotIn" if list(field, "values").len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(Error::required(&at.field("values"), detail));
            }
            "In" | "NotIn" => {}
            other => errors.push(Error::invalid(
                &at.field("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = text(field, "key");
        if key != "metadata.name" {
            errors.push(Error::invalid(
                &at.field("key"),
                key,
                "not a valid field selector key",
            ));
            continue;
        }
        let values = at.field("values");
        for (j, name) in list(field, "values")
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            invalid_each(
                errors,
                &values.index(j),
                name,
                names::dns1123_subdomain(name),
            );
        }
    }
}

fn node_requirement(errors: &mut Errors, path: &Path<'_>, requirement: &Value) {
    let values = path.field("values");
    let count = list(requirement, "values").len();
    match text(requirement, "operator") {
        "In" | "NotIn" if count == 0 => {
            errors.push(Error::required(
                &values,
                "must be specified when `operator` is 'In' or 'NotIn'",
            ));
        }
        "Exists" | "DoesNotExist" if count > 0 => errors.push(Error::forbidden(
            &values,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if count != 1 => errors.push(Error::required(
            &values,
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(Error::invalid(
            &path.field("operator"),
            other,
            "not a valid selector operator",
        )),
    }
}

fn pod_term(errors: &mut Errors, path: &Path<'_>, term: &Value) {
    selector_if_set(errors, path, term, "labelSelector");
    selector_if_set(errors, path, term, "namespaceSelector");
    let namespaces = path.field("namespace");
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        invalid_each(errors, &namespaces, name, names::dns1123_label(name));
    }
    super::scheduling::label_keys(errors, path, term);
    let key = text(term, "topologyKey");
    let at = path.field("topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&at, "can not be empty"));
    }
    invalid_each(errors, &at, key, names::qualified_name(key));
}
