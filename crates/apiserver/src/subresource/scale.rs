//! `scale`: the number of replicas, whatever the kind.

use karve_api::schema::Schema;
use karve_api::status::Status;
use karve_api::strategy::scale;
use karve_api::validate;
use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write::{self, FieldValidation};
use crate::{respond, semantics, update};

/// Answers `get`.
pub fn get(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    let entry = server
        .store
        .get(&call.key())
        .ok_or_else(|| call.not_found())?;
    Ok(respond::scale(
        call,
        &scale::of(&object::decode(entry.value(), &call.resource)),
    ))
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
    change(server, call, dry_run, |call, shown| {
        semantics::apply_patch(call, shown, body, ty, validation)
    })
    .await
}

async fn change(
    server: &Server,
    call: &mut Call,
    dry_run: bool,
    mut change: impl FnMut(&mut Call, &Value) -> Result<Value, Refusal> + Send,
) -> Result<HttpResponse, Refusal> {
    let stored = update::apply(server, call, dry_run, |call, old| {
        let wanted = change(call, &scale::of(old))?;
        validate(call, &wanted)?;
        let mut next = old.clone();
        scale::set(&mut next, &wanted);
        // The Scale's version and UID are what the client knows of the object.
        next.set_meta("resourceVersion", wanted.meta("resourceVersion"));
        Ok(next)
    })
    .await?;
    Ok(respond::scale(
        call,
        &scale::of(&object::decode(&stored, &call.resource)),
    ))
}

fn validate(call: &Call, scale: &Value) -> Result<(), Refusal> {
    let errors = validate::scale(scale);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("autoscaling", "Scale", call.name(), &errors).into())
}
