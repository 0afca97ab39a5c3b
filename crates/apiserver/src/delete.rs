//! `delete` and `deletecollection`: finalizers, grace and propagation as upstream's registry has them.

mod options;

use std::sync::Arc;

use bytes::Bytes;
use karve_api::resource::Resource;
use karve_api::status::Status;
use karve_api::strategy;
use karve_store::{Action, Event, Expect, Op};
use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::list::{self, Listed};
use crate::object::{self, Meta};
use crate::select::Selection;
use crate::server::Server;
use crate::write::{self, Committed};
use crate::{admission, allocate, convert, crd, respond};

pub use options::Options;

/// How often a deletion may meet another writer.
const ATTEMPTS: usize = 32;

/// Answers `delete`.
pub async fn delete(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let options = Options::parse(call, body)?;
    warn_of_orphans(call, &options);
    let name = call.name().to_owned();
    let outcome = delete_one(server, call, &name, &options, Admission::Asked).await?;
    Ok(answer(call, &name, &outcome, &options))
}

/// A Job's Pods stay when the client says nothing, which surprises people.
fn warn_of_orphans(call: &mut Call, options: &Options) {
    let silent = options.propagation.is_none() && options.orphan.is_none();
    if silent && call.resource.group == "batch" && call.resource.plural == "jobs" {
        call.warnings.push(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
             them or set propagationPolicy=Orphan to suppress this warning"
                .to_owned(),
        );
    }
}

/// What became of the object.
pub struct Outcome {
    stored: Bytes,
    gone: bool,
}

fn answer(call: &Call, name: &str, outcome: &Outcome, options: &Options) -> HttpResponse {
    let resource = &call.resource;
    if outcome.gone && !strategy::deletes_with_object(resource) {
        let object = object::decode(&outcome.stored, resource);
        let status = Status::deleted(&resource.group, &resource.plural, name, object.meta("uid"));
        return respond::status_to(call, &status);
    }
    // Asked to wait for dependents by the old parameter, upstream says "accepted".
    let code = if !outcome.gone && options.orphan == Some(false) {
        202
    } else {
        200
    };
    respond::object(call, code, &convert::read(resource, &outcome.stored))
}

/// Whether admission is asked about a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As of every request to delete.
    Asked,
    /// It was asked about what leads to the deletion.
    Over,
}

/// Deletes one object, or marks it as being deleted.
pub async fn delete_one(
    server: &Server,
    call: &mut Call,
    name: &str,
    options: &Options,
    admission: Admission,
) -> Result<Outcome, Refusal> {
    let resource = &call.resource.clone();
    let key = crate::keys::key(resource, call.namespace(), name);
    for _ in 0..ATTEMPTS {
        let entry = server
            .store
            .get(&key)
            .ok_or_else(|| call.not_found_name(name))?;
        let object = object::decode(entry.value(), resource);
        check_preconditions(call, &object, options)?;
        if admission == Admission::Asked {
            let given = options.to_value();
            admission::delete(server, call, &object, given, options.dry_run).await?;
        }
        let step = plan(resource, object.clone(), options);
        let mut ops = Vec::new();
        if let Some(marked) = &step.marked {
            ops.push(Op {
                key: key.as_str().into(),
                expect: Expect::Revision(entry.revision()),
                action: Action::Put(object::encode(marked, resource)),
            });
        }
        if step.gone {
            let expect = match ops.is_empty() {
                true => Expect::Revision(entry.revision()),
                false => Expect::Any,
            };
            ops.push(Op {
                key: key.as_str().into(),
                expect,
                action: Action::Delete,
            });
            ops.extend(allocate::for_delete(server, call, &object));
        }
        if ops.is_empty() || options.dry_run {
            let stored = step
                .marked
                .as_ref()
                .map_or(entry.value().clone(), |m| write::shown(m, call));
            return Ok(Outcome {
                stored,
                gone: step.gone,
            });
        }
        match write::commit(server, ops).await? {
            Committed::Done(events) => {
                let stored = last_version(&events).unwrap_or_else(|| entry.value().clone());
                return Ok(Outcome {
                    stored,
                    gone: step.gone,
                });
            }
            Committed::Conflict => {}
        }
    }
    Err(call.modified(name))
}

/// What the object was in the end, with the version of its deletion when it is gone.
fn last_version(events: &[Arc<Event>]) -> Option<Bytes> {
    let key = events.first()?.key();
    let last = events.iter().rfind(|e| e.key() == key)?;
    match (last.current(), last.previous()) {
        (Some(entry), _) => Some(entry.value().clone()),
        (None, previous) => previous.map(|entry| entry.restamped(last.revision())),
    }
}

fn check_preconditions(call: &Call, object: &Value, options: &Options) -> Result<(), Refusal> {
    let (kind, name) = (&*call.resource.kind, object.meta("name"));
    if let Some(uid) = options
        .uid
        .as_ref()
        .filter(|uid| *uid != object.meta("uid"))
    {
        return Err(Status::uid_precondition(kind, name, uid, object.meta("uid")).into());
    }
    let version = object.meta("resourceVersion");
    if let Some(wanted) = options.version.as_ref().filter(|v| *v != version) {
        return Err(Status::version_precondition(kind, name, wanted, version).into());
    }
    Ok(())
}

/// What a deletion does to an object.
struct Step {
    /// The version to store first.
    marked: Option<Value>,
    /// Whether it goes away now.
    gone: bool,
}

fn plan(resource: &Resource, mut object: Value, options: &Options) -> Step {
    if resource.plural == "customresourcedefinitions"
        && resource.group == "apiextensions.k8s.io"
        && !object.is_deleting()
    {
        crd::mark_deleted(&mut object);
        return Step {
            marked: Some(object),
            gone: false,
        };
    }
    let core = resource.group.is_empty();
    if core && resource.plural == "namespaces" {
        return plan_namespace(resource, object, options);
    }
    let before = object.clone();
    let graceful = match core && resource.plural == "pods" {
        true => mark_gracefully(&mut object, options),
        false => Grace::None,
    };
    if graceful == Grace::Pending {
        return Step {
            marked: None,
            gone: false,
        };
    }
    if let Some(finalizers) = options.finalizers(resource, &object) {
        object.set_meta("finalizers", finalizers);
    }
    let pending = !object.finalizers().is_empty();
    if graceful == Grace::None && pending {
        mark_now(&mut object);
    }
    let seconds = object::number(&object["metadata"]["deletionGracePeriodSeconds"]);
    let gone = !pending && (graceful == Grace::None || seconds == 0);
    let marked = (object != before && (graceful == Grace::Marked || pending)).then_some(object);
    Step { marked, gone }
}

fn mark_now(object: &mut Value) {
    if !object.is_deleting() {
        bump_generation(object);
        object.set_meta("deletionTimestamp", write::now());
    }
    object.set_meta("deletionGracePeriodSeconds", 0);
}

fn bump_generation(object: &mut Value) {
    let generation = object::number(&object["metadata"]["generation"]);
    if generation > 0 {
        object.set_meta("generation", generation + 1);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grace {
    /// The kind knows none.
    None,
    /// The object is marked, or its time was shortened.
    Marked,
    /// It is marked already, and nothing changes.
    Pending,
}

/// Only Pods are deleted gracefully.
fn mark_gracefully(pod: &mut Value, options: &Options) -> Grace {
    let wanted = options.grace.map(|g| if g < 0 { 1 } else { g });
    if pod.is_deleting() {
        let have = object::number(&pod["metadata"]["deletionGracePeriodSeconds"]);
        let Some(wanted) = wanted.filter(|w| *w < have) else {
            return Grace::Pending;
        };
        let ends: Option<jiff::Timestamp> = pod.meta("deletionTimestamp").parse().ok();
        let ends = ends.unwrap_or_else(jiff::Timestamp::now);
        let shorter = jiff::SignedDuration::from_secs(have - wanted);
        let ends = ends.checked_sub(shorter).unwrap_or(ends);
        pod.set_meta("deletionTimestamp", write::timestamp(ends));
        pod.set_meta("deletionGracePeriodSeconds", wanted);
        return Grace::Marked;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
    let mut seconds = wanted.or(own).unwrap_or(30);
    let unscheduled = pod["spec"]["nodeName"]
        .as_str()
        .unwrap_or_default()
        .is_empty();
    let finished = matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if unscheduled || finished {
        seconds = 0;
    }
    let ends = jiff::Timestamp::now();
    let ends = ends
        .checked_add(jiff::SignedDuration::from_secs(seconds.max(0)))
        .unwrap_or(ends);
    bump_generation(pod);
    pod.set_meta("deletionTimestamp", write::timestamp(ends));
    pod.set_meta("deletionGracePeriodSeconds", seconds);
    Grace::Marked
}

/// A namespace is marked as terminating; the controller that empties it takes the finalizer away.
fn plan_namespace(resource: &Resource, mut namespace: Value, options: &Options) -> Step {
    if !namespace.is_deleting() {
        namespace.set_meta("deletionTimestamp", write::now());
        object::member_mut(&mut namespace, "status").insert("phase".into(), "Terminating".into());
        if let Some(finalizers) = options.finalizers(resource, &namespace) {
            namespace.set_meta("finalizers", finalizers);
        }
        return Step {
            marked: Some(namespace),
            gone: false,
        };
    }
    let held = namespace["spec"]["finalizers"]
        .as_array()
        .is_some_and(|f| !f.is_empty());
    Step {
        marked: None,
        gone: !held && namespace.finalizers().is_empty(),
    }
}

/// Answers `deletecollection` with the list of what was deleted.
pub async fn delete_collection(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let selection = Selection::parse(call)?;
    let options = Options::parse(call, body)?;
    let listed = list::read(&server.store, call, &selection)?;
    let mut deleted = Vec::with_capacity(listed.entries.len());
    for entry in listed.entries {
        let name = entry
            .key()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        match delete_one(server, call, &name, &options, Admission::Asked).await {
            Ok(_) => deleted.push(entry),
            // Somebody else deleted it: that is what was wanted.
            Err(refusal) if refusal.status().code == 404 => {}
            Err(refusal) => return Err(refusal),
        }
    }
    list::respond_list(
        call,
        Listed {
            entries: deleted,
            metadata: listed.metadata,
        },
    )
    .await
}

#[cfg(test)]
mod tests;
