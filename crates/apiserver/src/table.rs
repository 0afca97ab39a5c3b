//! Tables: rows and columns for `kubectl get`.

use std::sync::Arc;

use bytes::Bytes;
use karve_store::Entry;
use serde_json::{Value, json};

use crate::call::Call;
use crate::{convert, object};

/// What a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Include {
    Metadata,
    Object,
    None,
}

/// The columns of a resource, and how its rows are made.
pub struct Columns {
    include: Include,
    definitions: Value,
}

impl Columns {
    /// For the call's resource and its `includeObject`.
    pub fn new(call: &Call) -> Columns {
        let include = match call.query.text("includeObject") {
            "Object" => Include::Object,
            "None" => Include::None,
            _ => Include::Metadata,
        };
        let definitions = json!([
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Created At", "type": "date", "format": "", "description": "", "priority": 0},
        ]);
        Columns { include, definitions }
    }

    fn row(&self, object: &Value) -> Value {
        let cells = json!([object["metadata"]["name"], object["metadata"]["creationTimestamp"]]);
        let mut row = json!({"cells": cells});
        match self.include {
            Include::Object => row["object"] = object.clone(),
            Include::Metadata => {
                row["object"] = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
                });
            }
            Include::None => {}
        }
        row
    }

    /// A Table of one row. Watches show the columns only once.
    pub fn table_of(&self, object: &Value, with_columns: bool) -> Value {
        let columns = if with_columns { self.definitions.clone() } else { Value::Null };
        json!({
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
            "columnDefinitions": columns,
            "rows": [self.row(object)],
        })
    }
}

/// A Table of one object.
pub fn of_one(call: &Call, object: &Value) -> Value {
    Columns::new(call).table_of(object, true)
}

/// The start of a Table of many objects, up to the rows.
pub fn list_head(call: &Call, metadata: &Value) -> String {
    let columns = Columns::new(call).definitions;
    format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":["
    )
}

/// The rows of many objects.
pub fn rows(call: &Call, entries: Vec<Arc<Entry>>) -> Vec<Bytes> {
    let columns = Columns::new(call);
    let resource = &call.resource;
    entries
        .iter()
        .map(|entry| {
            let object = object::decode(&convert::read(resource, entry.value()), resource);
            columns.row(&object).to_string().into()
        })
        .collect()
}
