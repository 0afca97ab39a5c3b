//! Admission policies: what their authors say about writes, in CEL.
//!
//! A policy is made ready once (`definition`) and kept by a [`crate::follow::Follow`]; bindings say where it holds,
//! and `params` finds what they parametrize it with. `scope` runs expressions, whose variables `env` declares;
//! `conditions` are the match conditions of policies and of webhooks. `validating` and `mutating` are the two plugins.
//!
//! Invariant: one evaluation of a binding costs at most a budget. Deliberately absent: the types of what a policy is
//! about (`status.typeChecking`), which a controller finds out upstream.

mod check;
pub mod conditions;
mod definition;
mod env;
mod mutating;
mod params;
mod scope;
mod validating;

use crate::admission::Attributes;
use crate::follow::Follow;
use karve_store::Store;
use std::sync::Arc;

pub use check::check;
pub use mutating::mutate;
pub use validating::validate;

use definition::{Bindings, Definitions};

/// The policies and bindings of both kinds.
pub struct Policies {
    validating: Follow<Arc<Definitions>>,
    validating_bindings: Follow<Arc<Bindings>>,
    mutating: Follow<Arc<Definitions>>,
    mutating_bindings: Follow<Arc<Bindings>>,
}

impl Policies {
    /// Of the objects of a store.
    pub fn new(store: &Store) -> Policies {
        Policies {
            validating: Follow::new(
                store.clone(),
                &["/admissionregistration.k8s.io/validatingadmissionpolicies/"],
            ),
            validating_bindings: Follow::new(
                store.clone(),
                &["/admissionregistration.k8s.io/validatingadmissionpolicybindings/"],
            ),
            mutating: Follow::new(
                store.clone(),
                &["/admissionregistration.k8s.io/mutatingadmissionpolicies/"],
            ),
            mutating_bindings: Follow::new(
                store.clone(),
                &["/admissionregistration.k8s.io/mutatingadmissionpolicybindings/"],
            ),
        }
    }
}

/// Policies have no say about themselves, nor about questions of who may do what.
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let resource = &attributes.call.resource;
    match (&*resource.group, &*resource.plural) {
        ("authentication.k8s.io", plural) => {
            matches!(plural, "tokenreviews" | "selfsubjectreviews")
        }
        ("authorization.k8s.io", plural) => plural.ends_with("reviews"),
        ("admissionregistration.k8s.io", plural) => matches!(
            plural,
            "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        ),
        _ => false,
    }
}
