//! Sets of fields, as `managedFields` hold them (KEP-555, `FieldsV1`).
//!
//! An element of a path is kept in its serialised form: `f:name` (a member), `k:{"name":"c"}` (an item by its keys),
//! `v:"x"` (an item of a set), `i:0` (a place). Texts of keys and values are canonical, so equal elements have equal
//! texts. Invariant: no entry is empty, so an empty set has no entries.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::encode;

/// How deep the sets of a client may nest.
const DEPTH_MAX: usize = 128;

/// A set of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet(BTreeMap<Box<str>, Entry>);

/// What a set says of one element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Entry {
    /// Whether the path that ends here is in the set.
    member: bool,
    /// The paths that go on.
    children: FieldSet,
}

impl FieldSet {
    /// A set of paths of member names.
    pub fn of_names(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            let Some((last, parents)) = path.split_last() else {
                continue;
            };
            let mut at = &mut set;
            for name in parents {
                at = &mut at.0.entry(member(name)).or_default().children;
            }
            at.0.entry(member(last)).or_default().member = true;
        }
        set
    }

    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an element with what lies below it; nothing happens when there is nothing to say.
    pub(super) fn attach(&mut self, element: Box<str>, member: bool, children: FieldSet) {
        if member || !children.is_empty() {
            self.0.insert(element, Entry { member, children });
        }
    }

    /// Whether the path of this one element is in the set.
    pub(super) fn has(&self, element: &str) -> bool {
        self.0.get(element).is_some_and(|entry| entry.member)
    }

    /// The paths behind an element.
    pub(super) fn below(&self, element: &str) -> Option<&FieldSet> {
        self.0
            .get(element)
            .map(|entry| &entry.children)
            .filter(|set| !set.is_empty())
    }

    /// The elements with their children; for functions that rebuild a set.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, bool, &FieldSet)> {
        self.0
            .iter()
            .map(|(element, entry)| (&**element, entry.member, &entry.children))
    }

    /// Paths of either.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut all = self.clone();
        for (element, entry) in &other.0 {
            let mine = all.0.entry(element.clone()).or_default();
            mine.member |= entry.member;
            mine.children = mine.children.union(&entry.children);
        }
        all
    }

    /// Paths of both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(
            other,
            |mine, theirs| mine && theirs,
            |mine, theirs| match theirs {
                Some(theirs) => mine.intersection(theirs),
                None => FieldSet::default(),
            },
        )
    }

    /// Paths of `self` that are not in `other`.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(
            other,
            |mine, theirs| mine && !theirs,
            |mine, theirs| match theirs {
                Some(theirs) => mine.difference(theirs),
                None => mine.clone(),
            },
        )
    }

    /// Paths of `self` that neither are in `other` nor lie below a path of it.
    pub fn without_trees(&self, other: &FieldSet) -> FieldSet {
        let mut rest = FieldSet::default();
        for (element, member, children) in self.entries() {
            match other.0.get(element) {
                Some(entry) if entry.member => {}
                Some(entry) => rest.attach(
                    element.into(),
                    member,
                    children.without_trees(&entry.children),
                ),
                None => rest.attach(element.into(), member, children.clone()),
            }
        }
        rest
    }

    fn combine(
        &self,
        other: &FieldSet,
        members: impl Fn(bool, bool) -> bool,
        children: impl Fn(&FieldSet, Option<&FieldSet>) -> FieldSet,
    ) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, entry) in &self.0 {
            let theirs = other.0.get(element);
            let member = members(entry.member, theirs.is_some_and(|t| t.member));
            out.attach(
                element.clone(),
                member,
                children(&entry.children, theirs.map(|t| &t.children)),
            );
        }
        out
    }

    /// All paths as upstream prints them (`.spec.ports[port=80].name`), shallow ones first.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        let printed = |element: &str| format!("{prefix}{}", print(element));
        paths.extend(
            self.0
                .iter()
                .filter(|(_, entry)| entry.member)
                .map(|(element, _)| printed(element)),
        );
        for (element, entry) in self
            .0
            .iter()
            .filter(|(_, entry)| !entry.children.is_empty())
        {
            entry.children.collect_paths(&printed(element), paths);
        }
    }

    /// As `fieldsV1` holds it.
    pub fn to_json(&self) -> Value {
        let members = self.0.iter().map(|(element, entry)| {
            let mut body = entry.children.to_json();
            // A path that ends here and also goes on needs a mark.
            if let (true, Value::Object(members)) =
                (entry.member && !entry.children.is_empty(), &mut body)
            {
                members.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (element.to_string(), body)
        });
        Value::Object(members.collect())
    }

    /// Reads `fieldsV1`; `None` when it is none.
    pub fn from_json(value: &Value) -> Option<FieldSet> {
        read(value, 0).map(|(_, set)| set)
    }
}

/// A set and whether the path to it is itself a member.
fn read(value: &Value, depth: usize) -> Option<(bool, FieldSet)> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (mut member, mut set) = (false, FieldSet::default());
    let members = value.as_object()?;
    for (name, inner) in members {
        if name == "." {
            member = true;
            continue;
        }
        let element = canonical(name)?;
        let (own, children) = read(inner, depth + 1)?;
        let leaf = inner.as_object().is_some_and(Map::is_empty);
        set.attach(element, own || leaf, children);
    }
    Some((member, set))
}

/// The element for a member name.
pub(super) fn member(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

/// The element for an item with keys.
pub(super) fn keyed(keys: Map<String, Value>) -> Box<str> {
    serialized('k', &Value::Object(keys))
}

/// The element for an item of a set.
pub(super) fn item(value: &Value) -> Box<str> {
    serialized('v', value)
}

fn serialized(kind: char, value: &Value) -> Box<str> {
    let json = encode::json(value, None);
    format!("{kind}:{}", String::from_utf8_lossy(&json)).into()
}

/// An element that a client wrote, in canonical form.
fn canonical(name: &str) -> Option<Box<str>> {
    let (kind, rest) = name.split_once(':')?;
    match kind {
        "f" => Some(name.into()),
        "i" => rest.parse::<i64>().ok().map(|i| format!("i:{i}").into()),
        "k" => serde_json::from_str::<Map<String, Value>>(rest)
            .ok()
            .map(keyed),
        "v" => serde_json::from_str(rest).ok().map(|value| item(&value)),
        _ => None,
    }
}

/// An element as upstream prints it in paths.
pub(super) fn print(element: &str) -> String {
    let (kind, rest) = element.split_once(':').unwrap_or(("f", element));
    match kind {
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<_> = keys
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
        "v" => format!("[={rest}]"),
        "i" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_survive_json_and_print_shallow_paths_first() {
        let fields = json!({"f:spec": {".": {}, "f:ports": {"k:{\"protocol\":\"TCP\",\"port\":80}": {".": {}, "f:name": {}}}, "f:type": {}},
            "f:metadata": {"f:finalizers": {"v:\"x/a\"": {}}}});
        let set = FieldSet::from_json(&fields).expect("a set");
        let canonical = json!({"f:spec": {".": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}, "f:type": {}},
            "f:metadata": {"f:finalizers": {"v:\"x/a\"": {}}}});
        assert_eq!(set.to_json(), canonical);
        assert_eq!(
            set.paths(),
            [
                ".spec",
                ".metadata.finalizers[=\"x/a\"]",
                ".spec.type",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].name",
            ]
        );
        assert_eq!(FieldSet::from_json(&json!({"x:y": {}})), None);
    }

    #[test]
    fn operations_treat_a_path_and_its_children_apart() {
        let all = FieldSet::of_names(&[&["a"], &["a", "b"], &["a", "c"], &["d"]]);
        let some = FieldSet::of_names(&[&["a", "b"], &["d"]]);
        assert_eq!(
            all.difference(&some),
            FieldSet::of_names(&[&["a"], &["a", "c"]])
        );
        assert_eq!(all.intersection(&some), some);
        assert_eq!(
            all.without_trees(&FieldSet::of_names(&[&["a"]])),
            FieldSet::of_names(&[&["d"]])
        );
        assert_eq!(some.union(&all), all);
        assert!(some.difference(&all).is_empty());
    }
}
