//! PodTopologyLabels (KEP-4742): a Pod gets the zone and the region of its node as labels.

use serde_json::{Value, json};

use super::{Attributes, Operation, lookup};
use crate::object::{self, Meta};
use crate::server::Server;

const LABELS: [&str; 2] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Copies the labels, into a Pod that has a node or into the binding that gives it one.
pub fn mutate(server: &Server, attributes: &mut Attributes<'_>) {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !writes || !attributes.concerns("", "pods") {
        return;
    }
    let object = attributes.object();
    let node = match &*attributes.call.path.subresource {
        "" => &object["spec"]["nodeName"],
        "binding" if object["target"]["kind"] == "Node" => &object["target"]["name"],
        _ => return,
    };
    let Some(node) = node.as_str().filter(|name| !name.is_empty()) else {
        return;
    };
    let Some(node) = lookup::get(server, "", "nodes", "", node) else {
        return;
    };
    let labels = &node["metadata"]["labels"];
    let copied: Vec<(&str, &Value)> = LABELS
        .into_iter()
        .filter_map(|label| Some((label, labels.get(label)?)))
        .collect();
    if let Some(object) = attributes
        .object
        .as_deref_mut()
        .filter(|_| !copied.is_empty())
    {
        let own = object::member_of(object.metadata_mut().entry("labels").or_insert(json!({})));
        for (label, value) in copied {
            own.insert(label.to_owned(), value.clone());
        }
    }
}
