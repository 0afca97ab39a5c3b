//! `create`.

use karve_api::names;
use karve_api::status::Status;
use karve_store::Op;
use rand::Rng as _;
use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::authorize::rbac::check_escalation;
use crate::call::Call;
use crate::crd::conversion;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write::{self, Committed, FieldValidation};
use crate::{admission, allocate, convert, respond, semantics};

/// How often a generated name or address may turn out to be taken.
const ATTEMPTS: usize = 16;

/// Answers `create`.
pub async fn create(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("CreateOptions")?;
    let validation = FieldValidation::parse(call, "CreateOptions")?;
    let kind = call.body_kind();
    let object = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &object)?;
    let object = convert::written(&call.resource, object);
    let stored = create_object(server, call, object, dry_run).await?;
    Ok(respond::object(
        call,
        201,
        &convert::read(&call.resource, &stored),
    ))
}

/// Makes a decoded object a stored one, and answers its stored bytes.
pub async fn create_object(
    server: &Server,
    call: &mut Call,
    mut object: Value,
    dry_run: bool,
) -> Result<bytes::Bytes, Refusal> {
    let versioned = !matches!(object.meta("resourceVersion"), "" | "0");
    conversion::check_open(call)?;
    semantics::set_defaults(call, &mut object);
    place(call, &mut object);
    forget_deletion(&mut object);
    semantics::record_manager(call, None, &mut object);
    admission::mutate(server, call, &mut object, None, dry_run).await?;
    check_escalation(&server.authorizer, call, &object, None)?;
    for _ in 0..ATTEMPTS {
        let mut attempt = object.clone();
        let mut ops = prepare(server, call, &mut attempt, dry_run)?;
        // Before a turn at a quota is taken: a webhook may take its time.
        let storable = conversion::to_storage(server, &call.resource, attempt.clone()).await?;
        let admitted = admission::validate(server, call, &mut attempt, None, dry_run).await?;
        ops.extend(admitted.ops);
        // Held until the commit.
        let _turn = admitted.turn;
        if versioned && !dry_run {
            // Upstream's store finds it, when all else is right.
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Status::unclassified(why).into());
        }
        let key = crate::keys::key(&call.resource, call.namespace(), attempt.meta("name"));
        if let Some(existing) = server.store.get(&key) {
            let existing = object::decode(existing.value(), &call.resource);
            return Err(already_exists(call, &existing, attempt.meta("name")));
        }
        if dry_run {
            return Ok(write::shown(&attempt, call));
        }
        ops.insert(
            0,
            Op::create(key, object::encode(&storable, &call.resource)),
        );
        match write::commit(server, ops).await? {
            Committed::Done(events) => {
                let stored = write::written(&events).unwrap_or_default();
                return conversion::shown_one(server, &call.resource, &stored).await;
            }
            // Somebody was faster; look again.
            Committed::Conflict => {}
        }
    }
    Err(Status::internal("too many writers want the same names").into())
}

/// An object is in the namespace of its path.
fn place(call: &Call, object: &mut Value) {
    if call.resource.namespaced {
        let namespace = call.namespace().to_owned();
        object.set_meta("namespace", namespace);
    } else {
        object.metadata_mut().remove("namespace");
    }
}

/// A new object is not being deleted, whatever was sent.
fn forget_deletion(object: &mut Value) {
    for member in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        object.metadata_mut().remove(member);
    }
}

/// Everything between the two halves of admission, in upstream's order. Answers what else belongs to the commit.
fn prepare(
    server: &Server,
    call: &mut Call,
    object: &mut Value,
    dry_run: bool,
) -> Result<Vec<Op>, Refusal> {
    generate_name(object);
    let ops = allocate::for_create(server, call, object, dry_run)?;
    semantics::prepare_create(call, object);
    semantics::validate_create(call, object)?;
    semantics::tidy(call, object);
    object::check_bounds(object)?;
    Ok(ops)
}

fn generate_name(object: &mut Value) {
    let base = object.meta("generateName");
    if object.meta("name").is_empty() && !base.is_empty() {
        let mut random = rand::rng();
        let name = names::generate(base, |n| random.random_range(0..n));
        object.set_meta("name", name);
    }
}

fn already_exists(call: &Call, existing: &Value, name: &str) -> Refusal {
    let resource = &call.resource;
    match existing.is_deleting() {
        true => Status::already_exists_deleting(&resource.group, &resource.plural, name),
        false => Status::already_exists(&resource.group, &resource.plural, name),
    }
    .into()
}
