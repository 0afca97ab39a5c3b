//! Who may do what: a fixed policy for the cluster's own parts, and everything for administrators.
//!
//! DEVIATION: roles and bindings are stored but not asked; users outside of this policy may do nothing.

use karve_api::resource::Verb;
use karve_api::status::{Denied, Status};

use crate::answer::Refusal;
use crate::identity::{Identity, MASTERS};
use crate::path::ResourcePath;

/// A request as authorization sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The verb: those of the API.
    pub verb: Verb,
    /// The names in the path.
    pub path: &'a ResourcePath,
}

/// Controllers and the scheduler of the cluster itself; they run inside the server.
const SYSTEM: [&str; 3] = [
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:apiserver",
];

/// Whether the user may do everything.
pub fn unlimited(identity: &Identity) -> bool {
    identity.in_group(MASTERS) || SYSTEM.contains(&&*identity.user)
}

/// Reviews that every user may ask for about itself.
fn about_oneself(identity: &Identity, path: &ResourcePath) -> bool {
    let own = matches!(
        (&*path.group, &*path.resource),
        ("authentication.k8s.io", "selfsubjectreviews")
            | (
                "authorization.k8s.io",
                "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
            )
    );
    own && identity.in_group("system:authenticated")
}

/// Refuses what the policy does not allow.
pub fn resource(identity: &Identity, request: Request<'_>) -> Result<(), Refusal> {
    if unlimited(identity) || request.verb == Verb::Create && about_oneself(identity, request.path)
    {
        return Ok(());
    }
    if identity.node().is_some_and(|node| node_may(node, request)) {
        return Ok(());
    }
    let path = request.path;
    Err(Status::forbidden_resource(Denied {
        user: &identity.user,
        verb: request.verb.as_str(),
        group: &path.group,
        resource: &path.resource,
        subresource: &path.subresource,
        namespace: &path.namespace,
        name: &path.name,
        reason: "",
    })
    .into())
}

/// What a node's agent may do: upstream's role `system:node`, and NodeRestriction's limits to its own objects.
///
/// DEVIATION: secrets, config maps and claims may be read whether or not a Pod on the node uses them.
fn node_may(node: &str, Request { verb, path }: Request<'_>) -> bool {
    use Verb::{Create, Delete, Get, List, Patch, Update, Watch};
    let read = matches!(verb, Get | List | Watch);
    let write = matches!(verb, Create | Update | Patch);
    let own = path.name == node;
    match (&*path.group, &*path.resource, &*path.subresource) {
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

/// Refuses a path that is no resource.
pub fn path(identity: &Identity, method: &str, path: &str) -> Result<(), Refusal> {
    let below =
        |root: &&str| path == *root || path.strip_prefix(*root).is_some_and(|r| r.starts_with('/'));
    let known = identity.in_group("system:authenticated");
    let may = identity.in_group(MASTERS)
        || PUBLIC.iter().any(&below)
        || known && DISCOVERY.iter().any(below);
    if may {
        return Ok(());
    }
    let shown = if path.is_empty() { "/" } else { path };
    Err(Status::forbidden_path(&identity.user, method, shown).into())
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
        resource(&identity, Request { verb, path: &path }).is_ok()
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
        assert!(path(&stranger, "get", "/openapi/v3").is_ok());
        assert!(path(&Identity::anonymous(), "get", "/openapi/v3").is_err());
        assert!(path(&Identity::anonymous(), "get", "/readyz/ping").is_ok());
    }
}
