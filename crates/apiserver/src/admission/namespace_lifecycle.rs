//! NamespaceLifecycle: nothing is made in a namespace that does not exist or goes away; some namespaces stay.

use karve_api::status::{Cause, Status};

use super::{Attributes, Operation};
use crate::answer::Refusal;
use crate::keys;
use crate::server::Server;

/// Namespaces that every cluster has.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// Refuses what upstream's plugin refuses.
pub fn mutate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let call = attributes.call;
    if attributes.operation == Operation::Delete {
        return match attributes.concerns("", "namespaces") && IMMORTAL.contains(&call.name()) {
            true => Err(attributes.forbidden("this namespace may not be deleted")),
            false => Ok(()),
        };
    }
    // To tell who asks about permissions that a namespace does not exist would be to tell that it does not.
    let review = attributes.concerns("authorization.k8s.io", "localsubjectaccessreviews");
    if attributes.operation != Operation::Create || !call.resource.namespaced || review {
        return Ok(());
    }
    let namespace = call.namespace();
    let Some(entry) = server.store.get(&keys::core("namespaces", "", namespace)) else {
        return Err(Status::not_found("", "namespaces", namespace).into());
    };
    // Marking a namespace sets its phase; looking for the text saves decoding it for every object that is made.
    match contains(entry.value(), b"deletionTimestamp") {
        false => Ok(()),
        true => Err(terminating(attributes, namespace)),
    }
}

fn terminating(attributes: &Attributes<'_>, namespace: &str) -> Refusal {
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut refusal = attributes.forbidden(&why).into_status();
    if let Some(details) = &mut refusal.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    refusal.into()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
