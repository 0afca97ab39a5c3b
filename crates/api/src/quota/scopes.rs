//! Scopes: which objects a quota is about.

use serde_json::{Value, json};

/// Whether an object is in all scopes of a quota; `in_scope` says whether it is in one.
pub fn matches(quota: &Value, in_scope: impl Fn(&Value) -> bool) -> bool {
    let spec = &quota["spec"];
    let plain = spec["scopes"].as_array().into_iter().flatten();
    let plain = plain.map(|name| json!({"scopeName": name, "operator": "Exists"}));
    let selected = spec["scopeSelector"]["matchExpressions"].as_array();
    plain.into_iter().all(|scope| in_scope(&scope)) && selected.into_iter().flatten().all(in_scope)
}

/// Whether a scope selects an object with these values (usually none or one).
pub(super) fn selects(scope: &Value, values: &[&str]) -> bool {
    let wanted = scope["values"].as_array();
    let listed = |value: &&str| wanted.is_some_and(|wanted| wanted.iter().any(|w| w == value));
    match scope["operator"].as_str().unwrap_or_default() {
        "Exists" => !values.is_empty(),
        "DoesNotExist" => values.is_empty(),
        "In" => values.iter().any(listed),
        "NotIn" => values.is_empty() || values.iter().any(|value| !listed(value)),
        _ => false,
    }
}
