//! Tables: rows and columns for `kubectl get`.

use std::sync::Arc;

use jiff::Timestamp;
use karve_api::encode;
use karve_api::field;
use karve_api::print::{self, Column};
use karve_api::resource::Resource;
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::call::Call;
use crate::media::MetaVersion;
use crate::{convert, encoder, object};

/// What a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// The metadata.
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    None,
}

impl Include {
    fn parse(text: &str) -> Result<Include, Refusal> {
        match text {
            "" | "Metadata" => Ok(Include::Metadata),
            "Object" => Ok(Include::Object),
            "None" => Ok(Include::None),
            other => {
                let path = field::Path::root("includeObject");
                let error = field::Error::invalid(
                    &path,
                    other,
                    "must be 'Metadata', 'Object', 'None', or empty",
                );
                let text = format!("Unable to convert to Table as requested: {error}");
                Err(Status::bad_request(text).into())
            }
        }
    }
}

/// The columns of a resource, and how its rows are made.
pub struct Columns {
    resource: Arc<Resource>,
    /// What rows carry.
    pub include: Include,
}

impl Columns {
    /// For the call's resource and its `includeObject`.
    pub fn new(call: &Call) -> Result<Columns, Refusal> {
        let include = Include::parse(call.query.text("includeObject"))?;
        let resource = call.resource.clone();
        Ok(Columns { resource, include })
    }

    /// The row of an object, of which the stored bytes are there, too.
    pub fn row(&self, object: &Value, stored: &[u8], version: MetaVersion) -> Vec<u8> {
        let held = convert::printed(&self.resource, object);
        let cells = print::row(&self.resource, &held, Timestamp::now());
        let conditions = print::row_conditions(&self.resource, object);
        let object = self.row_object(self.include, stored, version);
        row(&cells, conditions, &object)
    }

    fn row_object(&self, include: Include, stored: &[u8], version: MetaVersion) -> Vec<u8> {
        match include {
            Include::Metadata => encoder::partial_json(&self.resource, stored, version),
            Include::Object => {
                let head = object::head(&self.resource.api_version(), &self.resource.kind);
                let mut out = Vec::with_capacity(head.len() + stored.len());
                object::splice(&mut out, &head, stored);
                out
            }
            Include::None => b"null".to_vec(),
        }
    }

    /// A Table of one row. Watches show the columns only once.
    pub fn table_of(
        &self,
        object: &Value,
        stored: &[u8],
        version: MetaVersion,
        with_columns: bool,
    ) -> Vec<u8> {
        let columns = with_columns.then(|| print::columns(&self.resource));
        one_row(object, columns, &self.row(object, stored, version), version)
    }

    /// A Table of a bookmark; the one that ends the initial events always shows its metadata.
    pub fn bookmark(
        &self,
        object: &Value,
        stored: &[u8],
        version: MetaVersion,
        with_columns: bool,
        ends: bool,
    ) -> Vec<u8> {
        let include = match self.include {
            Include::None if ends => Include::Metadata,
            include => include,
        };
        let held = convert::printed(&self.resource, object);
        let cells = print::row(&self.resource, &held, Timestamp::now());
        let row = row(&cells, None, &self.row_object(include, stored, version));
        one_row(
            object,
            with_columns.then(|| print::columns(&self.resource)),
            &row,
            version,
        )
    }
}

/// Cells, conditions and object, in Go's order.
fn row(cells: &[Value], conditions: Option<Value>, object: &[u8]) -> Vec<u8> {
    let mut out = b"{\"cells\":".to_vec();
    encode::write(&Value::from(cells), None, &mut out);
    if let Some(conditions) = conditions {
        out.extend_from_slice(b",\"conditions\":");
        let ty = karve_api::schema::Schema::builtin().kind("meta.k8s.io", "v1", "Table");
        let ty = ty.and_then(|ty| ty.descend(&["rows", "conditions"]));
        encode::write(&conditions, ty, &mut out);
    }
    out.extend_from_slice(b",\"object\":");
    out.extend_from_slice(object);
    out.push(b'}');
    out
}

/// All of a Table before its rows.
fn head(version: MetaVersion, metadata: &str, columns: Option<&[Column]>) -> Vec<u8> {
    let mut out = object::head(version.api_version(), "Table").into_bytes();
    out.extend_from_slice(b"\"metadata\":");
    out.extend_from_slice(metadata.as_bytes());
    out.extend_from_slice(b",\"columnDefinitions\":");
    match columns {
        Some(columns) => {
            out.extend(serde_json::to_vec(columns).expect("columns are texts and numbers"))
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"rows\":[");
    out
}

fn one_row(
    object: &Value,
    columns: Option<&[Column]>,
    row: &[u8],
    version: MetaVersion,
) -> Vec<u8> {
    let metadata = match object["metadata"]["resourceVersion"].as_str() {
        Some(version) => json!({"resourceVersion": version}),
        None => json!({}),
    };
    let mut out = head(version, &metadata.to_string(), columns);
    out.extend_from_slice(row);
    out.extend_from_slice(b"]}");
    out
}

/// A Table of a Scale.
pub fn of_scale(call: &Call, scale: &Value, version: MetaVersion) -> Result<Vec<u8>, Refusal> {
    let include = Include::parse(call.query.text("includeObject"))?;
    let cells = print::scale_row(scale, Timestamp::now());
    let whole = encoder::any(scale, false).unwrap_or_default();
    let object = match include {
        Include::None => b"null".to_vec(),
        Include::Object => whole,
        Include::Metadata => {
            let ty = encoder::partial_type();
            encode::json(
                &json!({
                    "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": scale["metadata"],
                }),
                ty,
            )
        }
    };
    Ok(one_row(
        scale,
        Some(print::scale_columns()),
        &row(&cells, None, &object),
        version,
    ))
}

/// The start of a Table of many objects, up to the rows.
pub fn list_head(call: &Call, metadata: &str, version: MetaVersion) -> Vec<u8> {
    head(version, metadata, Some(print::columns(&call.resource)))
}
