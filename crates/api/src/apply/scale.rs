//! Who owns the replicas, seen through the Scale of an object.
//!
//! A Scale has one field that anybody owns, `spec.replicas`. Its owners are the owners of the object's replicas, under
//! the Scale's version; what an apply to the Scale decides goes back to the object the same way.

use serde_json::Value;

use super::managers::{Managers, Owned};
use super::set::FieldSet;

const SCALE: &str = "autoscaling/v1";

fn replicas() -> FieldSet {
    FieldSet::of_names(&[&["spec", "replicas"]])
}

/// Gives a Scale the managers that own the replicas of its object.
pub fn show_owners(object: &Value, scale: &mut Value, api_version: &str) {
    let managers = Managers::read(object).unwrap_or_default();
    let mut shown = Managers::default();
    for (identity, owned) in managers.0 {
        let owns =
            owned.api_version == api_version && !owned.set.intersection(&replicas()).is_empty();
        if owns {
            let identity = identity.of_version(SCALE);
            let owned = Owned {
                set: replicas(),
                api_version: SCALE.to_owned(),
                time: owned.time,
            };
            shown.0.insert(identity, owned);
        }
    }
    shown.write(scale);
}

/// Gives an object the owners of its replicas that a Scale has now.
pub fn take_owners(object: &mut Value, scale: &Value, api_version: &str) {
    let mut managers = Managers::read(object).unwrap_or_default();
    let wanted = Managers::read(scale).unwrap_or_default();
    for owned in managers.0.values_mut() {
        if owned.api_version == api_version {
            owned.set = owned.set.difference(&replicas());
        }
    }
    for (identity, owned) in wanted.0 {
        let identity = identity.of_version(api_version);
        let entry = managers.0.entry(identity).or_insert_with(|| Owned {
            set: FieldSet::default(),
            api_version: api_version.to_owned(),
            time: None,
        });
        entry.set = entry.set.union(&replicas());
        entry.time = owned.time;
    }
    managers.0.retain(|_, owned| !owned.set.is_empty());
    managers.write(object);
}
