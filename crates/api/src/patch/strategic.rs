//! Strategic merge patch: a merge patch that knows which lists are merged by which member.
//!
//! The directives are `$patch` (`replace`, `delete`), `$retainKeys`, `$deleteFromPrimitiveList/NAME` and
//! `$setElementOrder/NAME`. Recursion is bounded by the depth of the patch.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::order::{Identity, arrange};
use super::{PatchError, go_print};
use crate::schema::{Field, Type};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

/// Applies a patch, which is consumed, to an object.
pub(super) fn apply(object: &Value, patch: &mut Value, ty: Type<'_>) -> Result<Value, PatchError> {
    let original = object.as_object().cloned().unwrap_or_default();
    let patch = patch
        .as_object_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    merge_map(original, patch, Some(ty)).map(Value::Object)
}

/// A field of a struct type; members of free maps have none.
fn field_of<'a>(ty: Option<Type<'a>>, name: &str) -> (Option<&'a Field>, Option<Type<'a>>) {
    let Some(ty) = ty else { return (None, None) };
    match ty.field(name) {
        Some((field, inner)) => (Some(field), Some(inner)),
        None => (None, ty.fields().is_none().then(|| ty.element()).flatten()),
    }
}

fn replaces(ty: Option<Type<'_>>, name: &str) -> bool {
    field_of(ty, name)
        .0
        .is_some_and(|field| field.extra().strategy.replace)
}

pub(super) fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    ty: Option<Type<'_>>,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(PATCH) {
        None => {}
        Some(Value::String(word)) if word == "replace" => {
            patch.remove(PATCH);
            return Ok(patch);
        }
        Some(Value::String(word)) if word == "delete" => return Ok(Map::new()),
        Some(other) => return Err(unknown_directive(&go_print(other), &patch)),
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_order(&mut original, &mut patch, ty)?;
    for (key, value) in patch {
        let (name, deletes) = match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => (list_name(rest)?, true),
            None => (&*key, false),
        };
        if value.is_null() {
            original.remove(name);
            continue;
        }
        let merged = match (original.remove(name), value) {
            (Some(Value::Object(_)), Value::Object(new)) if replaces(ty, name) => {
                Some(Value::Object(new))
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                Some(Value::Object(merge_map(old, new, field_of(ty, name).1)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Some(Value::Array(merge_list(old, new, ty, name, deletes)?))
            }
            (old, _) if deletes => old,
            (_, new) => without_directives(without_nulls(new)),
        };
        original.extend(merged.map(|value| (name.to_owned(), value)));
    }
    Ok(original)
}

pub(super) fn unknown_directive(word: &str, patch: &Map<String, Value>) -> PatchError {
    let map = go_print(&Value::Object(patch.clone()));
    PatchError::Internal(format!("unknown patch type: {word} in map: {map}"))
}

/// `NAME` of `$directive/NAME`.
fn list_name(rest: &str) -> Result<&str, PatchError> {
    let name = rest.strip_prefix('/').filter(|name| !name.is_empty());
    name.ok_or_else(|| PatchError::Malformed("invalid patch format of primitive list".to_owned()))
}

/// Removes what `$retainKeys` does not name.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let bad = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let keys = keys.as_array().ok_or_else(bad)?;
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let named = |name: &str| keys.contains(name);
    let directive =
        |name: &str| name.starts_with(DELETE_FROM_LIST) || name.starts_with(ELEMENT_ORDER);
    if patch
        .iter()
        .any(|(name, value)| !value.is_null() && !directive(name) && !named(name))
    {
        return Err(bad());
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// Merges each list that has an order by `$setElementOrder` and arranges it.
fn set_element_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    ty: Option<Type<'_>>,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|k| k.starts_with(ELEMENT_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return Err(wrong_type(other.as_ref())),
        };
        let name = list_name(&directive[ELEMENT_ORDER.len()..])?;
        let key = field_of(ty, name)
            .0
            .and_then(|f| f.extra().strategy.key.as_deref());
        let identity = Identity(key);
        let old = list_of(original.get(name))?;
        let new = list_of(patch.get(name))?;
        check_order(new.as_deref().unwrap_or_default(), &order, identity)?;
        let server_order = server_order(old.as_deref(), new.as_deref(), key)?;
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) => merge_list(old, new, ty, name, false)?,
        };
        original.insert(
            name.to_owned(),
            Value::Array(arrange(merged, &order, &server_order, identity)),
        );
        patch.remove(name);
    }
    Ok(())
}

/// The object's own order, in which the items that only it has are put between those of the patch.
///
/// When the patch deletes items and adds others, upstream's in-place merge lets the added ones take the places of the
/// deleted ones, at the end; clients that rename an item see that order.
pub(super) fn server_order(
    old: Option<&[Value]>,
    new: Option<&[Value]>,
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let old = old.unwrap_or_default().to_vec();
    let (Some(new), Some(key)) = (new, key) else {
        return Ok(old);
    };
    let length = old.len();
    let (rest, plain) = special_items(old.clone(), new.to_vec(), key)?;
    if rest.len() == length || plain.is_empty() {
        return Ok(old);
    }
    let known: HashSet<&Value> = rest.iter().filter_map(|item| item.get(key)).collect();
    let added: Vec<_> = plain
        .into_iter()
        .filter(|item| !item.get(key).is_some_and(|value| known.contains(value)))
        .collect();
    Ok(rest.into_iter().chain(added).take(length).collect())
}

fn list_of(value: Option<&Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        other => Err(wrong_type(other)),
    }
}

fn wrong_type(value: Option<&Value>) -> PatchError {
    let word = match value {
        Some(Value::Object(_)) => "map[string]interface {}",
        Some(Value::String(_)) => "string",
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(_)) => "int64",
        _ => "<nil>",
    };
    PatchError::Internal(format!(
        "expected a []interface {{}}, but received a {word}"
    ))
}

/// The patch's own items must follow the order that the patch sets.
fn check_order(patch: &[Value], order: &[Value], identity: Identity<'_>) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let is = |item: &Value, word: Option<&str>| match item.get(PATCH) {
        Some(directive) => identity.0.is_some() && word.is_none_or(|word| directive == word),
        None => false,
    };
    let mut items = patch
        .iter()
        .filter(|item| !is(item, Some("delete")))
        .peekable();
    let mut places = order.iter().peekable();
    // A directive is skipped only while places are left: so upstream.
    while let (Some(item), Some(place)) = (items.peek(), places.peek()) {
        if is(item, None) {
            items.next();
            continue;
        }
        if identity.same(item, place) {
            items.next();
        }
        places.next();
    }
    if items.peek().is_none() {
        return Ok(());
    }
    let print = |list: &[Value]| go_print(&Value::Array(list.to_vec()));
    Err(PatchError::Internal(format!(
        "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
        print(patch),
        print(order)
    )))
}

pub(super) fn merge_list(
    old: Vec<Value>,
    new: Vec<Value>,
    ty: Option<Type<'_>>,
    name: &str,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    let (field, list) = field_of(ty, name);
    let strategy = field.map(|f| &f.extra().strategy);
    if !deletes && !strategy.is_some_and(|s| s.merge) {
        return Ok(new);
    }
    if deletes {
        let gone: HashSet<&Value> = new.iter().collect();
        return Ok(old.into_iter().filter(|i| !gone.contains(i)).collect());
    }
    let of_maps = old.iter().chain(&new).any(Value::is_object);
    if !of_maps {
        let mut seen = HashSet::with_capacity(old.len() + new.len());
        let once = old.iter().chain(&new).filter(|item| seen.insert(*item));
        let merged = once.cloned().collect();
        return Ok(arrange(merged, &new, &old, Identity(None)));
    }
    let Some(key) = strategy.and_then(|s| s.key.as_deref()) else {
        return Err(PatchError::Internal(format!(
            "cannot merge lists without merge key for {name}"
        )));
    };
    let (old, new) = special_items(old, new, key)?;
    let merged = merge_items(old.clone(), &new, key, list.and_then(Type::element))?;
    Ok(arrange(merged, &new, &old, Identity(Some(key))))
}

pub(super) fn missing_key(item: &Value, key: &str) -> PatchError {
    PatchError::Internal(format!(
        "map: {} does not contain declared merge key: {key}",
        go_print(item)
    ))
}

/// Carries out the items that are directives: what is left of the object's list, and the patch's plain items.
fn special_items(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(new.len());
    let mut gone = HashSet::new();
    let mut replace = false;
    for item in new {
        match item.get(PATCH).map(go_print).as_deref() {
            None => plain.push(item),
            Some("delete") => {
                let value = item.get(key).ok_or_else(|| missing_key(&item, key))?;
                gone.insert(value.clone());
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::Internal(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => {
                return Err(unknown_directive(
                    other,
                    item.as_object().unwrap_or(&Map::new()),
                ));
            }
        }
    }
    if !gone.is_empty() {
        old.retain(|item| !item.get(key).is_some_and(|value| gone.contains(value)));
    }
    Ok(if replace {
        (plain, Vec::new())
    } else {
        (old, plain)
    })
}

fn merge_items(
    mut old: Vec<Value>,
    new: &[Value],
    key: &str,
    ty: Option<Type<'_>>,
) -> Result<Vec<Value>, PatchError> {
    let mut places: HashMap<Value, VecDeque<usize>> = HashMap::with_capacity(old.len());
    for (i, item) in old.iter().enumerate() {
        if let Some(value) = item.get(key) {
            places.entry(value.clone()).or_default().push_back(i);
        }
    }
    for item in new {
        let value = item.get(key).ok_or_else(|| missing_key(item, key))?;
        let places = places.entry(value.clone()).or_default();
        let found = places.front().and_then(|place| old.get_mut(*place));
        let Some(Value::Object(found)) = found else {
            // As it is, directives inside included: so upstream.
            places.push_back(old.len());
            old.push(item.clone());
            continue;
        };
        let patch = item.as_object().cloned().unwrap_or_default();
        *found = merge_map(std::mem::take(found), patch, ty)?;
        // A key that is null takes itself away.
        if found.get(key) != Some(value) {
            places.pop_front();
        }
    }
    Ok(old)
}

/// A value that is new to the object has no nulls to remove anything by.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(name, value)| (name, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// A value that is new to the object, without the objects in it that are directives; `None` when it is one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) if members.contains_key(PATCH) => None,
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(
            items.into_iter().filter_map(without_directives).collect(),
        )),
        other => Some(other),
    }
}
