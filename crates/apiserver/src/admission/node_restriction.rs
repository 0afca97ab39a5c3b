//! NodeRestriction: a node's agent touches only its own Node and the Pods that are bound to it.

use karve_api::defaults::admission as defaults;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::answer::Refusal;
use crate::object::Meta;
use crate::server::Server;

/// Refuses what upstream's plugin refuses.
pub fn mutate(_server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let Some(node) = attributes.call.identity.node() else {
        return Ok(());
    };
    let core = attributes.call.resource.group.is_empty();
    match &*attributes.call.resource.plural {
        "pods" if core => pod(attributes, node),
        "nodes" if core && attributes.operation == Operation::Create => own_node(attributes, node),
        _ => Ok(()),
    }
}

fn pod(attributes: &Attributes<'_>, node: &str) -> Result<(), Refusal> {
    match attributes.operation {
        Operation::Create if attributes.call.path.subresource.is_empty() => {
            if defaults::is_mirror(attributes.object()) {
                return Ok(());
            }
            Err(attributes.forbidden(&format!(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{node}\" can only create mirror pods"
            )))
        }
        Operation::Update => bound(attributes, node, "update pod status for"),
        Operation::Delete => bound(attributes, node, "delete"),
        Operation::Create | Operation::Connect => Ok(()),
    }
}

fn bound(attributes: &Attributes<'_>, node: &str, what: &str) -> Result<(), Refusal> {
    if attributes.old.unwrap_or(&Value::Null)["spec"]["nodeName"] == node {
        return Ok(());
    }
    let why = format!("node \"{node}\" can only {what} pods with spec.nodeName set to itself");
    Err(attributes.forbidden(&why))
}

fn own_node(attributes: &Attributes<'_>, own: &str) -> Result<(), Refusal> {
    let name = attributes.object().meta("name");
    if name == own {
        return Ok(());
    }
    let why = format!("node \"{own}\" is not allowed to modify node \"{name}\"");
    Err(attributes.forbidden(&why))
}
