//! Merging an applied configuration into an object, and taking fields out of one.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::place::{Kind, Place};
use super::set::{FieldSet, member};
use crate::schema::Topology;

/// The object with the configuration merged into it: what the configuration says wins.
pub(super) fn merge(live: &Value, config: &Value, place: Place<'_>) -> Value {
    match (
        place.kind(Some(live)),
        place.kind(Some(config)),
        live,
        config,
    ) {
        (Kind::Members, Kind::Members, Value::Object(live), Value::Object(config))
            if !(live.is_empty() && config.is_empty()) =>
        {
            let mut merged = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(old) => merge(old, value, place.member(name)),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        // Null or nothing merges into what is there.
        (Kind::Members, Kind::Members, Value::Object(_), Value::Null) => live.clone(),
        (Kind::Items(topology), _, Value::Array(live), Value::Array(config))
            if !(live.is_empty() && config.is_empty()) =>
        {
            Value::Array(merge_items(live, config, topology, place))
        }
        (Kind::Items(_), _, Value::Array(live), Value::Null) if !live.is_empty() => {
            Value::Array(live.clone())
        }
        (_, _, _, config) => config.clone(),
    }
}

/// Items with their elements; an item without one has none.
fn elements(list: &[Value], topology: &Topology, place: Place<'_>) -> Vec<Option<Box<str>>> {
    list.iter()
        .map(|item| place.item_element(topology, item).ok())
        .collect()
}

/// Keeps the order of the configuration for the items that it names, and the order of the object for the rest.
fn merge_items(
    live: &[Value],
    config: &[Value],
    topology: &Topology,
    place: Place<'_>,
) -> Vec<Value> {
    let live_elements = elements(live, topology, place);
    let config_elements = elements(config, topology, place);
    let mut in_live: HashMap<&str, &Value> = HashMap::new();
    for (element, item) in live_elements.iter().zip(live) {
        if let Some(element) = element {
            in_live.entry(element).or_insert(item);
        }
    }
    let named: HashSet<&str> = config_elements.iter().flatten().map(|e| &**e).collect();
    let in_config = |element: &Option<Box<str>>| {
        element
            .as_deref()
            .is_some_and(|element| named.contains(element))
    };
    let merged_with_live = |i: usize| {
        let old = config_elements[i]
            .as_deref()
            .and_then(|element| in_live.get(element));
        old.map_or_else(
            || config[i].clone(),
            |old| merge(old, &config[i], place.element()),
        )
    };
    let mut shared = config_elements
        .iter()
        .flatten()
        .filter(|element| in_live.contains_key(&***element))
        .peekable();
    let mut out = Vec::with_capacity(live.len() + config.len());
    let (mut l, mut c) = (0, 0);
    while l < live.len() || c < config.len() {
        if l < live.len() && c < config.len() {
            if live_elements[l].is_some() && live_elements[l] == config_elements[c] {
                out.push(merged_with_live(c));
                (l, c) = (l + 1, c + 1);
                shared.next();
                continue;
            }
            // A shared item, but not the one whose turn it is: it comes where the configuration has it.
            if in_config(&live_elements[l])
                && shared
                    .peek()
                    .is_some_and(|next| Some(*next) != live_elements[l].as_ref())
            {
                l += 1;
                continue;
            }
        }
        if l < live.len() && !in_config(&live_elements[l]) {
            out.push(live[l].clone());
            l += 1;
            continue;
        }
        if c < config.len() {
            out.push(merged_with_live(c));
            if shared
                .peek()
                .is_some_and(|next| Some(*next) == config_elements[c].as_ref())
            {
                shared.next();
            }
            c += 1;
        } else {
            // Merged already, at its place in the configuration.
            l += 1;
        }
    }
    out
}

/// The object without the fields of a set. What becomes empty by that becomes null.
pub(super) fn remove(value: &Value, gone: &FieldSet, place: Place<'_>) -> Value {
    match (place.kind(Some(value)), value) {
        (Kind::Members, Value::Object(members)) => {
            let mut kept = Map::new();
            for (name, value) in members {
                let element = member(name);
                if gone.has(&element) {
                    continue;
                }
                let value = match gone.below(&element) {
                    Some(below) => remove(value, below, place.member(name)),
                    None => value.clone(),
                };
                kept.insert(name.clone(), value);
            }
            if kept.is_empty() {
                Value::Null
            } else {
                Value::Object(kept)
            }
        }
        (Kind::Items(topology), Value::Array(items)) => {
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                let element = place.item_element(topology, item).unwrap_or_default();
                if gone.has(&element) {
                    continue;
                }
                kept.push(match gone.below(&element) {
                    Some(below) => remove(item, below, place.element()),
                    None => item.clone(),
                });
            }
            if kept.is_empty() {
                Value::Null
            } else {
                Value::Array(kept)
            }
        }
        (Kind::Leaf, Value::Object(_) | Value::Array(_)) => Value::Null,
        (_, value) => value.clone(),
    }
}
