//! TaintNodesByCondition: a new Node is not ready until somebody says so.

use karve_api::defaults::admission as defaults;

use super::Attributes;

/// Adds the taint.
pub fn mutate(attributes: &mut Attributes<'_>) {
    if attributes.makes("", "nodes")
        && let Some(node) = &mut attributes.object
    {
        defaults::not_ready_taint(node);
    }
}
