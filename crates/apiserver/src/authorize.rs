//! Who may do what: one [`Authorizer`] for requests, reviews, escalation checks, policies and admission.
//!
//! DEVIATION: roles and bindings are stored but not asked; users outside of a fixed policy may do nothing.

mod attributes;

use karve_api::resource::Verb;

use crate::answer::Refusal;
use crate::identity::{Identity, MASTERS};

pub use attributes::{Attributes, Decision, Outcome};

/// Answers who may do what. It is asked in memory and never waits.
#[derive(Debug, Default)]
pub struct Authorizer {}

impl Authorizer {
    /// Whether it may be done, and why.
    pub fn decide(&self, asked: &Attributes<'_>) -> Outcome {
        let may = match asked.resource_request {
            true => resource(asked),
            false => path(asked),
        };
        match may {
            true => Outcome::allow(""),
            false => Outcome::none(""),
        }
    }

    /// Refuses what may not be done, with upstream's text.
    pub fn check(&self, asked: &Attributes<'_>) -> Result<(), Refusal> {
        let outcome = self.decide(asked);
        match outcome.allowed() {
            true => Ok(()),
            false => Err(asked.forbidden(&outcome.reason).into()),
        }
    }
}

/// Controllers and the scheduler of the cluster itself; they run inside the server.
const SYSTEM: [&str; 3] = [
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:apiserver",
];

/// Whether the user may do everything.
fn unlimited(identity: &Identity) -> bool {
    identity.in_group(MASTERS) || SYSTEM.contains(&&*identity.user)
}

/// Reviews that every user may ask for about itself.
fn about_oneself(asked: &Attributes<'_>) -> bool {
    let own = matches!(
        (asked.group, asked.resource),
        ("authentication.k8s.io", "selfsubjectreviews")
            | (
                "authorization.k8s.io",
                "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
            )
    );
    own && asked.user.in_group("system:authenticated")
}

fn resource(asked: &Attributes<'_>) -> bool {
    unlimited(asked.user)
        || asked.verb == "create" && about_oneself(asked)
        || asked.user.node().is_some_and(|node| node_may(node, asked))
}

/// What a node's agent may do: upstream's role `system:node`, and NodeRestriction's limits to its own objects.
///
/// DEVIATION: secrets, config maps and claims may be read whether or not a Pod on the node uses them.
fn node_may(node: &str, path: &Attributes<'_>) -> bool {
    use Verb::{Create, Delete, Get, List, Patch, Update, Watch};
    let Some(verb) = Verb::ALL.into_iter().find(|v| v.as_str() == path.verb) else {
        return false;
    };
    let read = matches!(verb, Get | List | Watch);
    let write = matches!(verb, Create | Update | Patch);
    let own = path.name == node;
    match (path.group, path.resource, path.subresource) {
        ("", "nodes", "") => read || verb == Create || own && matches!(verb, Update | Patch),
        ("", "nodes", "status") => own && matches!(verb, Get | Update | Patch),
        ("", "pods", "") => read || matches!(verb, Create | Delete),
        ("", "pods", "status") => matches!(verb, Get | Update | Patch),
        ("", "pods", "eviction") => verb == Create,
        ("", "services" | "endpoints" | "namespaces", "") => read,
        ("", "configmaps" | "secrets" | "persistentvolumeclaims" | "persistentvolumes", "") => read,
        ("", "serviceaccounts", "") => read,
        ("", "serviceaccounts", "token") => verb == Create,
        ("" | "events.k8s.io", "events", "") => write,
        ("discovery.k8s.io", "endpointslices", "") => read,
        ("coordination.k8s.io", "leases", "") => {
            let kept = path.namespace == "kube-node-lease";
            kept && (verb == Create || own && (write || matches!(verb, Get | Delete)))
        }
        ("networking.k8s.io", "servicecidrs", "") => read,
        ("node.k8s.io", "runtimeclasses", "") => read,
        ("storage.k8s.io", _, "") => read,
        _ => false,
    }
}

/// Paths that everybody may read.
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// Paths that every user may read.
const DISCOVERY: [&str; 4] = ["/api", "/apis", "/openapi", "/version"];

fn path(asked: &Attributes<'_>) -> bool {
    let path = asked.path;
    let below =
        |root: &&str| path == *root || path.strip_prefix(*root).is_some_and(|r| r.starts_with('/'));
    let known = asked.user.in_group("system:authenticated");
    asked.user.in_group(MASTERS)
        || PUBLIC.iter().any(&below)
        || known && DISCOVERY.iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{self, Target};

    fn may(user: &str, group: &str, verb: Verb, path: &str) -> bool {
        let identity = Identity::authenticated(user, [group.to_owned()]);
        let Target::Resource(path) = path::parse(path) else {
            panic!("{path} names a resource")
        };
        let asked = Attributes {
            name: &path.name,
            namespace: &path.namespace,
            subresource: &path.subresource,
            ..Attributes::resource(&identity, verb.as_str(), &path.group, &path.resource)
        };
        Authorizer::default().decide(&asked).allowed()
    }

    #[test]
    fn nodes_reach_what_is_theirs() {
        let rows = [
            (Verb::Watch, "/api/v1/pods", true),
            (Verb::Patch, "/api/v1/namespaces/a/pods/p/status", true),
            (Verb::Delete, "/api/v1/namespaces/a/pods/p", true),
            (Verb::Update, "/api/v1/namespaces/a/pods/p", false),
            (Verb::Create, "/api/v1/nodes", true),
            (Verb::Patch, "/api/v1/nodes/n1/status", true),
            (Verb::Patch, "/api/v1/nodes/n2/status", false),
            (Verb::Delete, "/api/v1/nodes/n1", false),
            (Verb::Get, "/api/v1/namespaces/a/secrets/s", true),
            (Verb::Create, "/api/v1/namespaces/a/secrets", false),
            (Verb::Create, "/api/v1/namespaces/a/events", true),
            (
                Verb::Watch,
                "/apis/discovery.k8s.io/v1/endpointslices",
                true,
            ),
            (
                Verb::Patch,
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
                true,
            ),
            (
                Verb::Patch,
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
                false,
            ),
            (
                Verb::Patch,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/n1",
                false,
            ),
            (Verb::List, "/apis/apps/v1/deployments", false),
        ];
        for (verb, path, want) in rows {
            assert_eq!(
                may("system:node:n1", "system:nodes", verb, path),
                want,
                "{verb} {path}"
            );
        }
    }

    #[test]
    fn administrators_may_do_everything_and_strangers_nothing() {
        assert!(may("admin", MASTERS, Verb::Delete, "/api/v1/nodes/n1"));
        assert!(!may("eve", "dev", Verb::Get, "/api/v1/namespaces/a/pods/p"));
        let stranger = Identity::authenticated("eve", []);
        let path = |who: &Identity, path: &str| {
            Authorizer::default()
                .decide(&Attributes::path(who, "get", path))
                .allowed()
        };
        assert!(path(&stranger, "/openapi/v3"));
        assert!(!path(&Identity::anonymous(), "/openapi/v3"));
        assert!(path(&Identity::anonymous(), "/readyz/ping"));
    }
}
