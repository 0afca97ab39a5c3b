//! The one place where the server asks `karve-api` what objects mean: defaults, strategies, validation, managers.

use karve_api::decode::conform;
use karve_api::field;
use karve_api::schema::{Schema, tidy};
use karve_api::status::Status;
use serde_json::Value;

use crate::answer::Refusal;
use crate::call::Call;
use crate::write::FieldValidation;

/// Gives defaults to an object as it was decoded.
pub fn set_defaults(call: &Call, object: &mut Value) {
    karve_api::defaults::apply(&call.resource, object);
}

/// What creation itself decides, and whether the object is valid.
pub fn prepare_create(_call: &Call, _object: &mut Value) -> Result<(), Refusal> {
    Ok(())
}

/// What an update keeps or decides, and whether the object is valid and the change allowed.
pub fn prepare_update(_call: &Call, _old: &Value, _next: &mut Value) -> Result<(), Refusal> {
    Ok(())
}

/// Records who owns which fields.
pub fn record_manager(_call: &Call, _old: Option<&Value>, _next: &mut Value) -> Result<(), Refusal> {
    Ok(())
}

/// Brings an object to the form in which it is stored.
pub fn tidy(call: &Call, object: &mut Value) {
    let resource = &call.resource;
    let storage = resource.storage.as_ref();
    let (group, version) = storage.map_or((&*resource.group, &*resource.version), |s| (&*s.group, &*s.version));
    if let Some(ty) = Schema::builtin().kind(group, version, &resource.kind) {
        tidy::tidy(object, ty);
    }
}

/// 422 for the call's kind.
pub fn invalid(call: &Call, name: &str, errors: &[field::Error]) -> Refusal {
    Status::invalid(&call.resource.group, &call.resource.kind, name, errors).into()
}

/// A parsed patch.
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
}

const PATCH_TYPES: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

impl Patch {
    /// By the content type.
    pub fn parse(call: &Call, body: &[u8]) -> Result<Patch, Refusal> {
        let bad = |e: serde_json::Error| Refusal::from(Status::bad_request(e.to_string()));
        match call.content_type.as_str() {
            "application/json-patch+json" => {
                serde_json::from_slice(body).map(Patch::Json).map_err(bad)
            }
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                serde_json::from_slice(body).map(Patch::Merge).map_err(bad)
            }
            _ => Err(Status::unsupported_media_type(&PATCH_TYPES).into()),
        }
    }

    /// The object as the patch wants it.
    pub fn apply(&self, call: &mut Call, object: &Value, _validation: FieldValidation) -> Result<Value, Refusal> {
        let mut next = object.clone();
        match self {
            Patch::Json(patch) => {
                json_patch::patch(&mut next, patch).map_err(|_| Status::unprocessable())?;
            }
            Patch::Merge(patch) => json_patch::merge(&mut next, patch),
        }
        let resource = &call.resource;
        if let Some(ty) = Schema::builtin().kind(&resource.group, &resource.version, &resource.kind) {
            next = conform::conform_value(&next, ty)
                .map_err(|e| Status::bad_request(e.to_string()))?
                .value;
        }
        set_defaults(call, &mut next);
        Ok(next)
    }
}
