//! The objects of one kind as facts, kept by a watch.

use std::collections::BTreeMap;

use karve_watch::{Notice, ObjectName};

/// The objects of one kind that concern us.
#[derive(Debug)]
pub(crate) struct Objects<T> {
    objects: BTreeMap<ObjectName, T>,
    complete: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<T: PartialEq> Objects<T> {
    /// Takes a notice in; returns which object is new, different or gone.
    pub(crate) fn take(&mut self, notice: Notice<T>) -> Option<ObjectName> {
        let (name, facts) = match notice {
            Notice::Changed(name, facts) => (name, facts),
            Notice::Complete => {
                self.complete = true;
                return None;
            }
        };
        if self.objects.get(&name) == facts.as_ref() {
            return None;
        }
        match facts {
            Some(facts) => self.objects.insert(name.clone(), facts),
            None => self.objects.remove(&name),
        };
        Some(name)
    }
}

impl<T> Objects<T> {
    /// Whether a whole list has come in.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// One object.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<&T> {
        self.objects.get(name)
    }

    /// All objects, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.objects.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_once() {
        let name = |name| ObjectName::new("default", name);
        let mut objects = Objects::default();
        let mut take = |object, facts| objects.take(Notice::Changed(name(object), facts));
        assert_eq!(take("a", Some(1)), Some(name("a")));
        assert_eq!(take("b", None), None, "does not concern us");
        assert_eq!(take("a", Some(1)), None, "no difference");
        assert_eq!(take("c", Some(3)), Some(name("c")));
        assert!(!objects.complete());
        assert_eq!(objects.take(Notice::Complete), None);
        assert!(objects.complete());
        assert_eq!(objects.get(&name("a")), Some(&1));
        for gone in ["a", "c"] {
            let told = objects.take(Notice::Changed(name(gone), None));
            assert_eq!(told, Some(name(gone)));
        }
        assert_eq!(objects.iter().count(), 0);
    }
}
