//! `update` and the commit that it shares with `patch`: read, change, compare and swap.

use bytes::Bytes;
use karve_api::resource::Verb;
use karve_api::status::Status;
use karve_api::strategy;
use karve_api::validate::version_required;
use karve_store::{Action, Expect, Op};
use serde_json::Value;

use crate::admission::Admitted;
use crate::answer::{HttpResponse, Refusal};
use crate::authorize::rbac::check_escalation;
use crate::call::Call;
use crate::crd::conversion;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::subresource::scale;
use crate::write::{self, Committed, FieldValidation};
use crate::{admission, allocate, convert, create, respond, semantics};

/// How often an update that names no version may meet another writer.
const ATTEMPTS: usize = 32;

/// Answers `update`.
pub async fn update(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("UpdateOptions")?;
    let validation = FieldValidation::parse(call, "UpdateOptions")?;
    let kind = call.body_kind();
    let object = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &object)?;
    let mut object = convert::written(&call.resource, object);
    semantics::set_defaults(call, &mut object);
    let creates = call.path.subresource.is_empty() && strategy::creates_on_update(&call.resource);
    if creates && server.store.get(&call.key()).is_none() {
        let name = call.name().to_owned();
        object.set_meta("name", name);
        let stored = create::create_object(server, call, object, dry_run).await?;
        return Ok(respond::object(
            call,
            201,
            &convert::read(&call.resource, &stored),
        ));
    }
    let stored = apply(server, call, dry_run, |_, _| Ok(object.clone())).await?;
    Ok(respond::object(
        call,
        200,
        &convert::read(&call.resource, &stored),
    ))
}

/// Changes the object in the path, again when somebody else was faster and the change names no version.
///
/// `change` is given the stored object and answers what the client wants it to be.
pub async fn apply(
    server: &Server,
    call: &mut Call,
    dry_run: bool,
    mut change: impl FnMut(&mut Call, &Value) -> Result<Value, Refusal> + Send,
) -> Result<Bytes, Refusal> {
    let key = call.key();
    for _ in 0..ATTEMPTS {
        let entry = server.store.get(&key).ok_or_else(|| call.not_found())?;
        let shown = conversion::shown_one(server, &call.resource, entry.value()).await?;
        let old = object::decode(&shown, &call.resource);
        let wanted = change(call, &old)?;
        let changed = next_version(server, call, &old, wanted, entry.revision(), dry_run).await?;
        let Some((mut next, admitted)) = changed else {
            return Ok(shown);
        };
        let (mut ops, _turn) = (admitted.ops, admitted.turn);
        let gone = is_gone(call, &old, &next);
        if gone {
            ops = allocate::for_delete(server, call, &old);
        }
        if dry_run || gone {
            next.set_meta("resourceVersion", entry.revision().to_string());
        }
        if dry_run {
            return Ok(write::shown(&next, call));
        }
        let storable = conversion::to_storage(server, &call.resource, next.clone()).await?;
        ops.insert(
            0,
            Op {
                key: key.as_str().into(),
                expect: Expect::Revision(entry.revision()),
                action: if gone {
                    Action::Delete
                } else {
                    Action::Put(object::encode(&storable, &call.resource))
                },
            },
        );
        match write::commit(server, ops).await? {
            Committed::Done(_) if gone => return Ok(write::shown(&next, call)),
            Committed::Done(events) => {
                let stored = write::written(&events).unwrap_or_default();
                return conversion::shown_one(server, &call.resource, &stored).await;
            }
            // A change that names a version is refused when it is made again.
            Committed::Conflict => {}
        }
    }
    Err(call.modified(call.name()))
}

/// Refuses a change of another version than the stored one.
fn check_version(call: &Call, wanted: &Value, stored: u64) -> Result<(), Refusal> {
    let text = wanted.meta("resourceVersion");
    if text.is_empty() || text == "0" {
        if !strategy::unconditional_update(&call.resource) && call.verb == Verb::Update {
            let error = version_required();
            let resource = &call.resource;
            // Upstream names the resource here, where others have the kind.
            return Err(
                Status::invalid(&resource.group, &resource.plural, call.name(), &[error]).into(),
            );
        }
        return Ok(());
    }
    let version = crate::watch::parse_version(text)?;
    match version == stored {
        true => Ok(()),
        false => Err(call.modified(call.name())),
    }
}

/// What will be stored, and what else belongs to the commit; `None` when nothing changes.
async fn next_version(
    server: &Server,
    call: &mut Call,
    old: &Value,
    wanted: Value,
    stored: u64,
    dry_run: bool,
) -> Result<Option<(Value, Admitted)>, Refusal> {
    check_uid(call, old, &wanted)?;
    let mut next = wanted;
    keep_metadata(call, old, &mut next);
    semantics::record_manager(call, Some(old), &mut next);
    mutate(server, call, old, &mut next, dry_run).await?;
    check_escalation(&server.authorizer, call, &next, Some(old))?;
    check_version(call, &next, stored)?;
    let ops = allocate::for_update(server, call, old, &mut next, dry_run)?;
    semantics::prepare_update(call, old, &mut next);
    semantics::validate_update(call, old, &next)?;
    semantics::tidy(call, &mut next);
    object::check_bounds(&next)?;
    let mut admitted = validate(server, call, old, &mut next, dry_run).await?;
    admitted.ops.extend(ops);
    let mut same = next.clone();
    same.set_meta("resourceVersion", old.meta("resourceVersion"));
    Ok((same != *old).then_some((next, admitted)))
}

/// Whether admission sees a Scale instead of the object.
fn is_scale(call: &Call) -> bool {
    call.path.subresource == "scale"
}

/// Admission's mutating half, on the object or on its Scale.
async fn mutate(
    server: &Server,
    call: &mut Call,
    old: &Value,
    next: &mut Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    if !is_scale(call) {
        return admission::mutate(server, call, next, Some(old), dry_run).await;
    }
    let resource = call.resource.clone();
    let mut wanted = scale::of(&resource, next)?;
    let before = scale::of(&resource, old)?;
    admission::mutate(server, call, &mut wanted, Some(&before), dry_run).await?;
    scale::set(&resource, next, &wanted);
    Ok(())
}

/// Admission's validating half, on the object or on its Scale.
async fn validate(
    server: &Server,
    call: &mut Call,
    old: &Value,
    next: &mut Value,
    dry_run: bool,
) -> Result<Admitted, Refusal> {
    if !is_scale(call) {
        return admission::validate(server, call, next, Some(old), dry_run).await;
    }
    let mut shown = scale::of(&call.resource, next)?;
    let before = scale::of(&call.resource, old)?;
    admission::validate(server, call, &mut shown, Some(&before), dry_run).await
}

/// Refuses an update of another object of the same name.
fn check_uid(call: &Call, old: &Value, wanted: &Value) -> Result<(), Refusal> {
    let uid = wanted.meta("uid");
    // Elsewhere it is validation that refuses a change.
    if call.verb == Verb::Update && !uid.is_empty() && uid != old.meta("uid") {
        let (wanted, stored) = (uid.to_owned(), old.meta("uid"));
        let why = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {stored}"
        );
        let resource = &call.resource;
        return Err(Status::conflict(&resource.group, &resource.plural, call.name(), &why).into());
    }
    Ok(())
}

/// Names that no update changes.
fn keep_metadata(call: &Call, old: &Value, next: &mut Value) {
    let name = call.name().to_owned();
    next.set_meta("name", name);
    match &old["metadata"]["namespace"] {
        Value::Null => next.metadata_mut().remove("namespace"),
        value => next
            .metadata_mut()
            .insert("namespace".to_owned(), value.clone()),
    };
}

/// Whether the update takes away the last thing that kept a deleted object.
pub fn is_gone(call: &Call, old: &Value, next: &Value) -> bool {
    if !old.is_deleting() || !next.finalizers().is_empty() {
        return false;
    }
    if call.resource.group.is_empty() && call.resource.plural == "namespaces" {
        return next["spec"]["finalizers"]
            .as_array()
            .is_none_or(|f| f.is_empty());
    }
    object::number(&old["metadata"]["deletionGracePeriodSeconds"]) == 0
}
