//! Merging a configuration that nobody comes to own, as policies apply theirs.

use serde_json::Value;

use super::merge::merge;
use super::place::{Kind, Place};
use super::validate::validate;
use crate::schema::Type;

/// The object with the configuration merged into it. A configuration may not replace as a whole what it could not change
/// in part: atomic lists, maps and structs.
pub fn merge_unowned(live: &Value, config: &Value, ty: Type<'_>) -> Result<Value, String> {
    let place = Place::root(ty);
    validate(config, place)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut atomic = Vec::new();
    find_atomic(config, place, "", &mut atomic);
    match atomic.is_empty() {
        true => Ok(merge(live, config, place)),
        false => Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomic.join(", ")
        )),
    }
}

fn find_atomic(value: &Value, place: Place<'_>, path: &str, found: &mut Vec<String>) {
    match (place.kind(Some(value)), value) {
        (Kind::Leaf, Value::Array(_) | Value::Object(_)) => found.push(path.to_owned()),
        (Kind::Members, Value::Object(members)) => {
            for (name, value) in members {
                find_atomic(value, place.member(name), &format!("{path}.{name}"), found);
            }
        }
        (Kind::Items(topology), Value::Array(items)) => {
            for item in items {
                let element = place.item_element(topology, item).unwrap_or_default();
                let printed = super::set::print(&element);
                find_atomic(item, place.element(), &format!("{path}{printed}"), found);
            }
        }
        _ => {}
    }
}
