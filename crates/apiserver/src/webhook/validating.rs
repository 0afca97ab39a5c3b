//! ValidatingAdmissionWebhook: all webhooks are asked at once, and none may refuse.

use std::sync::Arc;

use futures::future::join_all;

use super::hook::Hook;
use super::{Failure, ask, is_exempt, rejection, review};
use crate::admission::{Attributes, Notes};
use crate::answer::Refusal;
use crate::matching::Target;
use crate::server::Server;

/// Asks the webhooks that the request concerns.
pub async fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let hooks = server.webhooks.validating.snapshot();
    if hooks.is_empty() || is_exempt(attributes) {
        return Ok(());
    }
    let mut concerned: Vec<(&Arc<Hook>, Target)> = Vec::new();
    for hook in hooks.iter() {
        if let Some(target) = hook.target(server, attributes).await? {
            concerned.push((hook, target));
        }
    }
    let calls = concerned
        .iter()
        .map(|(hook, target)| ask(server, hook, target, attributes, false));
    let answers = join_all(calls).await;
    let mut refusal = None;
    for (index, ((hook, _), answer)) in concerned.iter().zip(answers).enumerate() {
        if let Err(refused) = judge(hook, index, answer, notes) {
            refusal.get_or_insert(refused);
        }
    }
    refusal.map_or(Ok(()), Err)
}

fn judge(
    hook: &Hook,
    index: usize,
    answer: Result<review::Answer, Failure>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    match answer {
        Ok(answer) => {
            let own = answer.annotations.into_iter();
            notes
                .annotations
                .extend(own.map(|(key, value)| (format!("{}/{key}", hook.name), value)));
            notes.warnings.extend(answer.warnings);
            match answer.allowed {
                true => Ok(()),
                false => Err(rejection(&hook.name, &answer.result)),
            }
        }
        Err(Failure::Call(why)) if hook.ignores_failure => {
            tracing::warn!(webhook = %hook.name, why, "webhook failed, request goes on");
            let key =
                format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
            notes.annotations.push((key, hook.name.clone()));
            Ok(())
        }
        Err(failure) => Err(failure.refusal(&hook.name)),
    }
}
