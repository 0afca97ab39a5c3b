//! What an authorizer is asked about, and what it answers.
//!
//! Verbs are free text, since reviews, escalation checks and policies ask about verbs that no request has (`use`,
//! `bind`, `impersonate`).

use karve_api::selector::{FieldSelector, LabelSelector};
use karve_api::status::{Denied, Status};

use crate::identity::Identity;

/// May a user do something?
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a Identity,
    /// The API verb, or the HTTP method in lower case for a path that is no resource.
    pub verb: &'a str,
    /// Whether it is about a resource; else it is about [`Attributes::path`].
    pub resource_request: bool,
    /// Group of the resource.
    pub group: &'a str,
    /// Version of the group.
    pub version: &'a str,
    /// Plural of the resource.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// Empty at the cluster scope, or for all namespaces. A namespace is in itself.
    pub namespace: &'a str,
    /// Path of the request.
    pub path: &'a str,
    /// The field selector; absent when there is none, or one that nobody understands.
    pub fields: Option<&'a FieldSelector>,
    /// The label selector; absent when there is none, or one that nobody understands.
    pub labels: Option<&'a LabelSelector>,
}

impl<'a> Attributes<'a> {
    /// About all objects of a resource; the rest is for the caller to fill in.
    pub fn resource(
        user: &'a Identity,
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
    ) -> Attributes<'a> {
        Attributes {
            resource_request: true,
            group,
            resource,
            ..Attributes::path(user, verb, "")
        }
    }

    /// About a path that is no resource.
    pub fn path(user: &'a Identity, verb: &'a str, path: &'a str) -> Attributes<'a> {
        Attributes {
            user,
            verb,
            resource_request: false,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            name: "",
            namespace: "",
            path,
            fields: None,
            labels: None,
        }
    }

    /// Whether it changes nothing.
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }

    /// 403 with upstream's text.
    pub fn forbidden(&self, reason: &str) -> Status {
        if !self.resource_request {
            let shown = if self.path.is_empty() { "/" } else { self.path };
            return Status::forbidden_path(&self.user.user, self.verb, shown, reason);
        }
        Status::forbidden_resource(Denied {
            user: &self.user.user,
            verb: self.verb,
            group: self.group,
            resource: self.resource,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            reason,
        })
    }
}

/// What an authorizer makes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may be done, and nobody else is asked.
    Allow,
    /// It may not be done, and nobody else is asked.
    Deny,
    /// Somebody else may know; when nobody does, it may not be done.
    NoOpinion,
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision.
    pub decision: Decision,
    /// Why, for people; may be empty.
    pub reason: String,
    /// What went wrong on the way; may be empty.
    pub error: String,
}

impl Outcome {
    /// Allowed, because of `reason`.
    pub fn allow(reason: impl Into<String>) -> Outcome {
        Outcome {
            decision: Decision::Allow,
            reason: reason.into(),
            error: String::new(),
        }
    }

    /// No opinion, because of `reason`.
    pub fn none(reason: impl Into<String>) -> Outcome {
        Outcome {
            decision: Decision::NoOpinion,
            ..Outcome::allow(reason)
        }
    }

    /// Whether it is allowed.
    pub fn allowed(&self) -> bool {
        self.decision == Decision::Allow
    }
}
