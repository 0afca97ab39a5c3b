//! StorageObjectInUseProtection: volumes, claims and attributes classes get a finalizer.

use karve_api::defaults::admission as defaults;

use super::{Attributes, Operation};

/// Adds the finalizer.
pub fn mutate(attributes: &mut Attributes<'_>) {
    if attributes.operation == Operation::Create
        && attributes.call.path.subresource.is_empty()
        && let Some(object) = &mut attributes.object
    {
        defaults::storage_protection(&attributes.call.resource, object);
    }
}
