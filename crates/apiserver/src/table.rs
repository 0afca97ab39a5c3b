//! Tables: rows and columns for `kubectl get`.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use karve_api::print::{self, Column};
use karve_api::resource::Resource;
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
    resource: Arc<Resource>,
    include: Include,
    columns: &'static [Column],
}

impl Columns {
    /// For the call's resource and its `includeObject`.
    pub fn new(call: &Call) -> Columns {
        let include = match call.query.text("includeObject") {
            "Object" => Include::Object,
            "None" => Include::None,
            _ => Include::Metadata,
        };
        let resource = call.resource.clone();
        let columns = print::columns(&resource);
        Columns {
            resource,
            include,
            columns,
        }
    }

    fn row(&self, object: &Value) -> Value {
        let held = convert::printed(&self.resource, object);
        let cells = print::row(&self.resource, &held, Timestamp::now());
        let mut row = self.row_of(object, cells);
        if let Some(conditions) = print::row_conditions(&self.resource, object) {
            row["conditions"] = conditions;
        }
        row
    }

    fn row_of(&self, object: &Value, cells: Vec<Value>) -> Value {
        let mut row = json!({"cells": cells});
        match self.include {
            Include::Object => row["object"] = object.clone(),
            Include::Metadata => {
                let metadata = convert::internal_metadata(&self.resource, object);
                row["object"] = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                });
            }
            Include::None => row["object"] = Value::Null,
        }
        row
    }

    /// A Table of one row. Watches show the columns only once.
    pub fn table_of(&self, object: &Value, with_columns: bool) -> Value {
        let columns = if with_columns {
            json!(self.columns)
        } else {
            Value::Null
        };
        one_row(object, columns, self.row(object))
    }
}

fn one_row(object: &Value, columns: Value, row: Value) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
        "columnDefinitions": columns,
        "rows": [row],
    })
}

/// A Table of one object.
pub fn of_one(call: &Call, object: &Value) -> Value {
    Columns::new(call).table_of(object, true)
}

/// A Table of a Scale.
pub fn of_scale(call: &Call, scale: &Value) -> Value {
    let row = Columns::new(call).row_of(scale, print::scale_row(scale, Timestamp::now()));
    one_row(scale, json!(print::scale_columns()), row)
}

/// The start of a Table of many objects, up to the rows.
pub fn list_head(call: &Call, metadata: &Value) -> String {
    let columns = json!(Columns::new(call).columns);
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
