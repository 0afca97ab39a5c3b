//! MutatingAdmissionWebhook: each webhook sees what the one before it made of the object.

use karve_api::patch;
use karve_api::schema::Schema;
use karve_api::status::Status;
use serde_json::{Value, json};

use super::hook::Hook;
use super::{Failure, ask, is_exempt, rejection, review};
use crate::admission::{Attributes, Notes};
use crate::answer::Refusal;
use crate::matching::Target;
use crate::server::Server;

/// Asks the webhooks that the request concerns. In the second round, only those that were asked before the object
/// changed again.
pub async fn mutate(
    server: &Server,
    attributes: &mut Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let hooks = server.webhooks.mutating.snapshot();
    if hooks.is_empty() || is_exempt(attributes) {
        return Ok(());
    }
    let second = attributes.reinvocation.second;
    if second {
        let object = attributes.object.as_deref().unwrap_or(&Value::Null);
        attributes.reinvocation.webhooks.resume(object);
    }
    for (index, hook) in hooks.iter().enumerate() {
        let Some(target) = hook.target(server, attributes).await? else {
            continue;
        };
        if second && !attributes.reinvocation.webhooks.is_required(&hook.id) {
            continue;
        }
        let place = format!("round_{}_index_{index}", u8::from(second));
        let outcome = call(server, hook, &target, attributes, notes).await;
        let changed = matches!(outcome, Ok(true));
        note(notes, hook, &place, changed);
        let reinvocation = &mut attributes.reinvocation;
        if changed {
            reinvocation.webhooks.require();
            reinvocation.wanted = true;
        }
        if hook.reinvokes {
            reinvocation.webhooks.remember(&hook.id);
        }
        match outcome {
            Ok(_) => {}
            Err(Failure::Call(why)) if hook.ignores_failure => {
                tracing::warn!(webhook = %hook.name, why, "webhook failed, request goes on");
                let key = format!("failed-open.mutation.webhook.admission.k8s.io/{place}");
                notes.annotations.push((key, hook.name.clone()));
            }
            Err(failure) => return Err(failure.refusal(&hook.name)),
        }
    }
    let object = attributes.object.as_deref().unwrap_or(&Value::Null);
    attributes.reinvocation.webhooks.leave(object);
    Ok(())
}

fn note(notes: &mut Notes, hook: &Hook, place: &str, mutated: bool) {
    let key = format!("mutation.webhook.admission.k8s.io/{place}");
    let value = json!({
        "configuration": hook.configuration, "webhook": hook.name, "mutated": mutated,
    });
    notes.annotations.push((key, value.to_string()));
}

/// Asks one webhook and does what it says; answers whether the object changed.
async fn call(
    server: &Server,
    hook: &Hook,
    target: &Target,
    attributes: &mut Attributes<'_>,
    notes: &mut Notes,
) -> Result<bool, Failure> {
    let answer = ask(server, hook, target, attributes, true).await?;
    let own = answer.annotations.into_iter();
    notes
        .annotations
        .extend(own.map(|(key, value)| (format!("{}/{key}", hook.name), value)));
    notes.warnings.extend(answer.warnings);
    if !answer.allowed {
        return Err(Failure::Refused(rejection(&hook.name, &answer.result)));
    }
    if answer.patch.is_empty() {
        return Ok(false);
    }
    let operations: Result<Vec<Value>, _> = serde_json::from_slice(&answer.patch);
    match operations {
        Ok(operations) if operations.is_empty() => return Ok(false),
        Ok(_) => {}
        Err(err) => {
            return Err(Failure::Call(format!(
                "received undecodable patch in webhook response: {err}"
            )));
        }
    }
    if answer.patch_type != "JSONPatch" {
        let kind = karve_api::field::quote(&answer.patch_type);
        return Err(Failure::Call(format!("unsupported patch type {kind}")));
    }
    apply(server, hook, target, attributes, &answer.patch).await
}

async fn apply(
    server: &Server,
    hook: &Hook,
    target: &Target,
    attributes: &mut Attributes<'_>,
    patch: &[u8],
) -> Result<bool, Failure> {
    let call = attributes.call;
    let Some(object) = attributes.object.as_deref_mut() else {
        let why = format!(
            "admission webhook \"{}\" attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(Failure::Refused(Status::internal(why).into()));
    };
    let failed = |why: String| Failure::Refused(Status::internal(why).into());
    let before = review::shown(server, target, &call.resource, object)
        .await
        .map_err(Failure::Refused)?;
    let whole = target.kind.kind == target.resource.kind;
    let kind = &target.kind;
    let patched = match &target.resource.custom {
        Some(custom) if whole => patch::custom(patch::Kind::Json, &before, patch, custom),
        _ => {
            let ty = Schema::builtin().kind(&kind.group, &kind.version, &kind.kind);
            let ty = ty.ok_or_else(|| failed("the kind has no schema".into()))?;
            patch::patch(patch::Kind::Json, &before, patch, ty)
        }
    };
    let patched = patched.map_err(|err| failed(err.to_string()))?;
    let mut after = patched.object;
    if whole {
        after = review::taken_back(server, target, call, after)
            .await
            .map_err(Failure::Refused)?;
    }
    // Who left out what the decoder adds changed nothing.
    let changed = after != *object && after != before;
    *object = after;
    Ok(changed)
}
