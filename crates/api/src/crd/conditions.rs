//! The status of a CustomResourceDefinition: which names it has, and its conditions.
//!
//! A function of the definition and of the names that others of its group have; the server writes what it says. Absent:
//! `Terminating`, which belongs to deletion.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::props::Props;
use super::structural;
use super::validate::approval;
use super::validate::ca_bundle;
use crate::field::{Error, Path, quote};
use crate::time;

struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// The status that a definition should have; `None` when it has it. `others` are the definitions of the same group.
pub fn status<'v>(
    definition: &Value,
    others: impl IntoIterator<Item = &'v Value>,
    now: Timestamp,
) -> Option<Value> {
    let mut status = definition["status"].clone();
    let (accepted, names) = accept(definition, others);
    status["acceptedNames"] = accepted;
    let is_accepted = names.status == "True";
    set(&mut status, names, now);
    established(definition, &mut status, is_accepted, now);
    match structure(definition) {
        Some(condition) => set(&mut status, condition, now),
        None => remove(&mut status, "NonStructuralSchema"),
    }
    if let Some((status_word, reason, message)) = approval::condition(definition) {
        let kind = "KubernetesAPIApprovalPolicyConformant";
        let condition = Condition {
            kind,
            status: status_word,
            reason,
            message,
        };
        set(&mut status, condition, now);
    }
    (status != definition["status"]).then_some(status)
}

fn conditions(status: &mut Value) -> &mut Vec<Value> {
    let list = &mut status["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("just made so")
}

/// Sets a condition; its time changes with its status.
fn set(status: &mut Value, condition: Condition, now: Timestamp) {
    let list = conditions(status);
    let known = list.iter().position(|c| c["type"] == condition.kind);
    let at = known.unwrap_or_else(|| {
        list.push(json!({"type": condition.kind}));
        list.len() - 1
    });
    let old = &mut list[at];
    if old["status"] != condition.status || old["lastTransitionTime"].is_null() {
        old["lastTransitionTime"] = time::format(now).into();
    }
    old["status"] = condition.status.into();
    old["reason"] = condition.reason.into();
    old["message"] = condition.message.into();
}

fn remove(status: &mut Value, kind: &str) {
    if let Some(list) = status["conditions"].as_array_mut() {
        list.retain(|c| c["type"] != kind);
    }
}

/// Sets a condition of a definition's status from outside of this module: that it is being deleted.
pub fn terminating(
    status: &mut Value,
    status_word: &'static str,
    reason: &'static str,
    message: String,
    now: Timestamp,
) {
    let kind = "Terminating";
    let condition = Condition {
        kind,
        status: status_word,
        reason,
        message,
    };
    set(status, condition, now);
}

fn accept<'v>(
    definition: &Value,
    others: impl IntoIterator<Item = &'v Value>,
) -> (Value, Condition) {
    let (mut resources, mut kinds) = (HashSet::new(), HashSet::new());
    for other in others {
        let names = &other["status"]["acceptedNames"];
        let text = |name: &str| names[name].as_str().unwrap_or_default();
        resources.extend([text("plural"), text("singular")]);
        resources.extend(short_names(names));
        kinds.extend([text("kind"), text("listKind")]);
    }
    let wanted = &definition["spec"]["names"];
    let mut accepted = definition["status"]["acceptedNames"].clone();
    let own: Vec<String> = short_names(&accepted).map(str::to_owned).collect();
    let mut conflict = None;
    let check =
        |name: &str, own: &str, taken: &HashSet<&str>| match name != own && taken.contains(name) {
            true => Some(format!("{} is already in use", quote(name))),
            false => None,
        };
    let members = [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ];
    for (member, reason, taken) in members {
        let why = match member {
            "shortNames" => {
                let fresh = short_names(wanted).filter(|n| !own.iter().any(|o| o == n));
                aggregate(fresh.filter_map(|n| check(n, "", taken)).collect())
            }
            _ => {
                let wanted = wanted[member].as_str().unwrap_or_default();
                check(wanted, accepted[member].as_str().unwrap_or_default(), taken)
            }
        };
        match why {
            Some(why) => conflict = Some((reason, why)),
            None => copy(wanted, &mut accepted, member),
        }
    }
    copy(wanted, &mut accepted, "categories");
    let (status, reason, message) = match conflict {
        Some((reason, why)) => ("False", reason, why),
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
    };
    let condition = Condition {
        kind: "NamesAccepted",
        status,
        reason,
        message,
    };
    (accepted, condition)
}

fn short_names(names: &Value) -> impl Iterator<Item = &str> {
    let list = names["shortNames"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn copy(from: &Value, to: &mut Value, name: &str) {
    match from.get(name).filter(|v| !v.is_null()) {
        Some(value) => to[name] = value.clone(),
        None => {
            if let Some(members) = to.as_object_mut() {
                members.remove(name);
            }
        }
    }
}

/// Several errors as Go's aggregate shows them.
fn aggregate(mut texts: Vec<String>) -> Option<String> {
    let mut seen = HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
    match texts.len() {
        0 => None,
        1 => texts.pop(),
        _ => Some(format!("[{}]", texts.join(", "))),
    }
}

/// Once established, a definition stays so.
fn established(definition: &Value, status: &mut Value, names_accepted: bool, now: Timestamp) {
    let list = definition["status"]["conditions"].as_array();
    let old = list
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Established");
    if old.is_some_and(|c| c["status"] == "True") {
        return;
    }
    let webhook = &definition["spec"]["conversion"]["webhook"]["clientConfig"];
    let condition = |status, reason, message: &str| Condition {
        kind: "Established",
        status,
        reason,
        message: message.to_owned(),
    };
    let next = match names_accepted {
        false if old.is_some() => return,
        false => condition("False", "NotAccepted", "not all names are accepted"),
        true if ca_bundle(&webhook["caBundle"]).is_some() => condition(
            "False",
            "InvalidCABundle",
            "The conversion webhook CABundle is invalid",
        ),
        true => condition(
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
    };
    set(status, next, now);
}

/// Definitions from before schemas had to be structural.
fn structure(definition: &Value) -> Option<Condition> {
    let spec = &definition["spec"];
    let condition = |status, reason, message| Condition {
        kind: "NonStructuralSchema",
        status,
        reason,
        message,
    };
    let mut errors = Vec::new();
    let root = Path::root("spec");
    if spec["preserveUnknownFields"] == true {
        let path = root.field("preserveUnknownFields");
        errors.push(Error::invalid(&path, Value::from(true), "must be false"));
    }
    let versions = spec["versions"].as_array();
    for (i, version) in versions.into_iter().flatten().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_null() {
            continue;
        }
        let schema = Props::read(schema);
        if let Some(why) = structural::unsupported(&schema) {
            let name = version["name"].as_str().unwrap_or_default();
            let message = format!("failed to check validation schema for version {name}: {why}");
            return Some(condition("Unknown", "StructuralError", message));
        }
        let versions = root.field("versions");
        let version = versions.index(i);
        let holder = version.field("schema");
        errors.extend(structural::validate(
            &holder.field("openAPIV3Schema"),
            &schema,
        ));
    }
    let message = aggregate(errors.iter().map(ToString::to_string).collect())?;
    Some(condition("True", "Violations", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"metadata": {"name": format!("{plural}.e.com")}, "spec": {"group": "e.com",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]}})
    }

    fn summary(status: &Value) -> Vec<String> {
        let list = status["conditions"].as_array().expect("conditions");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        list.iter()
            .map(|c| {
                format!(
                    "{}={} {}: {}",
                    text(&c["type"]),
                    text(&c["status"]),
                    text(&c["reason"]),
                    text(&c["message"])
                )
            })
            .collect()
    }

    #[test]
    fn names_are_taken_once() {
        let now = Timestamp::UNIX_EPOCH;
        let mut first = definition("a", "A", &["x"]);
        first["status"] = status(&first, [], now).expect("a status");
        assert_eq!(
            summary(&first["status"]),
            [
                "NamesAccepted=True NoConflicts: no conflicts found",
                "Established=True InitialNamesAccepted: the initial names have been accepted"
            ]
        );
        assert_eq!(first["status"]["acceptedNames"]["shortNames"], json!(["x"]));
        assert_eq!(status(&first, [], now), None);
        let second = definition("b", "A", &["x", "y", "a"]);
        let conflicting = status(&second, [&first], now).expect("a status");
        assert_eq!(
            summary(&conflicting),
            [
                "NamesAccepted=False ListKindConflict: \"AList\" is already in use",
                "Established=False NotAccepted: not all names are accepted"
            ]
        );
        assert_eq!(conflicting["acceptedNames"]["plural"], "b");
        assert_eq!(conflicting["acceptedNames"].get("shortNames"), None);
    }
}
