//! Server-side apply and the owners of fields (KEP-555).
//!
//! Every write passes here: [`update_managers`] notes what a create, an update or a patch changed; [`apply`] merges a
//! configuration, refuses to take other managers' fields unless forced, and drops what the manager no longer applies.
//! The rules are those of upstream's structured-merge-diff, driven by the schema. Absent: conversion between versions
//! (an entry of another version is kept as it is) and defaulting, which the caller does to the result.

mod compare;
mod managers;
mod merge;
mod place;
pub mod scale;
mod set;
mod unowned;
mod validate;

use std::collections::HashSet;

use serde_json::Value;

pub use self::managers::Operation;
pub use self::set::FieldSet;
pub use self::unowned::merge_unowned;

use self::compare::{Comparison, compare, fields, with_named_parents};
use self::managers::{Identity, Managers, Owned};
use self::place::Place;
use crate::decode::conform::conform_value;
use crate::resource::{GroupVersionKind, split_api_version};
use crate::schema::{Type, tidy};

/// kubectl's own record of what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who writes, and what of the object is not theirs to write.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// `apiVersion` of the endpoint.
    pub api_version: &'a str,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: &'a str,
    /// Now, in whole seconds, RFC 3339.
    pub time: &'a str,
    /// Fields that the endpoint resets, which nobody comes to own by it: `status` at the object, `spec` at `status`.
    pub reset: &'a FieldSet,
}

/// Why a configuration can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 400, BadRequest.
    #[error("{0}")]
    Malformed(String),
    /// 500: upstream did not foresee that the configuration is wrong.
    #[error("{0}")]
    Internal(String),
    /// 409, Conflict, with a cause for each field.
    #[error("{}", conflict_message(.0))]
    Conflict(Vec<Conflict>),
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The manager as texts name it: `"editor" using v1`.
    pub manager: String,
    /// `.data.a`
    pub field: String,
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.manager, only.field
        );
    }
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

/// Notes in `new`'s `managedFields` what a write other than apply changed. `old` is absent on create.
///
/// `new` must be in its stored form, as [`crate::schema::tidy`] makes it, with `managedFields` as the request had them.
pub fn update_managers(old: Option<&Value>, new: &mut Value, ty: Type<'_>, writer: &Writer<'_>) {
    let managers = managers_for_update(old, new, writer);
    Managers::default().write(new);
    // Objects whose managers were forgotten, or never known, stay so until somebody applies.
    if managers.is_empty() && old.is_some() {
        return;
    }
    let empty = zero(ty);
    let managers = update(
        old.unwrap_or(&empty),
        new,
        ty,
        managers,
        writer,
        writer.manager,
    );
    managers.write(new);
}

fn managers_for_update(old: Option<&Value>, new: &Value, writer: &Writer<'_>) -> Managers {
    let live = || old.and_then(Managers::read).unwrap_or_default();
    if !writer.subresource.is_empty() {
        return live();
    }
    if Managers::is_reset(new) {
        return Managers::default();
    }
    // Clients that don't know managedFields must not delete them by accident.
    Managers::read(new)
        .filter(|m| !m.is_empty())
        .unwrap_or_else(live)
}

/// An object of a type of which nothing is set, as Go's `New` makes it.
fn zero(ty: Type<'_>) -> Value {
    ty.fields()
        .map_or(Value::Null, |fields| tidy::zero_struct(fields, ty))
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    Managers::default().write(&mut object);
    object
}

fn update(
    old: &Value,
    new: &Value,
    ty: Type<'_>,
    mut managers: Managers,
    writer: &Writer<'_>,
    manager: &str,
) -> Managers {
    // The list of managers, which `new` has not yet, is nobody's and so not missed.
    let comparison = compare(old, new, Place::root(ty)).without_trees(writer.reset);
    take(&mut managers, &comparison, None, writer);
    let set = comparison
        .modified
        .union(&comparison.added)
        .difference(&stripped());
    if !set.is_empty() {
        let identity = Identity::new(
            manager,
            Operation::Update,
            writer.api_version,
            writer.subresource,
        );
        let set = managers
            .0
            .get(&identity)
            .map_or(set.clone(), |previous| previous.set.union(&set));
        let time = (!writer.time.is_empty()).then(|| writer.time.to_owned());
        managers.0.insert(
            identity,
            Owned {
                set,
                api_version: writer.api_version.to_owned(),
                time,
            },
        );
    }
    managers.cap();
    managers
}

/// Fields of the machinery, which nobody owns.
fn stripped() -> FieldSet {
    FieldSet::of_names(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

/// Takes changed and removed fields from all managers but one.
fn take(
    managers: &mut Managers,
    comparison: &Comparison,
    except: Option<&Identity>,
    writer: &Writer<'_>,
) {
    let changed = comparison
        .modified
        .union(&comparison.added)
        .union(&comparison.removed);
    for (identity, owned) in &mut managers.0 {
        if Some(identity) != except && owned.api_version == writer.api_version {
            owned.set = owned.set.difference(&changed);
        }
    }
    managers.0.retain(|_, owned| !owned.set.is_empty());
}

/// The fields that other managers would lose.
fn conflicts(
    managers: &Managers,
    comparison: &Comparison,
    applier: &Identity,
    writer: &Writer<'_>,
) -> Vec<Conflict> {
    let changed = comparison.modified.union(&comparison.added);
    let others = managers
        .0
        .iter()
        .filter(|(i, owned)| *i != applier && owned.api_version == writer.api_version);
    others
        .flat_map(|(identity, owned)| {
            let manager = identity.print();
            let lost = owned.set.intersection(&changed).paths();
            lost.into_iter().map(move |field| Conflict {
                manager: manager.clone(),
                field,
            })
        })
        .collect()
}

/// Applies a configuration, which is as the client wrote it, to an object. `live` is absent when it is created by that.
///
/// The answer is in its stored form with `managedFields`, without defaults. When the configuration changes nothing, the
/// answer is the live object, with owners as they are now.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    ty: Type<'_>,
    expected: &GroupVersionKind,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    check_kind(config, expected)?;
    if config
        .pointer("/metadata/managedFields")
        .is_some_and(|m| !m.is_null())
    {
        return Err(ApplyError::Malformed(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let place = Place::root(ty);
    validate::validate(config, place).map_err(|fault| {
        let name = |member: &str| {
            config
                .pointer(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (name("/metadata/namespace"), name("/metadata/name"));
        ApplyError::Internal(format!(
            "failed to create typed patch object ({namespace}/{name}; {expected}): {fault}"
        ))
    })?;
    let empty = zero(ty);
    let object = without_managers(live.unwrap_or(&empty));
    let mut managers = live
        .map(|live| {
            Managers::read(live)
                .ok_or_else(|| ApplyError::Internal("failed to decode managed fields".to_owned()))
        })
        .transpose()?
        .unwrap_or_default();
    if managers.is_empty() && live.is_some() {
        managers = update(
            &empty,
            &object,
            ty,
            managers,
            &Writer {
                subresource: "",
                reset: writer.reset,
                ..writer.clone()
            },
            "before-first-apply",
        );
    }
    match apply_to(&object, config, ty, managers.clone(), writer, force) {
        Err(ApplyError::Conflict(conflicts)) if writer.manager == "kubectl" => {
            let allowed = allowed_by_last_applied(&object, ty, writer).unwrap_or_default();
            let allowed: HashSet<String> = allowed.paths().into_iter().collect();
            let left: Vec<_> = conflicts
                .into_iter()
                .filter(|c| !allowed.contains(&c.field))
                .collect();
            match left.is_empty() {
                true => apply_to(&object, config, ty, managers, writer, true),
                false => Err(ApplyError::Conflict(left)),
            }
        }
        other => other,
    }
}

fn check_kind(config: &Value, expected: &GroupVersionKind) -> Result<(), ApplyError> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = split_api_version(text("apiVersion")).unwrap_or_default();
    match (group, version, text("kind")) == (&*expected.group, &*expected.version, &*expected.kind)
    {
        true => Ok(()),
        false => Err(ApplyError::Malformed(format!(
            "invalid object type: {group}/{version}, Kind={}",
            text("kind")
        ))),
    }
}

fn apply_to(
    live: &Value,
    config: &Value,
    ty: Type<'_>,
    mut managers: Managers,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    let place = Place::root(ty);
    let identity = Identity::new(
        writer.manager,
        Operation::Apply,
        writer.api_version,
        writer.subresource,
    );
    let last = managers.0.get(&identity).cloned();
    let set = fields(config, place).without_trees(writer.reset);
    let time = last.as_ref().and_then(|owned| owned.time.clone());
    managers.0.insert(
        identity.clone(),
        Owned {
            set,
            api_version: writer.api_version.to_owned(),
            time,
        },
    );
    let mut merged = merge::merge(live, config, place);
    if let Some(last) =
        last.filter(|last| !last.set.is_empty() && last.api_version == writer.api_version)
    {
        merged = prune(&merged, &managers, &last.set, writer, place);
    }
    let comparison = compare(live, &merged, place).without_trees(writer.reset);
    let found = conflicts(&managers, &comparison, &identity, writer);
    if !force && !found.is_empty() {
        return Err(ApplyError::Conflict(found));
    }
    take(&mut managers, &comparison, Some(&identity), writer);
    if let Some(owned) = managers.0.get_mut(&identity) {
        owned.set = owned.set.difference(&stripped());
        if merged != *live {
            owned.time = Some(writer.time.to_owned());
        }
        if owned.set.is_empty() {
            managers.0.remove(&identity);
        }
    }
    let mut object = match ty.schema().is_custom() {
        true => merged,
        false => {
            let conformed = conform_value(&merged, ty);
            conformed
                .map_err(|e| ApplyError::Internal(e.to_string()))?
                .value
        }
    };
    if writer.manager == "kubectl" {
        refresh_last_applied(&mut object, config);
    }
    managers.write(&mut object);
    Ok(object)
}

/// Takes away what the applier applied last time, does not apply now, and nobody else owns.
fn prune(
    merged: &Value,
    managers: &Managers,
    last: &FieldSet,
    writer: &Writer<'_>,
    place: Place<'_>,
) -> Value {
    let named = |set: &FieldSet| with_named_parents(set, place);
    let merged_set = named(&fields(merged, place));
    let pruned = merge::remove(merged, &named(last), place);
    // Back come the fields that anybody owns, the applier by its new configuration included.
    let same_version = managers
        .0
        .values()
        .filter(|owned| owned.api_version == writer.api_version);
    let owned = same_version.fold(FieldSet::default(), |all, owned| all.union(&owned.set));
    let kept = named(&fields(&pruned, place)).union(&named(&owned));
    let pruned = merge::remove(merged, &merged_set.difference(&kept), place);
    // Back come items that the applier never owned.
    let gone = merged_set
        .difference(&named(&fields(&pruned, place)))
        .intersection(&named(last));
    merge::remove(merged, &gone, place)
}

/// The fields that client-side apply set and nobody changed since: `kubectl apply --server-side` may take them.
fn allowed_by_last_applied(live: &Value, ty: Type<'_>, writer: &Writer<'_>) -> Option<FieldSet> {
    let text = live
        .get("metadata")?
        .get("annotations")?
        .get(LAST_APPLIED)?
        .as_str()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(writer.api_version) {
        return None;
    }
    let place = Place::root(ty);
    let comparison = compare(&last, live, place);
    let changed = comparison
        .modified
        .union(&comparison.added)
        .union(&comparison.removed);
    Some(fields(&last, place).difference(&changed))
}

/// Keeps kubectl's own record in step when kubectl applies by the server.
fn refresh_last_applied(object: &mut Value, config: &Value) {
    let Some(Value::String(record)) = object
        .pointer_mut("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration")
    else {
        return;
    };
    let mut config = config.clone();
    if let Some(annotations) = config
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    *record = format!("{config}\n");
}

#[cfg(test)]
mod tests;
