//! Tables: the columns and cells that `kubectl get` shows.
//!
//! Columns are data (`columns.tsv`, taken from kube-apiserver v1.37.2); cells are made as upstream's printers make them,
//! always with the wide ones. Times are ages before the `now` that is passed in. Absent: the Table object itself, and
//! columns of custom resources (see [`crate::crd::columns`]).

mod age;
mod autoscaler;
mod cells;
mod cluster;
mod columns;
mod network;
mod other;
mod pod;
mod storage;
mod workload;

pub use age::human_duration;
pub use columns::Column;

use crate::resource::Resource;
use cells::{age, name};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The columns of a resource. One that has none of its own has a name and the time of its creation.
pub fn columns(resource: &Resource) -> &[Column] {
    if let Some(custom) = &resource.custom {
        return custom.columns.headers();
    }
    columns::of(&resource.group, &resource.version, &resource.plural)
}

/// The columns of a `scale` subresource.
pub fn scale_columns() -> &'static [Column] {
    columns::of("autoscaling", "v1", "scale")
}

/// The cells of a `scale` subresource.
pub fn scale_row(scale: &Value, now: Timestamp) -> Vec<Value> {
    let replicas = |of: &str| scale[of]["replicas"].as_i64().unwrap_or(0).into();
    vec![
        name(scale),
        replicas("spec"),
        replicas("status"),
        age(scale, now),
    ]
}

/// The cells of an object, one for each of [`columns`].
pub fn row(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(custom) = &resource.custom {
        return custom.columns.cells(object, now);
    }
    let cells = match &*resource.group {
        "" => core(&resource.plural, object, now),
        "apps" | "batch" => workload::cells(&resource.plural, object, now),
        "autoscaling" => Some(autoscaler::cells(object, now)),
        "discovery.k8s.io" | "networking.k8s.io" => network::cells(&resource.plural, object, now),
        "storage.k8s.io" => storage::cells(&resource.plural, object, now),
        "events.k8s.io" => Some(cluster::event(object, now)),
        _ => other::cells(&resource.plural, object, now),
    };
    cells.unwrap_or_else(|| {
        vec![
            name(object),
            object["metadata"]["creationTimestamp"].clone(),
        ]
    })
}

fn core(plural: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    match plural {
        "pods" => Some(pod::cells(object, now)),
        "services" | "endpoints" => network::cells(plural, object, now),
        "persistentvolumes" | "persistentvolumeclaims" => storage::cells(plural, object, now),
        "replicationcontrollers" | "podtemplates" => workload::cells(plural, object, now),
        _ => cluster::cells(plural, object, now),
    }
}

/// The conditions of a row: that a Pod has come to its end.
pub fn row_conditions(resource: &Resource, object: &Value) -> Option<Value> {
    if !resource.group.is_empty() || resource.plural != "pods" {
        return None;
    }
    let (reason, message) = match object["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests;
