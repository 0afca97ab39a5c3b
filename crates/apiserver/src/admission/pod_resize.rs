//! PodResizeValidator: a Pod is not made larger than its node could ever hold.

use karve_api::amounts::{self, Side};
use karve_api::field;
use karve_api::quantity::Quantity;
use karve_api::status::Cause;

use super::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::object::Meta;
use crate::server::Server;

/// Refuses resizes that cannot be done.
pub fn validate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let resizes = attributes.operation == Operation::Update
        && attributes.call.path.subresource == "resize"
        && attributes.concerns("", "pods");
    let (pod, Some(old)) = (attributes.object(), attributes.old) else {
        return Ok(());
    };
    let same = old["metadata"]["generation"] == pod["metadata"]["generation"];
    let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !resizes || same || name.is_empty() {
        return Ok(());
    }
    let Some(node) = lookup::get(server, "", "nodes", "", name) else {
        return Err(attributes.forbidden(&format!("node {} not found", field::quote(name))));
    };
    let system = node["metadata"]["labels"]["kubernetes.io/os"].as_str();
    if let Some(system) = system.filter(|system| *system != "linux") {
        let why = format!(
            "pod resize is only supported on linux nodes, node {} is {}",
            field::quote(node.meta("name")),
            field::quote(system)
        );
        return Err(refused(attributes, &why, "UnsupportedPlatform"));
    }
    let requests = amounts::of_spec(pod, Side::Requests);
    let allocatable = amounts::read(&node["status"]["allocatable"]);
    let mut lacking = Vec::new();
    for (resource, number) in [
        ("cpu", Quantity::milli_value as fn(&Quantity) -> i64),
        ("memory", Quantity::value),
    ] {
        let amount =
            |list: &amounts::Amounts| list.get(resource).cloned().unwrap_or_else(Quantity::zero);
        let (requested, allocatable) = (amount(&requests), amount(&allocatable));
        if requested > allocatable {
            lacking.push(format!(
                "{resource}, requested: {}, allocatable: {}",
                number(&requested),
                number(&allocatable)
            ));
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let why = format!(
        "node didn't have enough allocatable resources: {}",
        lacking.join("; ")
    );
    Err(refused(attributes, &why, "NodeCapacity"))
}

fn refused(attributes: &Attributes<'_>, why: &str, reason: &'static str) -> Refusal {
    let mut status = attributes.forbidden(why).into_status();
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: reason.into(),
            message: String::new(),
            field: String::new(),
        });
    }
    status.into()
}
