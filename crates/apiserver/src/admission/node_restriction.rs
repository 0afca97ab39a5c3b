//! NodeRestriction: what a node's agent writes is about itself and its pods.
//!
//! The node authorizer decides before by names; here the objects are seen. Upstream's texts.
//!
//! DEVIATION: the audience of a token for a driver of volumes is not looked up at the driver.

mod labels;
mod mirror;
mod requests;

use serde_json::Value;

use super::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::object::Meta;
use crate::server::Server;

/// What a plugin says: nothing, or why not.
type Verdict = Result<(), String>;

/// Refuses what upstream's plugin refuses.
pub fn mutate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    if !crate::authorize::is_node(&attributes.call.identity) {
        return Ok(());
    }
    let Some(node) = attributes
        .call
        .identity
        .node()
        .filter(|node| !node.is_empty())
    else {
        let user = karve_api::field::quote(&attributes.call.identity.user);
        return Err(attributes.forbidden(&format!("could not determine node from user {user}")));
    };
    let asked = Asked {
        server,
        attributes,
        node,
    };
    let resource = &attributes.call.resource;
    let subresource = &*attributes.call.path.subresource;
    let verdict = match (&*resource.group, &*resource.plural, subresource) {
        ("", "pods", "") => asked.pod(),
        ("", "pods", "status") => asked.pod_status(),
        ("", "pods", "eviction") => asked.eviction(),
        ("", "pods", other) => Err(format!(
            "unexpected pod subresource \"{other}\", only 'status' and 'eviction' are allowed"
        )),
        ("", "nodes", _) => asked.own_node(),
        ("", "persistentvolumeclaims", "status") => asked.claim_status(),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("", "serviceaccounts", "token") => asked.token(),
        ("coordination.k8s.io", "leases", _) => asked.lease(),
        ("storage.k8s.io", "csinodes", _) => asked.csi_node(),
        ("resource.k8s.io", "resourceslices", _) => asked.slice(),
        ("certificates.k8s.io", "certificatesigningrequests", _) => asked.signing_request(),
        ("certificates.k8s.io", "podcertificaterequests", _) => asked.pod_certificate(),
        _ => Ok(()),
    };
    verdict.map_err(|why| attributes.forbidden(&why))
}

/// What a node asks.
struct Asked<'a> {
    server: &'a Server,
    attributes: &'a Attributes<'a>,
    node: &'a str,
}

impl Asked<'_> {
    fn old(&self) -> &Value {
        self.attributes.old.unwrap_or(&Value::Null)
    }

    fn stored(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        lookup::get(self.server, "", plural, namespace, name)
    }

    fn unexpected(&self) -> Verdict {
        Err(format!(
            "unexpected operation \"{}\"",
            self.attributes.operation
        ))
    }

    fn pod(&self) -> Verdict {
        let node = self.node;
        match self.attributes.operation {
            Operation::Create => {
                let own = self.stored("nodes", "", node);
                mirror::check(self.attributes.object(), node, own.as_ref())
            }
            Operation::Delete if self.old()["spec"]["nodeName"] == node => Ok(()),
            Operation::Delete => Err(format!(
                "node \"{node}\" can only delete pods with spec.nodeName set to itself"
            )),
            other => Err(format!(
                "unexpected operation \"{other}\", node \"{node}\" can only create and delete mirror pods"
            )),
        }
    }

    fn pod_status(&self) -> Verdict {
        if self.attributes.operation != Operation::Update {
            return self.unexpected();
        }
        let (node, old, new) = (self.node, self.old(), self.attributes.object());
        if old["spec"]["nodeName"] != node {
            return Err(format!(
                "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
            ));
        }
        let same = |pointer: &str| same(old.pointer(pointer), new.pointer(pointer));
        if !same("/metadata/labels") {
            return Err(format!(
                "node \"{node}\" cannot update labels through pod status"
            ));
        }
        if !same("/status/resourceClaimStatuses") {
            return Err(format!(
                "node \"{node}\" cannot update resource claim statues"
            ));
        }
        if !same("/status/extendedResourceClaimStatus") {
            return Err(format!(
                "node \"{node}\" cannot update extended resource claim status"
            ));
        }
        match same("/status/nodeAllocatableResourceClaimStatuses") {
            true => Ok(()),
            false => Err(format!(
                "node \"{node}\" cannot update node allocatable resource claim statuses"
            )),
        }
    }

    fn eviction(&self) -> Verdict {
        if self.attributes.operation != Operation::Create {
            return self.unexpected();
        }
        let pod = self.stored("pods", self.attributes.namespace(), self.attributes.name());
        // A pod that is not there is refused by who looks for it.
        match pod.is_none_or(|pod| pod["spec"]["nodeName"] == self.node) {
            true => Ok(()),
            false => Err(format!(
                "node {} can only evict pods with spec.nodeName set to itself",
                self.node
            )),
        }
    }

    fn own_node(&self) -> Verdict {
        let (node, name) = (self.node, self.attributes.name());
        if name != node {
            return Err(format!(
                "node \"{node}\" is not allowed to modify node \"{name}\""
            ));
        }
        let (old, new) = (self.old(), self.attributes.object());
        let source = &new["spec"]["configSource"];
        match self.attributes.operation {
            Operation::Create if !source.is_null() => Err(format!(
                "node \"{node}\" is not allowed to create pods with a non-nil configSource"
            )),
            Operation::Create => match labels::forbidden(&Value::Null, new) {
                forbidden if forbidden.is_empty() => Ok(()),
                forbidden => Err(format!(
                    "node \"{node}\" is not allowed to set the following labels: {}",
                    forbidden.join(", ")
                )),
            },
            Operation::Update if !source.is_null() && *source != old["spec"]["configSource"] => {
                Err(format!(
                    "node \"{node}\" is not allowed to update configSource to a new non-nil configSource"
                ))
            }
            Operation::Update
                if !same(old.pointer("/spec/taints"), new.pointer("/spec/taints")) =>
            {
                Err(format!("node \"{node}\" is not allowed to modify taints"))
            }
            Operation::Update
                if !same(
                    old.pointer("/metadata/ownerReferences"),
                    new.pointer("/metadata/ownerReferences"),
                ) =>
            {
                Err(format!(
                    "node \"{node}\" is not allowed to modify ownerReferences"
                ))
            }
            Operation::Update => match labels::forbidden(old, new) {
                forbidden if forbidden.is_empty() => Ok(()),
                forbidden => Err(format!(
                    "is not allowed to modify labels: {}",
                    forbidden.join(", ")
                )),
            },
            _ => Ok(()),
        }
    }

    fn claim_status(&self) -> Verdict {
        if self.attributes.operation != Operation::Update {
            return self.unexpected();
        }
        const OWN: [&str; 4] = [
            "capacity",
            "conditions",
            "allocatedResourceStatuses",
            "allocatedResources",
        ];
        let rest = |claim: &Value| {
            let mut claim = claim.clone();
            for member in ["resourceVersion", "managedFields"] {
                claim.metadata_mut().remove(member);
            }
            for member in OWN {
                crate::object::member_mut(&mut claim, "status").remove(member);
            }
            claim
        };
        match rest(self.old()) == rest(self.attributes.object()) {
            true => Ok(()),
            false => Err(format!(
                "node \"{}\" is not allowed to update fields other than status.quantity and status.conditions",
                self.node
            )),
        }
    }

    fn named(&self, what: &str) -> Verdict {
        let name = match self.attributes.operation {
            Operation::Create => self.attributes.object().meta("name"),
            _ => self.attributes.name(),
        };
        match name == self.node {
            true => Ok(()),
            false => Err(format!(
                "can only access {what} with the same name as the requesting node"
            )),
        }
    }

    fn lease(&self) -> Verdict {
        match self.attributes.namespace() {
            "kube-node-lease" => self.named("node lease"),
            _ => {
                Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned())
            }
        }
    }

    fn csi_node(&self) -> Verdict {
        self.named("CSINode")?;
        match &*self.attributes.call.path.subresource {
            "status" => Err("CSIVolumeHealth feature gate is disabled".to_owned()),
            _ => Ok(()),
        }
    }

    fn slice(&self) -> Verdict {
        let (object, what) = match self.attributes.operation {
            Operation::Create => (self.attributes.object(), "create"),
            Operation::Delete => (self.old(), "delete"),
            _ => return Ok(()),
        };
        match object["spec"]["nodeName"] == self.node {
            true => Ok(()),
            false => Err(format!(
                "can only {what} ResourceSlice with the same NodeName as the requesting node"
            )),
        }
    }
}

/// Whether two values are equal, nothing and an empty list or map being the same.
fn same(old: Option<&Value>, new: Option<&Value>) -> bool {
    let empty = |value: &&Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    old.filter(|v| !empty(v)) == new.filter(|v| !empty(v))
}
