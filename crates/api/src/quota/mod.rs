//! What objects use of a ResourceQuota, and whether a request fits in it.
//!
//! Follows upstream's `pkg/quota/v1`. The API server asks [`check`] before it stores an object; the controller that keeps
//! a quota's status asks [`usage`] about all objects of the kinds in [`tracked`].
//!
//! Deliberately absent: quotas of extended resources that are backed by device classes.

mod check;
mod claims;
mod evaluator;
mod pods;
mod scopes;
mod services;

pub use check::{Request, check};
pub use evaluator::{Evaluator, tracked};
pub use scopes::matches as matches_scopes;

use jiff::Timestamp;
use serde_json::Value;

use crate::amounts::{self, Amounts};
use crate::quantity::Quantity;

/// What a quota's status should say is used, when these are all objects of the kind of `evaluator` in its namespace.
/// `hard` has the names that count.
pub fn usage<'a>(
    quota: &Value,
    hard: &[&str],
    evaluator: &Evaluator,
    objects: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
) -> Amounts {
    let names = evaluator.names(hard.iter().copied());
    let mut used: Amounts = names
        .iter()
        .map(|name| ((*name).to_owned(), Quantity::zero()))
        .collect();
    for object in objects {
        if scopes::matches(quota, |scope| evaluator.in_scope(scope, object)) {
            let own = evaluator.usage(object, now);
            amounts::add(&mut used, &own);
        }
    }
    used.retain(|name, _| names.contains(&name.as_str()));
    used
}

#[cfg(test)]
mod tests;
