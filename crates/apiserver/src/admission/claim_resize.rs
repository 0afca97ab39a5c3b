//! PersistentVolumeClaimResize: a claim grows only where its class lets it.

use karve_api::quantity::Quantity;
use serde_json::Value;

use super::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::server::Server;

/// Refuses growth that nobody could provide.
pub fn validate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let Some(old) = attributes.old else {
        return Ok(());
    };
    if attributes.operation != Operation::Update || !attributes.is("", "persistentvolumeclaims") {
        return Ok(());
    }
    let new = attributes.object();
    if size(new) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let class = class(new);
    let grows = !class.is_empty()
        && class == self::class(old)
        && lookup::get(server, "storage.k8s.io", "storageclasses", "", class)
            .is_some_and(|class| class["allowVolumeExpansion"] == true);
    match grows {
        true => Ok(()),
        false => Err(attributes.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        )),
    }
}

fn size(claim: &Value) -> Quantity {
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str();
    text.and_then(|text| text.parse().ok())
        .unwrap_or_else(Quantity::zero)
}

/// The class of a claim, by the old annotation or the field.
fn class(claim: &Value) -> &str {
    let annotation = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = annotation
        .as_str()
        .or(claim["spec"]["storageClassName"].as_str());
    class.unwrap_or_default()
}
