//! `scale`: the number of replicas, whatever the kind.

use karve_api::apply;
use karve_api::crd::scale::ScaleError;
use karve_api::decode::yaml;
use karve_api::resource::Resource;
use karve_api::schema::{Schema, Type};
use karve_api::status::Status;
use karve_api::strategy;
use karve_api::validate;
use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::crd::conversion;
use crate::object::{self, Meta};
use crate::patch::{self, check_options};
use crate::server::Server;
use crate::write::{self, FieldValidation};
use crate::{respond, semantics, update};

/// The Scale of an object.
pub fn of(resource: &Resource, object: &Value) -> Result<Value, Refusal> {
    made(resource, object, false)
}

/// The Scale of an object for a reader, who is told when there is none.
fn shown_of(resource: &Resource, object: &Value) -> Result<Value, Refusal> {
    made(resource, object, true)
}

fn made(resource: &Resource, object: &Value, must_exist: bool) -> Result<Value, Refusal> {
    let own = resource.custom.as_ref().and_then(|c| c.scale.as_ref());
    let Some(scale) = own else {
        return Ok(strategy::scale::of(object));
    };
    scale.of(object, must_exist).map_err(|err| match err {
        ScaleError::Missing(_) => Status::internal(err.to_string()).into(),
        ScaleError::Type(why) => Status::unclassified(why).into(),
    })
}

/// Writes a Scale's wish into an object.
pub fn set(resource: &Resource, object: &mut Value, wanted: &Value) {
    match resource.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        Some(scale) => scale.set(object, wanted),
        None => strategy::scale::set(object, wanted),
    }
}

/// Answers `get`.
pub async fn get(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    let entry = server
        .store
        .get(&call.key())
        .ok_or_else(|| call.not_found())?;
    let shown = conversion::shown_one(server, &call.resource, entry.value()).await?;
    let object = object::decode(&shown, &call.resource);
    Ok(respond::scale(call, &shown_of(&call.resource, &object)?))
}

/// Answers `update`.
pub async fn update(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("UpdateOptions")?;
    let validation = FieldValidation::parse(call, "UpdateOptions")?;
    let kind = call.body_kind();
    let wanted = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &wanted)?;
    change(server, call, dry_run, |_, _| Ok(wanted.clone())).await
}

/// Answers `patch`.
pub async fn patch(server: &Server, call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("PatchOptions")?;
    let validation = FieldValidation::parse(call, "PatchOptions")?;
    let ty = Schema::builtin()
        .kind("autoscaling", "v1", "Scale")
        .ok_or_else(|| Status::internal("the kind has no schema"))?;
    check_options(call)?;
    if call.is_apply() {
        return apply_configuration(server, call, body, ty, validation, dry_run).await;
    }
    change(server, call, dry_run, |call, shown| {
        semantics::apply_patch(call, shown, body, ty, validation)
    })
    .await
}

/// Server-side apply of a Scale: the owners of its fields are those of the object's replicas.
async fn apply_configuration(
    server: &Server,
    call: &mut Call,
    body: &[u8],
    ty: Type<'static>,
    validation: FieldValidation,
    dry_run: bool,
) -> Result<HttpResponse, Refusal> {
    let document =
        yaml::parse(body).map_err(|e| Status::bad_request(format!("error encoding patch: {e}")))?;
    let strict = patch::Strict::of(call, &document, validation);
    let config = document.node.to_value();
    write::check_names(call, &config)?;
    let stored = update::apply(server, call, dry_run, |call, old| {
        let mut live = of(&call.resource, old)?;
        // A definition may have its replicas anywhere: their owners are not those of `spec.replicas`.
        let owned = !call.resource.is_custom();
        if owned {
            apply::scale::show_owners(old, &mut live, &call.resource.api_version());
        }
        let force = call.query.flag("force");
        let expected = call.body_kind();
        let merged = semantics::as_writer(call, |writer| {
            let writer = apply::Writer {
                api_version: "autoscaling/v1",
                ..writer.clone()
            };
            apply::apply(Some(&live), &config, ty, &expected, &writer, force)
        })
        .map_err(patch::apply_refusal)?;
        strict.check()?;
        validate(call, &merged)?;
        let mut next = old.clone();
        set(&call.resource, &mut next, &merged);
        if owned {
            apply::scale::take_owners(&mut next, &merged, &call.resource.api_version());
        }
        next.set_meta("resourceVersion", config.meta("resourceVersion"));
        Ok(next)
    })
    .await?;
    let object = object::decode(&stored, &call.resource);
    Ok(respond::scale(call, &of(&call.resource, &object)?))
}

async fn change(
    server: &Server,
    call: &mut Call,
    dry_run: bool,
    mut change: impl FnMut(&mut Call, &Value) -> Result<Value, Refusal> + Send,
) -> Result<HttpResponse, Refusal> {
    let stored = update::apply(server, call, dry_run, |call, old| {
        let wanted = change(call, &of(&call.resource, old)?)?;
        validate(call, &wanted)?;
        let mut next = old.clone();
        set(&call.resource, &mut next, &wanted);
        // The Scale's version and UID are what the client knows of the object.
        let version = wanted.meta("resourceVersion");
        if !call.resource.is_custom() || !version.is_empty() {
            next.set_meta("resourceVersion", version);
        }
        Ok(next)
    })
    .await?;
    let object = object::decode(&stored, &call.resource);
    Ok(respond::scale(call, &of(&call.resource, &object)?))
}

fn validate(call: &Call, scale: &Value) -> Result<(), Refusal> {
    // The number is judged where the definition puts it.
    if call.resource.is_custom() {
        return Ok(());
    }
    let errors = validate::scale(scale);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("autoscaling", "Scale", call.name(), &errors).into())
}
