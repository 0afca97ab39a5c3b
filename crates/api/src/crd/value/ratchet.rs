//! Which part of an old object a part of the new one comes from.
//!
//! Members correspond by name where the schema knows them, and items of lists of type `map` by their keys. Everything else
//! (items of atomic lists, members that the schema does not know) has no counterpart.

use serde_json::Value;

use crate::crd::props::Props;

/// A value with its old version.
#[derive(Clone, Copy)]
pub struct Old<'a> {
    /// The value now.
    pub new: &'a Value,
    old: &'a Value,
    schema: &'a Props,
}

impl<'a> Old<'a> {
    /// Two versions of one value.
    pub fn new(new: &'a Value, old: &'a Value, schema: &'a Props) -> Old<'a> {
        Old { new, old, schema }
    }

    /// The value before.
    pub fn value(self) -> &'a Value {
        self.old
    }

    /// The member of that name.
    pub fn key(self, name: &str) -> Option<Old<'a>> {
        let old = self.old.as_object()?.get(name)?;
        let new = self.new.as_object()?.get(name)?;
        let schema = self.schema.member(name)?;
        Some(Old { new, old, schema })
    }

    /// The item at that place of the new list.
    pub fn index(self, at: usize) -> Option<Old<'a>> {
        let olds = self.old.as_array()?;
        let new = self.new.as_array()?.get(at)?;
        if self.schema.list_type.as_deref() != Some("map") {
            return None;
        }
        let schema = self.schema.items.as_deref()?;
        let keys = &self.schema.list_map_keys;
        new.as_object()?;
        let old = olds
            .iter()
            .rev()
            .find(|old| old.is_object() && keys.iter().all(|key| old.get(key) == new.get(key)))?;
        let single = keys.len() == 1 && new.get(&keys[0]).is_none();
        (!single).then_some(Old { new, old, schema })
    }

    /// Whether nothing changed; the order of lists of type `map` does not count.
    pub fn is_unchanged(self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                let keyed = self.schema.list_type.as_deref() == Some("map");
                match keyed {
                    true => {
                        let same = |i| self.index(i).is_some_and(Old::is_unchanged);
                        new.len() == old.len() && (0..new.len()).all(same)
                    }
                    false => new == old,
                }
            }
            (Value::Object(new), Value::Object(old)) => {
                let same = |name: &String| self.key(name).is_some_and(Old::is_unchanged);
                new.len() == old.len() && new.keys().all(same)
            }
            (new, old) => new == old,
        }
    }
}
