//! Lists of strategic merge patches, merged as upstream does: each item is compared with every other. It is slow, short
//! and plain, so what is fast is measured against it.

use serde_json::Value;

use super::super::PatchError;
use super::super::strategic::{merge_map, missing_key, unknown_directive};
use crate::schema::Type;

fn same(key: Option<&str>, a: &Value, b: &Value) -> bool {
    match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn index(key: Option<&str>, list: &[Value], item: &Value) -> Option<usize> {
    list.iter().position(|other| same(key, other, item))
}

/// Of [`super::super::order::arrange`].
pub fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut patch, mut server): (Vec<_>, Vec<_>) = merged
        .into_iter()
        .partition(|item| index(key, patch_order, item).is_some());
    patch.sort_by_key(|item| index(key, patch_order, item).unwrap_or(usize::MAX));
    server.sort_by_key(|item| index(key, server_order, item).unwrap_or(usize::MAX));
    let mut all = Vec::new();
    let (mut left, mut right) = (server.into_iter().peekable(), patch.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => {
                match (index(key, server_order, l), index(key, server_order, r)) {
                    (Some(l), Some(r)) => l < r,
                    _ => false,
                }
            }
        };
        all.extend(if take_left { left.next() } else { right.next() });
    }
}

/// Of `strategic::server_order`.
pub fn server_order(old: &[Value], new: &[Value], key: &str) -> Result<Vec<Value>, PatchError> {
    let (rest, plain) = special_items(old.to_vec(), new.to_vec(), key)?;
    if rest.len() == old.len() || plain.is_empty() {
        return Ok(old.to_vec());
    }
    let added: Vec<_> = plain
        .into_iter()
        .filter(|item| !rest.iter().any(|r| same(Some(key), r, item)))
        .collect();
    Ok(rest.into_iter().chain(added).take(old.len()).collect())
}

/// Of `strategic::merge_list`, for a list that is merged.
pub fn merge_list(
    old: Vec<Value>,
    new: Vec<Value>,
    key: Option<&str>,
    item: Option<Type<'_>>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if deletes {
        return Ok(old.into_iter().filter(|item| !new.contains(item)).collect());
    }
    let Some(key) = key else {
        let mut merged: Vec<Value> = Vec::new();
        for item in old.iter().chain(&new) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(arrange(merged, &new, &old, None));
    };
    let (old, new) = special_items(old, new, key)?;
    let merged = merge_items(old.clone(), &new, key, item)?;
    Ok(arrange(merged, &new, &old, Some(key)))
}

fn special_items(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut plain, mut replace) = (Vec::new(), false);
    for item in new {
        match item.get("$patch").map(super::super::go_print).as_deref() {
            None => plain.push(item),
            Some("delete") => {
                let value = item.get(key).ok_or_else(|| missing_key(&item, key))?;
                old.retain(|other| other.get(key) != Some(value));
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
                    item.as_object().expect("it has a member"),
                ));
            }
        }
    }
    Ok(match replace {
        true => (plain, Vec::new()),
        false => (old, plain),
    })
}

fn merge_items(
    mut old: Vec<Value>,
    new: &[Value],
    key: &str,
    item_type: Option<Type<'_>>,
) -> Result<Vec<Value>, PatchError> {
    for item in new {
        let value = item.get(key).ok_or_else(|| missing_key(item, key))?;
        match old.iter_mut().find(|other| other.get(key) == Some(value)) {
            Some(Value::Object(found)) => {
                let patch = item.as_object().cloned().unwrap_or_default();
                *found = merge_map(std::mem::take(found), patch, item_type)?;
            }
            _ => old.push(item.clone()),
        }
    }
    Ok(old)
}
