//! Objects of one resource in the form and format that a client wants.
//!
//! The stored bytes are the start of everything: plain JSON is spliced from them, partial objects are cut out of them,
//! and only Tables and protobuf need them parsed. Deliberately absent: HTTP, and indented JSON and YAML, which are made
//! from a finished document (`respond`).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use karve_api::encode;
use karve_api::encode::protobuf;
use karve_api::resource::Resource;
use karve_api::schema::{Schema, Type};
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::call::Call;
use crate::convert;
use crate::media::{Form, Format, Media, MetaVersion};
use crate::object;
use crate::table::{Columns, Include};

/// Writes objects of one resource for one call.
pub struct Encoder {
    resource: Arc<Resource>,
    media: Media,
    head: String,
    columns: Option<Columns>,
}

/// What tells the encodings of one object apart.
#[derive(Debug, Clone)]
pub struct Key {
    resource: Arc<Resource>,
    protobuf: bool,
    form: Form,
    include: Option<Include>,
    columns: bool,
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        Arc::ptr_eq(&self.resource, &other.resource)
            && (self.protobuf, self.form, self.include, self.columns)
                == (other.protobuf, other.form, other.include, other.columns)
    }
}

/// The type of partial objects.
pub fn partial_type() -> Option<Type<'static>> {
    Schema::builtin().kind("meta.k8s.io", "v1", "PartialObjectMetadata")
}

impl Encoder {
    /// For the answer of a call about one object, or about each of many.
    pub fn new(call: &Call) -> Result<Encoder, Refusal> {
        let resource = call.resource.clone();
        let columns = match call.media.form {
            Form::Table(_) => Some(Columns::new(call)?),
            _ => None,
        };
        Ok(Encoder {
            head: object::head(&resource.api_version(), &resource.kind),
            media: call.media,
            resource,
            columns,
        })
    }

    /// What tells this encoding apart; a Table shows its columns only the first time.
    pub fn key(&self, first: bool) -> Key {
        Key {
            resource: self.resource.clone(),
            protobuf: self.is_protobuf(),
            form: self.media.form,
            include: self.columns.as_ref().map(|c| c.include),
            columns: self.columns.is_some() && first,
        }
    }

    /// Whether it writes protobuf.
    pub fn is_protobuf(&self) -> bool {
        self.media.format == Format::Protobuf
    }

    /// The head of plain JSON objects, when that is all that is put before the stored bytes.
    pub fn plain_head(&self) -> Option<&str> {
        let plain = self.media.form == Form::Object && !self.is_protobuf();
        (plain && convert::is_shown_as_stored(&self.resource)).then_some(&*self.head)
    }

    /// Stored bytes as the endpoint's version has them.
    pub fn read(&self, stored: &Bytes) -> Bytes {
        convert::read(&self.resource, stored)
    }

    /// One object, as the endpoint's version has it, as a document of its own: compact JSON, or protobuf in its
    /// envelope.
    pub fn document(&self, shown: &[u8], first: bool) -> Vec<u8> {
        match (self.media.form, &self.columns) {
            (Form::Table(version), Some(columns)) => {
                let object = object::decode(shown, &self.resource);
                columns.table_of(&object, shown, version, first)
            }
            (Form::Metadata(version) | Form::MetadataList(version), _) => {
                self.partial(shown, version)
            }
            _ if self.is_protobuf() => self.protobuf(shown),
            _ => {
                let mut out = Vec::with_capacity(self.head.len() + shown.len());
                object::splice(&mut out, &self.head, shown);
                out
            }
        }
    }

    fn protobuf(&self, stored: &[u8]) -> Vec<u8> {
        let value = object::parse(stored);
        let (version, kind) = (self.resource.api_version(), &self.resource.kind);
        match self.resource.shown_type() {
            Some(ty) => protobuf::object(&value, &version, kind, ty),
            None => Vec::new(),
        }
    }

    fn partial(&self, stored: &[u8], version: MetaVersion) -> Vec<u8> {
        if !self.is_protobuf() {
            return partial_json(&self.resource, stored, version);
        }
        let value = json!({"metadata": object::parse(&metadata(&self.resource, stored))});
        partial_type().map_or_else(Vec::new, |ty| {
            protobuf::object(&value, version.api_version(), "PartialObjectMetadata", ty)
        })
    }

    /// One object as an item of a list in JSON.
    pub fn item(&self, stored: &Bytes, out: &mut bytes::BytesMut) {
        let stored = self.read(stored);
        match (self.media.form, &self.columns) {
            (Form::Table(version), Some(columns)) => {
                let object = object::decode(&stored, &self.resource);
                out.extend_from_slice(&columns.row(&object, &stored, version));
            }
            (Form::Metadata(version) | Form::MetadataList(version), _) => {
                out.extend_from_slice(&partial_json(&self.resource, &stored, version));
            }
            // Items of built-in kinds do not say what they are.
            _ if self.resource.is_custom() => object::splice(out, &self.head, &stored),
            _ => out.extend_from_slice(&stored),
        }
    }

    /// One object as the message of an item of a list in protobuf.
    pub fn item_message(&self, stored: &Bytes, out: &mut Vec<u8>) {
        let stored = self.read(stored);
        let (value, ty) = match self.media.form {
            Form::Metadata(_) | Form::MetadataList(_) => {
                let metadata = object::parse(&metadata(&self.resource, &stored));
                (json!({"metadata": metadata}), partial_type())
            }
            _ => (object::parse(&stored), self.resource.shown_type()),
        };
        if let Some(ty) = ty {
            protobuf::message(&value, ty, out);
        }
    }

    /// An object of which nothing is known but its version, as bookmarks have it.
    pub fn bare(&self, revision: u64, annotations: &[(&str, &str)], first: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if !annotations.is_empty() {
            metadata["annotations"] = annotations
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Value::from(*v)))
                .collect();
        }
        let mut value = json!({"metadata": metadata});
        if let (Some(ty), false) = (self.resource.shown_type(), self.resource.is_custom()) {
            karve_api::schema::tidy::tidy(&mut value, ty);
        }
        let stored = object::encode_shown(&value, &self.resource);
        match (self.media.form, &self.columns) {
            // Whatever is asked for, the end of the initial events must be seen.
            (Form::Table(version), Some(columns)) => {
                let object = object::decode(&stored, &self.resource);
                columns.bookmark(&object, &stored, version, first, !annotations.is_empty())
            }
            _ => self.document(&stored, first),
        }
    }
}

/// The metadata of an object as the server holds it in memory.
fn metadata<'b>(resource: &Resource, stored: &'b [u8]) -> Cow<'b, [u8]> {
    match convert::annotates(resource) {
        false => Cow::Borrowed(object::metadata(stored)),
        true => {
            let metadata = convert::internal_metadata(resource, &object::parse(stored));
            Cow::Owned(object::encode_metadata(&metadata))
        }
    }
}

/// The metadata of an object as a whole document.
pub fn partial_json(resource: &Resource, stored: &[u8], version: MetaVersion) -> Vec<u8> {
    let mut out = object::head(version.api_version(), "PartialObjectMetadata").into_bytes();
    out.extend_from_slice(b"\"metadata\":");
    out.extend_from_slice(&metadata(resource, stored));
    out.push(b'}');
    out
}

/// Any document of the API as compact JSON in Go's order of members, or as protobuf in its envelope. `None` when the
/// kind has no protobuf.
pub fn any(value: &Value, protobuf: bool) -> Option<Vec<u8>> {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let version = if group == "meta.k8s.io" {
        "v1"
    } else {
        version
    };
    let ty = Schema::builtin().kind(group, version, kind);
    match (protobuf, ty) {
        (false, ty) => Some(encode::json(value, ty)),
        (true, Some(ty)) if kind != "Table" => Some(protobuf::object(value, api_version, kind, ty)),
        (true, _) => None,
    }
}

/// 406 for a form that does not fit what was asked for.
pub fn check_form(call: &Call, list: bool) -> Result<(), Refusal> {
    let resource = &call.resource;
    let suffix = if list { "List" } else { "" };
    let go = match resource.is_custom() {
        true => format!("*unstructured.Unstructured{suffix}"),
        false => format!(
            "*{}.{}{suffix}",
            internal_package(&resource.group),
            resource.kind
        ),
    };
    let text = match (call.media.form, list) {
        (Form::Metadata(_), true) => {
            format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({go})"
            )
        }
        (Form::MetadataList(_), false) => {
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({go})"
            )
        }
        _ => return Ok(()),
    };
    Err(Status::failure(406, "NotAcceptable", text).into())
}

/// The Go package of a group's internal types.
fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    }
}
