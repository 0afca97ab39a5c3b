//! What a node's agent may do: its own objects, and what its pods refer to.
//!
//! Upstream's node authorizer with its reasons. What a node may write into its objects is the matter of admission
//! (NodeRestriction), which sees them.

mod graph;
mod refers;

use std::ops::Deref;
use std::sync::OnceLock;

use karve_api::selector::FieldSelector;

use super::rbac::{Rule, bootstrap_policy};
use super::{Attributes, Outcome};
use crate::identity::Identity;

pub use graph::{Graph, Kind, PREFIXES};
pub use refers::of_spec as refers_to;

const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";

/// Whether the user is a node's agent.
pub fn is_node(user: &Identity) -> bool {
    user.user.starts_with(PREFIX) && user.in_group(NODES)
}

/// The answer to a node's agent; `graph` is asked for when it matters.
pub fn decide<G: Deref<Target = Graph>>(
    asked: &Attributes<'_>,
    graph: impl FnOnce() -> G,
) -> Outcome {
    let node = asked.user.user.strip_prefix(PREFIX).unwrap_or_default();
    if node.is_empty() {
        let user = karve_api::field::quote(&asked.user.user);
        return Outcome::none(format!("unknown node for user {user}"));
    }
    let own = Question { node, asked };
    if !asked.resource_request {
        return own.by_rules();
    }
    match (asked.group, asked.resource) {
        ("", "secrets") => own.read_one(Kind::Secret, graph),
        ("", "configmaps") => own.read_one(Kind::ConfigMap, graph),
        ("", "persistentvolumeclaims") if asked.subresource == "status" => own.claim_status(graph),
        ("", "persistentvolumeclaims") => own.get(Kind::Claim, graph),
        ("", "persistentvolumes") => own.get(Kind::Volume, graph),
        ("resource.k8s.io", "resourceclaims") => own.get(Kind::ResourceClaim, graph),
        ("storage.k8s.io", "volumeattachments") => own.get(Kind::Attachment, graph),
        ("", "serviceaccounts") => own.service_account(graph),
        ("coordination.k8s.io", "leases") => own.lease(),
        ("storage.k8s.io", "csinodes") => own.csi_node(),
        ("resource.k8s.io", "resourceslices") => own.slice(graph),
        ("", "nodes") => own.nodes(),
        ("", "pods") => own.pods(graph),
        ("certificates.k8s.io", "podcertificaterequests") => own.certificate_request(graph),
        _ => own.by_rules(),
    }
}

/// The rules of the role `system:node`, which is bound to nobody.
fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        let role = bootstrap_policy()
            .into_iter()
            .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == "system:node")
            .expect("a part of the policy");
        serde_json::from_value(role["rules"].clone()).expect("the policy has rules")
    })
}

/// What a node asks.
#[derive(Clone, Copy)]
struct Question<'a> {
    node: &'a str,
    asked: &'a Attributes<'a>,
}

impl Question<'_> {
    fn by_rules(self) -> Outcome {
        match rules().iter().any(|rule| rule.allows(self.asked)) {
            true => Outcome::allow(""),
            false => Outcome::none(""),
        }
    }

    fn related<G: Deref<Target = Graph>>(self, kind: Kind, graph: impl FnOnce() -> G) -> Outcome {
        let Attributes {
            namespace, name, ..
        } = *self.asked;
        if name.is_empty() {
            return Outcome::none("No Object name found");
        }
        match graph().relates(kind, namespace, name, self.node) {
            true => Outcome::allow(""),
            false => Outcome::none(format!(
                "no relationship found between node '{}' and this object",
                self.node
            )),
        }
    }

    fn get<G: Deref<Target = Graph>>(self, kind: Kind, graph: impl FnOnce() -> G) -> Outcome {
        match (self.asked.verb, self.asked.subresource) {
            ("get", "") => self.related(kind, graph),
            ("get", _) => Outcome::none("cannot get subresource"),
            _ => Outcome::none("can only get individual resources of this type"),
        }
    }

    fn read_one<G: Deref<Target = Graph>>(self, kind: Kind, graph: impl FnOnce() -> G) -> Outcome {
        if !self.asked.is_read_only() {
            return Outcome::none("can only read resources of this type");
        }
        if !self.asked.subresource.is_empty() {
            return Outcome::none("cannot read subresource");
        }
        if self.asked.namespace.is_empty() {
            return Outcome::none("can only read namespaced object of this type");
        }
        self.related(kind, graph)
    }

    fn claim_status<G: Deref<Target = Graph>>(self, graph: impl FnOnce() -> G) -> Outcome {
        match self.asked.verb {
            "update" | "patch" => self.related(Kind::Claim, graph),
            _ => Outcome::none("can only update/patch status of this type"),
        }
    }

    fn service_account<G: Deref<Target = Graph>>(self, graph: impl FnOnce() -> G) -> Outcome {
        match (self.asked.verb, self.asked.subresource) {
            ("get", "") => self.read_one(Kind::ServiceAccount, graph),
            ("create", "token") if !self.asked.name.is_empty() => {
                self.related(Kind::ServiceAccount, graph)
            }
            ("create", _) if !self.asked.name.is_empty() => {
                Outcome::none("can only create token subresource of serviceaccount")
            }
            _ => Outcome::none("can only create tokens for individual service accounts"),
        }
    }

    fn lease(self) -> Outcome {
        let Attributes {
            verb,
            namespace,
            name,
            ..
        } = *self.asked;
        if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
            return Outcome::none("can only get, create, update, patch, or delete a node lease");
        }
        if namespace != "kube-node-lease" {
            return Outcome::none(
                "can only access leases in the \"kube-node-lease\" system namespace",
            );
        }
        // A create has no name yet; admission looks at it.
        match verb == "create" || name == self.node {
            true => Outcome::allow(""),
            false => Outcome::none(
                "can only access node lease with the same name as the requesting node",
            ),
        }
    }

    fn csi_node(self) -> Outcome {
        let Attributes {
            verb,
            subresource,
            name,
            ..
        } = *self.asked;
        match subresource {
            "" => {}
            "status" => {
                return Outcome::none("CSINode status access requires CSIVolumeHealth feature");
            }
            _ => return Outcome::none("cannot authorize CSINode subresources"),
        }
        if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
            return Outcome::none("can only get, create, update, patch, or delete a CSINode");
        }
        match verb == "create" || name == self.node {
            true => Outcome::allow(""),
            false => {
                Outcome::none("can only access CSINode with the same name as the requesting node")
            }
        }
    }

    /// Whether a field selector leaves only what is this node's.
    fn selects_own(self, field: &str) -> bool {
        let terms = self
            .asked
            .fields
            .map(|FieldSelector { terms }| terms)
            .into_iter()
            .flatten();
        let mut own = terms.filter(|t| t.field == field && !t.negated);
        own.any(|t| t.value == self.node)
    }

    fn slice<G: Deref<Target = Graph>>(self, graph: impl FnOnce() -> G) -> Outcome {
        if !self.asked.subresource.is_empty() {
            return Outcome::none("cannot authorize ResourceSlice subresources");
        }
        match self.asked.verb {
            "create" => Outcome::allow(""),
            "get" | "update" | "patch" | "delete" => self.related(Kind::Slice, graph),
            "watch" | "list" | "deletecollection" => match self.selects_own("spec.nodeName") {
                true => Outcome::allow(""),
                false => Outcome::none(
                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
                ),
            },
            _ => Outcome::none(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
        }
    }

    fn nodes(self) -> Outcome {
        let Attributes {
            verb,
            subresource,
            name,
            ..
        } = *self.asked;
        match (subresource, verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => {
                Outcome::allow("")
            }
            ("", "get" | "list" | "watch") if name == self.node => Outcome::allow(""),
            ("", "get" | "list" | "watch") if name.is_empty() => Outcome::none(format!(
                "node '{}' cannot read all nodes, only its own Node object",
                self.node
            )),
            ("", "get" | "list" | "watch") => Outcome::none(format!(
                "node '{}' cannot read '{name}', only its own Node object",
                self.node
            )),
            _ => Outcome::none(""),
        }
    }

    fn pods<G: Deref<Target = Graph>>(self, graph: impl FnOnce() -> G) -> Outcome {
        let Attributes {
            verb,
            subresource,
            name,
            ..
        } = *self.asked;
        match (subresource, verb) {
            ("", "get") => self.get(Kind::Pod, graph),
            ("", "list" | "watch") if self.selects_own("spec.nodeName") => Outcome::allow(""),
            ("", "list" | "watch") if !name.is_empty() => self.related(Kind::Pod, graph),
            ("", "list" | "watch") => {
                Outcome::none("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Outcome::allow("")
            }
            _ => Outcome::none(""),
        }
    }

    fn certificate_request<G: Deref<Target = Graph>>(self, graph: impl FnOnce() -> G) -> Outcome {
        if !self.asked.subresource.is_empty() {
            return Outcome::none(
                "nodes may not access the status subresource of PodCertificateRequests",
            );
        }
        match self.asked.verb {
            "create" => Outcome::allow(""),
            "get" => self.related(Kind::CertificateRequest, graph),
            "list" | "watch" if self.selects_own("spec.nodeName") => Outcome::allow(""),
            "list" | "watch" => Outcome::none(
                "can only list/watch podcertificaterequests with nodeName field selector",
            ),
            verb => Outcome::none(format!("nodes may not {verb} podcertificaterequests")),
        }
    }
}

#[cfg(test)]
mod tests;
