//! Who may do what: one [`Authorizer`] for requests, reviews, escalation checks, policies and admission.
//!
//! `system:masters` may do everything; nodes are asked about by their graph ([`node`]), everybody by roles ([`rbac`]).
//! Nothing here waits: facts are indexed in memory ([`follow`]). Deliberately absent: a way to switch it off.

mod attributes;
mod node;
pub mod rbac;
mod request;

use karve_store::Store;
use parking_lot::RwLockReadGuard;
use serde_json::Value;

use crate::answer::Refusal;
use crate::follow::Follow;
use crate::identity::{Identity, MASTERS};
use crate::trail;

pub use attributes::{Attributes, Decision, Outcome};
pub(crate) use node::{Kind as NodeKind, is_node, refers_to};
pub use request::Request;

/// Answers who may do what. It is asked in memory and never waits.
#[derive(Debug)]
pub struct Authorizer {
    rbac: Follow<rbac::Rbac>,
    nodes: Follow<node::Graph>,
}

/// The rules of a user, as `SelfSubjectRulesReview` lists them.
pub struct Rules {
    /// Rules for resources.
    pub resource: Vec<Value>,
    /// Rules for paths.
    pub path: Vec<Value>,
    /// Whether there may be others.
    pub incomplete: bool,
    /// What went wrong on the way.
    pub error: Option<String>,
}

impl Authorizer {
    /// An authorizer that knows the objects of a store.
    pub fn new(store: Store) -> Authorizer {
        Authorizer {
            rbac: Follow::new(store.clone(), rbac::PREFIXES),
            nodes: Follow::new(store, node::PREFIXES),
        }
    }

    /// Whether it may be done, and why.
    pub fn decide(&self, asked: &Attributes<'_>) -> Outcome {
        if asked.user.in_group(MASTERS) {
            return Outcome::allow("");
        }
        let mut reasons = Vec::new();
        if is_node(asked.user) {
            let outcome = node::decide(asked, || self.nodes.read());
            if outcome.decision != Decision::NoOpinion {
                return outcome;
            }
            reasons
                .extend((!outcome.reason.is_empty()).then(|| format!("node: {}", outcome.reason)));
        }
        let outcome = self.rbac.read().decide(asked);
        if outcome.decision != Decision::NoOpinion {
            return outcome;
        }
        reasons.extend((!outcome.reason.is_empty()).then(|| format!("rbac: {}", outcome.reason)));
        Outcome::none(reasons.join("\n"))
    }

    /// Refuses what may not be done, with upstream's text.
    pub fn check(&self, asked: &Attributes<'_>) -> Result<(), Refusal> {
        let outcome = self.decide(asked);
        trail::decided(outcome.allowed(), &outcome.reason);
        match outcome.allowed() {
            true => Ok(()),
            false => Err(asked.forbidden(&outcome.reason).into()),
        }
    }

    /// All that a user may do in a namespace.
    pub fn rules(&self, user: &Identity, namespace: &str) -> Rules {
        let rbac = self.rbac.read();
        let (rules, error) = rbac.rules(user, namespace);
        let (resource, path): (Vec<&rbac::Rule>, _) =
            rules.into_iter().partition(|r| !r.resources.is_empty());
        let node = is_node(user);
        let unsupported = "node authorizer does not support user rule resolution".to_owned();
        let error = match (node, error) {
            (true, Some(other)) => Some(format!("[{unsupported}, {other}]")),
            (true, None) => Some(unsupported),
            (false, error) => error,
        };
        Rules {
            resource: resource.into_iter().map(rbac::Rule::shown).collect(),
            path: path
                .into_iter()
                .filter(|r| !r.urls.is_empty())
                .map(rbac::Rule::shown)
                .collect(),
            incomplete: node,
            error,
        }
    }

    /// Roles and bindings as of now.
    fn rbac(&self) -> RwLockReadGuard<'_, rbac::Rbac> {
        self.rbac.read()
    }
}
