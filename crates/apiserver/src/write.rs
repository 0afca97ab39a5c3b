//! What all writes share: the body made an object, and an object made a version in the store.

use std::sync::Arc;

use bytes::Bytes;
use karve_api::crd;
use karve_api::decode::{self, Format};
use karve_api::field;
use karve_api::resource::{GroupVersionKind, Verb};
use karve_api::schema::Schema;
use karve_api::status::Status;
use karve_store::{Error, Event, Op};
use serde_json::Value;

use crate::answer::Refusal;
use crate::call::Call;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::trail;

/// What to do with unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    Warn,
    /// Refuse them.
    Strict,
}

impl FieldValidation {
    /// From the parameter. `options` is the kind that the error names.
    pub fn parse(call: &Call, options: &str) -> Result<FieldValidation, Refusal> {
        check_manager(call, options)?;
        match call.query.text("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            other => {
                let path = field::Path::root("fieldValidation");
                let error =
                    field::Error::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]);
                Err(Status::invalid("meta.k8s.io", options, "", &[error]).into())
            }
        }
    }
}

/// A manager's name is short and printable.
fn check_manager(call: &Call, options: &str) -> Result<(), Refusal> {
    const MANAGER_MAX: usize = 128;
    let manager = call.query.text("fieldManager");
    let path = field::Path::root("fieldManager");
    let control = manager.char_indices().find(|(_, c)| c.is_control());
    let error = match control {
        _ if manager.len() > MANAGER_MAX => field::Error::too_long(&path, MANAGER_MAX),
        Some((at, c)) => {
            let why = format!("invalid character U+{:04X} (at position {at})", c as u32);
            field::Error::invalid(&path, manager, why)
        }
        None => return Ok(()),
    };
    Err(Status::invalid("meta.k8s.io", options, "", &[error]).into())
}

const CONTENT_TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Reads the body as an object of `kind`.
pub fn decode_body(
    call: &mut Call,
    body: &[u8],
    kind: &GroupVersionKind,
    validation: FieldValidation,
) -> Result<Value, Refusal> {
    let Some(format) = Format::of(&call.content_type) else {
        return Err(Status::unsupported_media_type(&CONTENT_TYPES).into());
    };
    // The Scale of a custom resource is the built-in kind.
    let custom = call.resource.custom.as_deref();
    let custom = custom.filter(|_| *kind == call.resource.gvk());
    let decoded = match custom {
        Some(custom) => crd::decode::decode(body, format, kind, custom),
        None => decode::decode(body, format, kind, Schema::builtin()),
    };
    let decoded = decoded.map_err(|e| Status::bad_request(e.to_string()))?;
    match validation {
        FieldValidation::Strict if !decoded.strict.is_empty() => {
            let error = decode::strict_error(kind, &decoded.strict);
            return Err(Status::bad_request(error.to_string()).into());
        }
        FieldValidation::Warn => call.warnings.extend(decoded.strict),
        _ => {}
    }
    trail::request_object(|| Some(decoded.object.clone()));
    Ok(decoded.object)
}

/// Upstream's check that body and path are about the same object.
pub fn check_names(call: &Call, object: &Value) -> Result<(), Refusal> {
    let namespace = object.meta("namespace");
    if call.resource.namespaced && !namespace.is_empty() && namespace != call.namespace() {
        let why =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why).into());
    }
    let name = object.meta("name");
    if name.is_empty() && matches!(call.verb, Verb::Update | Verb::Patch) && !call.is_apply() {
        let why = format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name()
        );
        return Err(Status::bad_request(why).into());
    }
    if !call.name().is_empty() && !name.is_empty() && name != call.name() {
        let why = format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        );
        return Err(Status::bad_request(why).into());
    }
    Ok(())
}

/// A time as objects show it.
pub fn now() -> String {
    timestamp(jiff::Timestamp::now())
}

/// A time as objects show it.
pub fn timestamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What came of an attempt to commit.
pub enum Committed {
    /// It happened.
    Done(Vec<Arc<Event>>),
    /// A key was not as expected; look again.
    Conflict,
}

/// Commits, telling conflicts from failures.
pub async fn commit(server: &Server, ops: Vec<Op>) -> Result<Committed, Refusal> {
    match server.store.commit(ops).await {
        Ok(events) => Ok(Committed::Done(events)),
        Err(Error::Conflict { .. }) => Ok(Committed::Conflict),
        Err(err) => {
            let mut text = err.to_string();
            let mut source = std::error::Error::source(&err);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            Err(Status::internal(text).into())
        }
    }
}

/// The bytes of the version that the last operation on a key made.
pub fn written(events: &[Arc<Event>]) -> Option<Bytes> {
    events
        .iter()
        .find_map(|e| e.current())
        .map(|entry| entry.value().clone())
}

/// The bytes of an object that a dry run shows.
pub fn shown(object: &Value, call: &Call) -> Bytes {
    object::encode_unstored(object, &call.resource)
}
