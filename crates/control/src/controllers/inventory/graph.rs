//! Objects and who owns them.

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::watch::Key;

/// Waits for dependents before it goes.
pub(in crate::controllers) const FOREGROUND: &str = "foregroundDeletion";
/// Lets its dependents go their own way.
pub(in crate::controllers) const ORPHAN: &str = "orphan";

/// What ownership needs to know of an object.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::controllers) struct Object {
    pub(in crate::controllers) uid: String,
    /// Number of the kind in the inventory.
    pub(in crate::controllers) resource: usize,
    pub(in crate::controllers) key: Key,
    pub(in crate::controllers) owners: Vec<OwnerReference>,
    pub(in crate::controllers) deleting: bool,
    /// Has the finalizer [`FOREGROUND`].
    pub(in crate::controllers) foreground: bool,
    /// Has the finalizer [`ORPHAN`].
    pub(in crate::controllers) orphan: bool,
}

fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|one| one == name)
}

impl Object {
    pub(super) fn new(resource: usize, meta: &ObjectMeta) -> Self {
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            resource,
            key: Key::new(
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default(),
            ),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has_finalizer(meta, FOREGROUND),
            orphan: has_finalizer(meta, ORPHAN),
        }
    }

    /// True if this metadata says nothing new.
    pub(super) fn is_as(&self, meta: &ObjectMeta) -> bool {
        self.deleting == meta.deletion_timestamp.is_some()
            && self.foreground == has_finalizer(meta, FOREGROUND)
            && self.orphan == has_finalizer(meta, ORPHAN)
            && self.owners == meta.owner_references.as_deref().unwrap_or_default()
    }

    /// It is being deleted, after its dependents.
    pub(in crate::controllers) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    pub(in crate::controllers) fn is_blocked_by(&self, dependent: &Self) -> bool {
        let mut owners = dependent.owners.iter();
        owners.any(|owner| owner.uid == self.uid && owner.block_owner_deletion == Some(true))
    }
}

/// All objects by UID.
#[derive(Debug, Default)]
pub(in crate::controllers) struct Graph {
    objects: HashMap<String, Object>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(in crate::controllers) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    pub(in crate::controllers) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Object> {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents.filter_map(|uid| self.objects.get(uid))
    }

    pub(in crate::controllers) fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    pub(super) fn insert(&mut self, object: Object) {
        self.remove(&object.uid);
        for owner in &object.owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(object.uid.clone());
        }
        self.objects.insert(object.uid.clone(), object);
    }

    pub(super) fn remove(&mut self, uid: &str) -> Option<Object> {
        let object = self.objects.remove(uid)?;
        for owner in &object.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(object)
    }

    /// Objects of a kind that are not among `listed`.
    pub(super) fn others(&self, resource: usize, listed: &HashSet<String>) -> Vec<String> {
        let of_kind = self
            .objects
            .values()
            .filter(|object| object.resource == resource);
        let gone = of_kind.filter(|object| !listed.contains(&object.uid));
        gone.map(|object| object.uid.clone()).collect()
    }
}
