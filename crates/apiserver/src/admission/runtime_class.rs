//! RuntimeClass: the overhead and the nodes of a Pod's runtime.

use karve_api::amounts;
use karve_api::field;
use serde_json::{Map, Value};

use super::{Attributes, lookup};
use crate::answer::Refusal;
use crate::object;
use crate::server::Server;

/// Sets overhead, node selector and tolerations of the class.
pub fn mutate(server: &Server, attributes: &mut Attributes<'_>) -> Result<(), Refusal> {
    if !attributes.makes("", "pods") {
        return Ok(());
    }
    let Some(class) = class(server, attributes)? else {
        return Ok(());
    };
    let spec = &attributes.object()["spec"];
    let overhead = &class["overhead"]["podFixed"];
    let own = amounts::read(&spec["overhead"]);
    if class["overhead"].is_object() && !own.is_empty() && own != amounts::read(overhead) {
        return Err(attributes.forbidden(MISMATCH));
    }
    let scheduling = &class["scheduling"];
    let selector = merged_selector(&spec["nodeSelector"], &scheduling["nodeSelector"])
        .map_err(|why| attributes.forbidden(&why))?;
    let tolerations = merged_tolerations(&spec["tolerations"], &scheduling["tolerations"]);
    if let Some(pod) = &mut attributes.object {
        let spec = object::member_mut(pod, "spec");
        if class["overhead"].is_object() {
            spec.insert("overhead".into(), overhead.clone());
        }
        if scheduling.is_object() {
            if !selector.is_empty() {
                spec.insert("nodeSelector".into(), selector.into());
            }
            if !tolerations.is_empty() {
                spec.insert("tolerations".into(), tolerations.into());
            }
        }
    }
    Ok(())
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// Refuses an overhead that is not that of the class.
pub fn validate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    if !attributes.makes("", "pods") {
        return Ok(());
    }
    let class = class(server, attributes)?;
    let overhead = &attributes.object()["spec"]["overhead"];
    match class.map(|class| class["overhead"]["podFixed"].clone()) {
        Some(defined) if defined.is_object() => {
            match amounts::read(&defined) == amounts::read(overhead) {
                true => Ok(()),
                false => Err(attributes.forbidden(MISMATCH)),
            }
        }
        _ if overhead.is_null() => Ok(()),
        _ => Err(attributes.forbidden(
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        )),
    }
}

fn class(server: &Server, attributes: &Attributes<'_>) -> Result<Option<Value>, Refusal> {
    let Some(name) = attributes.object()["spec"]["runtimeClassName"].as_str() else {
        return Ok(None);
    };
    let class = lookup::get(server, "node.k8s.io", "runtimeclasses", "", name);
    class.map(Some).ok_or_else(|| {
        let name = field::quote(name);
        attributes.forbidden(&format!("pod rejected: RuntimeClass {name} not found"))
    })
}

fn merged_selector(own: &Value, class: &Value) -> Result<Map<String, Value>, String> {
    let mut merged = own.as_object().cloned().unwrap_or_default();
    for (key, wanted) in class.as_object().into_iter().flatten() {
        if let Some(have) = merged.get(key).filter(|have| *have != wanted) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(wanted),
                text(have)
            ));
        }
        merged.insert(key.clone(), wanted.clone());
    }
    Ok(merged)
}

/// Both lists, without those that another one includes.
fn merged_tolerations(own: &Value, class: &Value) -> Vec<Value> {
    let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let all: Vec<Value> = items(own).into_iter().chain(items(class)).collect();
    let mut kept: Vec<Value> = Vec::new();
    for (i, toleration) in all.iter().enumerate() {
        let included = kept.iter().any(|k| includes(k, toleration))
            || all[i + 1..]
                .iter()
                .any(|later| later != toleration && includes(later, toleration));
        if !included {
            kept.push(toleration.clone());
        }
    }
    kept
}

/// Whether whatever the one tolerates, the other does.
fn includes(other: &Value, one: &Value) -> bool {
    let text = |t: &Value, member: &str| t[member].as_str().unwrap_or_default().to_owned();
    if other == one {
        return true;
    }
    let (key, effect) = (text(other, "key"), text(other, "effect"));
    let any_key = key.is_empty() && text(other, "operator") == "Exists";
    if !any_key && key != text(one, "key") || !effect.is_empty() && effect != text(one, "effect") {
        return false;
    }
    if effect == "NoExecute" {
        match (&other["tolerationSeconds"], &one["tolerationSeconds"]) {
            (Value::Null, _) => {}
            (Value::Number(_), Value::Null) => return false,
            (other, one) if one.as_i64() > other.as_i64() => return false,
            _ => {}
        }
    }
    let equals = |t: &Value| matches!(t["operator"].as_str(), None | Some("" | "Equal"));
    match other["operator"].as_str() {
        Some("Exists") => true,
        None | Some("" | "Equal") => equals(one) && other["value"] == one["value"],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_are_merged_without_what_others_include() {
        let exists = json!({"key": "a", "operator": "Exists"});
        let equal = json!({"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"});
        let (own, just_exists) = (json!([equal]), json!([exists]));
        let of = |merged: Vec<Value>| Value::from(merged);
        assert_eq!(of(merged_tolerations(&own, &just_exists)), just_exists);
        assert_eq!(of(merged_tolerations(&just_exists, &own)), just_exists);
        assert_eq!(of(merged_tolerations(&own, &own)), own);
    }

    #[test]
    fn selectors_conflict_with_upstreams_words() {
        let merged = merged_selector(&json!({"a": "x"}), &json!({"a": "y"}));
        assert_eq!(
            merged,
            Err("conflict: runtimeClass.scheduling.nodeSelector[a] = y; pod.spec.nodeSelector[a] = x".to_owned())
        );
    }
}
