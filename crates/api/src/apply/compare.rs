//! What differs between two objects, and what an object says at all, as sets of fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::place::{Kind, Place};
use super::set::{FieldSet, member};
use crate::schema::Topology;

/// The fields that differ.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Comparison {
    /// Only in the old object.
    pub removed: FieldSet,
    /// In both, with different values.
    pub modified: FieldSet,
    /// Only in the new object.
    pub added: FieldSet,
}

impl Comparison {
    /// Without the fields below some paths.
    pub(super) fn without_trees(&self, ignored: &FieldSet) -> Comparison {
        Comparison {
            removed: self.removed.without_trees(ignored),
            modified: self.modified.without_trees(ignored),
            added: self.added.without_trees(ignored),
        }
    }

    fn attach(&mut self, element: Box<str>, change: Change, inner: Comparison) {
        self.removed
            .attach(element.clone(), change == Change::Removed, inner.removed);
        self.modified
            .attach(element.clone(), change == Change::Modified, inner.modified);
        self.added
            .attach(element, change == Change::Added, inner.added);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    Removed,
    Modified,
    Added,
}

fn change(old: Option<&Value>, new: Option<&Value>) -> Change {
    match (old, new) {
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (old, new) if old != new => Change::Modified,
        _ => Change::None,
    }
}

/// Compares two objects of a type.
pub(super) fn compare(old: &Value, new: &Value, place: Place<'_>) -> Comparison {
    match old == new {
        true => Comparison::default(),
        false => compare_at(Some(old), Some(new), place).1,
    }
}

/// What happened to the place itself, and to what lies below.
fn compare_at(old: Option<&Value>, new: Option<&Value>, place: Place<'_>) -> (Change, Comparison) {
    let inner = match (place.kind(old.or(new)), place.kind(new.or(old))) {
        (Kind::Members, Kind::Members) => {
            let (old, new) = (
                old.and_then(Value::as_object),
                new.and_then(Value::as_object),
            );
            let empty = old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty);
            (!empty).then(|| compare_members(old, new, place))
        }
        (Kind::Items(topology), _) => {
            let (old, new) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let empty = old.is_none_or(Vec::is_empty) && new.is_none_or(Vec::is_empty);
            (!empty).then(|| compare_items(old, new, topology, place))
        }
        _ => None,
    };
    match (inner, change(old, new)) {
        (None, change) => (change, Comparison::default()),
        // An object or list that is in both is not itself modified: its parts are.
        (Some(inner), Change::Modified) => (Change::None, inner),
        (Some(inner), change) => (change, inner),
    }
}

fn compare_members(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    place: Place<'_>,
) -> Comparison {
    let mut comparison = Comparison::default();
    let names = old.into_iter().flat_map(Map::keys);
    let fresh = new
        .into_iter()
        .flat_map(Map::keys)
        .filter(|name| !old.is_some_and(|old| old.contains_key(*name)));
    for name in names.chain(fresh) {
        let (old, new) = (old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)));
        if old != new {
            let (change, inner) = compare_at(old, new, place.member(name));
            comparison.attach(member(name), change, inner);
        }
    }
    comparison
}

/// Items by their path elements; items without one are not owned by anybody.
fn index<'v>(
    list: Option<&'v Vec<Value>>,
    topology: &Topology,
    place: Place<'_>,
) -> BTreeMap<Box<str>, Vec<&'v Value>> {
    let mut index: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for item in list.into_iter().flatten() {
        if let Ok(element) = place.item_element(topology, item) {
            index.entry(element).or_default().push(item);
        }
    }
    index
}

fn compare_items(
    old: Option<&Vec<Value>>,
    new: Option<&Vec<Value>>,
    topology: &Topology,
    place: Place<'_>,
) -> Comparison {
    let mut comparison = Comparison::default();
    let (old, new) = (index(old, topology, place), index(new, topology, place));
    let fresh = new.keys().filter(|element| !old.contains_key(*element));
    for element in old.keys().chain(fresh) {
        let (old, new) = (of(&old, element), of(&new, element));
        let (change, inner) = match (old, new) {
            (old, new) if old == new => continue,
            ([] | [_], [] | [_]) => {
                compare_at(old.first().copied(), new.first().copied(), place.element())
            }
            // Items that appear twice are owned like an atomic list.
            ([_, _, ..], [_, _, ..]) => (Change::Modified, Comparison::default()),
            ([_, _, ..], []) => (Change::Removed, Comparison::default()),
            ([_, _, ..], new) => (
                Change::Removed,
                compare_at(None, new.first().copied(), place.element()).1,
            ),
            ([], _) => (Change::Added, Comparison::default()),
            (old, _) => (
                Change::Added,
                compare_at(old.first().copied(), None, place.element()).1,
            ),
        };
        comparison.attach(element.clone(), change, inner);
    }
    comparison
}

fn of<'i, 'v>(index: &'i BTreeMap<Box<str>, Vec<&'v Value>>, element: &str) -> &'i [&'v Value] {
    index.get(element).map(Vec::as_slice).unwrap_or_default()
}

/// All fields that an object has.
pub(super) fn fields(value: &Value, place: Place<'_>) -> FieldSet {
    fields_at(value, place).1
}

/// Whether the place itself is a field, and the fields below.
fn fields_at(value: &Value, place: Place<'_>) -> (bool, FieldSet) {
    let mut set = FieldSet::default();
    match (place.kind(Some(value)), value) {
        (Kind::Leaf, _) => return (true, set),
        (Kind::Members, Value::Object(members)) => {
            for (name, value) in members {
                let (own, children) = fields_at(value, place.member(name));
                let bare = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                set.attach(
                    member(name),
                    own || bare || place.declared(name).is_none(),
                    children,
                );
            }
        }
        (Kind::Items(topology), Value::Array(items)) => {
            for (element, items) in index(Some(items), topology, place) {
                let children = match items.as_slice() {
                    [item] => fields_at(item, place.element()).1,
                    _ => FieldSet::default(),
                };
                set.attach(element, true, children);
            }
        }
        _ => {}
    }
    (false, set)
}

/// Adds the declared members that a set only passes through: removing `a.b` also concerns `a`.
pub(super) fn with_named_parents(set: &FieldSet, place: Place<'_>) -> FieldSet {
    let mut out = FieldSet::default();
    for (element, own, children) in set.entries() {
        let name = element.strip_prefix("f:");
        let declared = name.is_some_and(|name| place.declared(name).is_some());
        let inner = match name {
            Some(name) => place.member(name),
            None => place.element(),
        };
        out.attach(
            element.into(),
            own || (declared && !children.is_empty()),
            with_named_parents(children, inner),
        );
    }
    out
}
