//! The one place where the server asks `karve-api` what objects mean: defaults, strategies, validation, managers.

use std::sync::Arc;

use jiff::Timestamp;
use karve_api::apply::{self, FieldSet, Writer};
use karve_api::crd;
use karve_api::decode::Decoded;
use karve_api::field;
use karve_api::patch::{self, PatchError};
use karve_api::resource::GroupVersionKind;
use karve_api::schema::{Schema, Type, tidy};
use karve_api::status::Status;
use karve_api::strategy::{self, Caller, Creation};
use karve_api::validate;
use serde_json::Value;

use crate::answer::Refusal;
use crate::call::Call;
use crate::convert;
use crate::object::Meta;
use crate::write::{self, FieldValidation};

/// Gives defaults to an object as it was decoded.
pub fn set_defaults(call: &Call, object: &mut Value) {
    if let Some(custom) = &call.resource.custom {
        return crd::prune::default(object, &custom.schema);
    }
    karve_api::defaults::apply(&call.resource, object);
    // The one default that depends on the time: the sender comes to own it.
    let resource = &call.resource;
    if resource.custom.is_none() && resource.plural == "devicetaintrules" {
        let taint = &mut object["spec"]["taint"];
        if taint.is_object() && taint["timeAdded"].is_null() {
            taint["timeAdded"] = write::now().into();
        }
    }
}

/// Makes what a merge made of a custom object fit the structure of its schema.
pub fn fit(call: &Call, object: &mut Value) -> Result<(), Refusal> {
    let Some(custom) = &call.resource.custom else {
        return Ok(());
    };
    crd::decode::fit(object, Some(&custom.schema), &custom.family)
        .map(drop)
        .map_err(|why| Status::bad_request(why).into())
}

/// What creation itself decides.
pub fn prepare_create(call: &Call, object: &mut Value) {
    let uid = uuid::Uuid::new_v4().to_string();
    let extra = (!call.identity.extra.is_empty()).then(|| serde_json::json!(&*call.identity.extra));
    let caller = Caller {
        name: &call.identity.user,
        uid: &call.identity.uid,
        groups: &call.identity.groups,
        extra: extra.as_ref(),
    };
    let creation = Creation {
        now: Timestamp::now(),
        uid: &uid,
        caller,
    };
    strategy::prepare_create(&call.resource, object, &creation);
}

/// Whether a new object is valid.
pub fn validate_create(call: &mut Call, object: &Value) -> Result<(), Refusal> {
    let mut errors = validate::create(&call.resource, object);
    rules(call, &mut errors, None, object);
    check(call, object.meta("name"), &errors)?;
    warn(call, None, object);
    Ok(())
}

/// What an update keeps or decides.
pub fn prepare_update(call: &Call, old: &Value, next: &mut Value) {
    strategy::prepare_update(
        &call.resource,
        &call.path.subresource,
        old,
        next,
        Timestamp::now(),
    );
}

/// Whether an update is valid and allowed.
pub fn validate_update(call: &mut Call, old: &Value, next: &Value) -> Result<(), Refusal> {
    let mut errors = validate::update(&call.resource, &call.path.subresource, old, next);
    rules(call, &mut errors, Some(old), next);
    check(call, call.name(), &errors)?;
    if call.path.subresource.is_empty() {
        warn(call, Some(old), next);
    }
    Ok(())
}

/// Adds what rules in the expression language find.
fn rules(call: &mut Call, errors: &mut Vec<field::Error>, old: Option<&Value>, new: &Value) {
    let resource = Arc::clone(&call.resource);
    let custom = resource.custom.as_ref().filter(|custom| custom.has_rules);
    if let Some(custom) = custom
        && !errors.iter().any(crd::object::blocks_rules)
    {
        let failures = crate::crd::rules::check(custom, old, new);
        errors.extend(failures.errors);
        add_warnings(call, failures.warnings);
    }
    if call.path.subresource.is_empty() {
        crate::policy::check(errors, &resource, old, new);
    }
    let definition = resource.plural == "customresourcedefinitions" && !resource.is_custom();
    if definition && call.path.subresource.is_empty() && errors.is_empty() {
        errors.extend(crate::crd::rules::check_definition(old, new));
    }
}

/// Warns once, although a write may be tried again.
fn add_warnings(call: &mut Call, warnings: impl IntoIterator<Item = String>) {
    for text in warnings {
        if !call.warnings.contains(&text) {
            call.warnings.push(text);
        }
    }
}

fn check(call: &Call, name: &str, errors: &[field::Error]) -> Result<(), Refusal> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(invalid(call, name, errors)),
    }
}

/// Warns of what is right but unwise.
fn warn(call: &mut Call, old: Option<&Value>, object: &Value) {
    let warnings = match call.resource.is_custom() {
        true => crd::object::warnings(old, object),
        false => strategy::warnings::object(&call.resource, old, object)
            .into_iter()
            .collect(),
    };
    let definition = call.resource.plural == "customresourcedefinitions";
    let more = definition.then(|| crd::validate::warnings(old, object));
    add_warnings(call, warnings.into_iter().chain(more.into_iter().flatten()));
}

/// Records who owns which fields.
pub fn record_manager(call: &Call, old: Option<&Value>, next: &mut Value) {
    // Apply keeps its own record while it merges.
    if call.is_apply() {
        return;
    }
    let scale = call.path.subresource == "scale";
    if scale && !old.is_some_and(has_updaters) {
        return;
    }
    let resource = &call.resource;
    let Some(ty) = resource.shown_type() else {
        return;
    };
    // Fields are owned by the names that the endpoint's version gives them.
    let old = old.map(|old| convert::read_fields(resource, old));
    let mut shown = convert::read_value(resource, next.take());
    tidy::complete(&mut shown, ty);
    as_writer(call, |writer| {
        apply::update_managers(old.as_deref(), &mut shown, ty, writer)
    });
    *next = convert::written(resource, shown);
}

/// The same for what is made by a subresource with a kind of its own, and not stored.
pub fn record_made(call: &Call, kind: &GroupVersionKind, made: &mut Value) {
    let Some(ty) = Schema::builtin().kind(&kind.group, &kind.version, &kind.kind) else {
        return;
    };
    tidy::complete(made, ty);
    let writer = Writer {
        manager: call.manager(),
        api_version: &kind.api_version(),
        subresource: &call.path.subresource,
        time: &write::now(),
        reset: &FieldSet::default(),
    };
    apply::update_managers(None, made, ty, &writer);
}

/// Whether somebody owns fields by updates; where all apply, a Scale leaves no entry.
fn has_updaters(object: &Value) -> bool {
    let managers = object["metadata"]["managedFields"].as_array();
    managers.is_some_and(|list| list.iter().any(|m| m["operation"] == "Update"))
}

/// The call as a writer of fields.
pub fn as_writer<T>(call: &Call, use_it: impl FnOnce(&Writer<'_>) -> T) -> T {
    let subresource = &*call.path.subresource;
    let kind = (&*call.resource.group, &*call.resource.plural);
    let reset = match subresource {
        // What is asked for is the requester's once and for all; nobody owns it.
        _ if kind == ("certificates.k8s.io", "certificatesigningrequests") => match subresource {
            "status" => FieldSet::of_names(&[&["spec"], &["status", "conditions"]]),
            "approval" => FieldSet::of_names(&[&["spec"], &["status", "certificate"]]),
            _ => FieldSet::of_names(&[&["spec"], &["status"]]),
        },
        "status" if kind == ("apps", "deployments") => {
            FieldSet::of_names(&[&["spec"], &["metadata", "labels"]])
        }
        "" if call.resource.subresource("status").is_some() => FieldSet::of_names(&[&["status"]]),
        "status"
            if call.resource.is_custom() || strategy::status_keeps_metadata(&call.resource) =>
        {
            FieldSet::of_names(&[&["metadata"], &["spec"]])
        }
        "status" => FieldSet::of_names(&[&["spec"]]),
        _ => FieldSet::default(),
    };
    let api_version = call.resource.api_version();
    // What a Scale changes is noted without a time.
    let time = if subresource == "scale" {
        String::new()
    } else {
        write::now()
    };
    use_it(&Writer {
        manager: call.manager(),
        api_version: &api_version,
        subresource,
        time: &time,
        reset: &reset,
    })
}

/// Brings an object to the form in which it is stored.
pub fn tidy(call: &Call, object: &mut Value) {
    if let Some(ty) = call.resource.stored_type() {
        tidy::tidy(object, ty);
    }
}

/// 422 for the call's kind.
pub fn invalid(call: &Call, name: &str, errors: &[field::Error]) -> Refusal {
    // Events are of the core group, wherever they are asked for.
    let group = match &*call.resource.group {
        "events.k8s.io" => "",
        group => group,
    };
    Status::invalid(group, &call.resource.kind, name, errors).into()
}

/// The patches of custom resources: without a Go type there are no merge keys.
const CUSTOM_PATCHES: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// Applies a patch to an object of a type, as the endpoint has it.
pub fn apply_patch(
    call: &mut Call,
    object: &Value,
    body: &[u8],
    ty: Type<'_>,
    validation: FieldValidation,
) -> Result<Value, Refusal> {
    let kind = match patch::Kind::of(&call.content_type) {
        Some(patch::Kind::Strategic) if ty.schema().is_custom() => {
            return Err(Status::unsupported_media_type(&CUSTOM_PATCHES).into());
        }
        Some(kind) => kind,
        None if ty.schema().is_custom() => {
            return Err(Status::unsupported_media_type(&CUSTOM_PATCHES).into());
        }
        None => return Err(unsupported_patch()),
    };
    let custom = call.resource.custom.clone();
    let custom = custom.filter(|_| ty.schema().is_custom());
    let Decoded {
        object: next,
        strict,
    } = match &custom {
        Some(custom) => patch::custom(kind, object, body, custom),
        None => patch::patch(kind, object, body, ty),
    }
    .map_err(patch_refusal)?;
    match validation {
        FieldValidation::Strict if !strict.is_empty() && custom.is_some() => {
            let error = patch::custom_strict_error(kind, object, body, &strict);
            return Err(patch_refusal(error));
        }
        FieldValidation::Strict if !strict.is_empty() => {
            let error = patch::strict_error(kind, object, body, ty, &strict);
            return Err(patch_refusal(error));
        }
        FieldValidation::Warn => {
            for text in strict {
                if !call.warnings.contains(&text) {
                    call.warnings.push(text);
                }
            }
        }
        _ => {}
    }
    Ok(next)
}

/// Upstream's plain answer to a patch type that it does not know.
pub fn unsupported_patch() -> Refusal {
    Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type").into()
}

fn patch_refusal(err: PatchError) -> Refusal {
    let message = err.to_string();
    match err {
        PatchError::Malformed(_) => Status::bad_request(message),
        PatchError::Rejected => Status::unprocessable(),
        PatchError::Invalid { value, cause } => {
            let error = field::Error::invalid(&field::Path::root("patch"), value, cause);
            Status::invalid("", "", "", &[error])
        }
        PatchError::Internal(_) => Status::unclassified(message),
        PatchError::TooLarge { .. } => Status::failure(413, "RequestEntityTooLarge", message),
    }
    .into()
}
