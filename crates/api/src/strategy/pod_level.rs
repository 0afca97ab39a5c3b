//! The resources of a Pod itself, completed when it is created (KEP-2837).
//!
//! Only a Pod that says something of them is completed, after admission, when all its containers are known: limits of
//! huge pages are the sum of the containers'; requests are the sum of the containers', or else the limit.

use crate::quantity::Quantity;
use crate::strategy::members;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Amounts by the names of resources.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

fn items<'a>(spec: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    spec.get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn amounts(container: &Value, member: &str) -> Amounts {
    let all = container["resources"]
        .get(member)
        .and_then(Value::as_object);
    let all = all.into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?)))
        .collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to
            .entry(name.clone())
            .or_insert_with(|| Quantity::from_int(0));
        *sum = sum.checked_add(amount).unwrap_or_else(|| sum.clone());
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let most = to.entry(name.clone()).or_insert_with(|| amount.clone());
        if *amount > *most {
            *most = amount.clone();
        }
    }
}

/// What all containers ask for at once: those that run together, or the hungriest step of the start (KEP-753). `member`
/// is `requests` or `limits`.
pub(crate) fn aggregate(spec: &Value, member: &str) -> Amounts {
    let mut running = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut running, &amounts(container, member));
    }
    let (mut sidecars, mut start) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        let own = amounts(container, member);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut start, &sidecars);
        } else {
            let mut step = sidecars.clone();
            add(&mut step, &own);
            raise(&mut start, &step);
        }
    }
    raise(&mut running, &start);
    running
}

fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Completes the resources of a new Pod.
pub(super) fn complete(spec: &mut Value) {
    let some = |spec: &Value, member: &str| {
        let all = spec["resources"].get(member).and_then(Value::as_object);
        all.is_some_and(|m| !m.is_empty())
    };
    if !some(spec, "limits") && !some(spec, "requests") {
        return;
    }
    let limits = aggregate(spec, "limits")
        .into_iter()
        .filter(|(name, _)| is_hugepages(name));
    fill(&mut spec["resources"], "limits", limits.collect());
    if !some(spec, "limits") {
        return;
    }
    let sums = aggregate(spec, "requests").into_iter();
    let sums = sums.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
    fill(&mut spec["resources"], "requests", sums.collect());
    let limits = amounts(
        &serde_json::json!({"resources": spec["resources"].clone()}),
        "limits",
    );
    let limits = limits
        .into_iter()
        .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory") || is_hugepages(name));
    fill(&mut spec["resources"], "requests", limits.collect());
}

fn fill(resources: &mut Value, member: &str, amounts: Amounts) {
    if amounts.is_empty() {
        return;
    }
    let own: &mut Map<String, Value> = members(&mut resources[member]);
    for (name, amount) in amounts {
        own.entry(name).or_insert_with(|| amount.to_string().into());
    }
}
