//! Admission webhooks: programs elsewhere that change and refuse objects.
//!
//! `hook` is a configured webhook made ready, kept by a [`crate::follow::Follow`] of all configurations; `review` is the
//! AdmissionReview that goes out and what may come back; `client` speaks HTTPS with it; `mutating` and `validating` are the
//! two plugins. What comes back is bounded in size and time.
//!
//! Deliberately absent: retries. A webhook is asked once, and its failure policy says what a failure means.

pub mod client;
mod hook;
mod mutating;
pub(crate) mod review;
mod validating;

use std::collections::HashSet;
use std::sync::Arc;

use karve_api::status::Status;
use serde_json::Value;

pub use hook::Hooks;
pub use mutating::mutate;
pub use validating::validate;

use crate::admission::Attributes;
use crate::answer::Refusal;
use crate::follow::Follow;
use crate::server::Server;
use karve_store::Store;

/// The configurations of both kinds.
pub struct Webhooks {
    mutating: Follow<Arc<Hooks>>,
    validating: Follow<Arc<Hooks>>,
}

impl Webhooks {
    /// Of the objects of a store.
    pub fn new(store: &Store) -> Webhooks {
        Webhooks {
            mutating: Follow::new(
                store.clone(),
                &["/admissionregistration.k8s.io/mutatingwebhookconfigurations/"],
            ),
            validating: Follow::new(
                store.clone(),
                &["/admissionregistration.k8s.io/validatingwebhookconfigurations/"],
            ),
        }
    }
}

/// What one of the mutating plugins that ask others has to remember between two rounds.
#[derive(Debug, Default)]
pub struct Invoked {
    /// Those that were asked and want to be asked again when others change the object.
    previously: HashSet<String>,
    /// Those that are asked in the second round.
    again: HashSet<String>,
    /// The object as this plugin left it.
    left: Option<Value>,
}

impl Invoked {
    /// Notes that it was asked and wants to be asked again.
    pub fn remember(&mut self, id: &str) {
        self.previously.insert(id.to_owned());
    }

    /// The object was changed: whoever was asked before is asked again.
    pub fn require(&mut self) {
        self.again.extend(self.previously.drain());
    }

    /// Whether it is asked in the second round.
    pub fn is_required(&self, id: &str) -> bool {
        self.again.contains(id)
    }

    /// Begins a second round: others may have changed the object since.
    pub fn resume(&mut self, object: &Value) {
        if self.left.as_ref().is_some_and(|left| left != object) {
            self.require();
        }
    }

    /// Ends a round. Copies the object only if somebody wants to be asked again.
    pub fn leave(&mut self, object: &Value) {
        self.left = (!self.previously.is_empty()).then(|| object.clone());
    }
}

/// Webhooks have no say about what configures admission: nobody could repair it.
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    attributes.call.resource.group == "admissionregistration.k8s.io"
        && matches!(
            &*attributes.call.resource.kind,
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}

/// Why asking a webhook led to nothing.
#[derive(Debug)]
enum Failure {
    /// It did not answer, or not as it should: its failure policy decides.
    Call(String),
    /// It refused, or the request can't go on whatever its policy.
    Refused(Refusal),
}

impl Failure {
    /// What upstream says when a webhook must not fail and does.
    fn refusal(self, webhook: &str) -> Refusal {
        match self {
            Failure::Refused(refusal) => refusal,
            Failure::Call(why) => {
                Status::internal(format!("failed calling webhook \"{webhook}\": {why}")).into()
            }
        }
    }
}

/// Asks a webhook that is concerned.
async fn ask(
    server: &Server,
    hook: &hook::Hook,
    target: &crate::matching::Target,
    attributes: &Attributes<'_>,
    mutating: bool,
) -> Result<review::Answer, Failure> {
    if attributes.dry_run && !hook.dry_run {
        let why = format!(
            "admission webhook \"{}\" does not support dry run",
            hook.name
        );
        return Err(Failure::Refused(Status::bad_request(why).into()));
    }
    let Some(version) = review::Version::of(&hook.versions) else {
        return Err(Failure::Call(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)".into(),
        ));
    };
    let uid = uuid::Uuid::new_v4().to_string();
    let shown = review::both_shown(server, target, attributes)
        .await
        .map_err(Failure::Refused)?;
    let body = review::request(version, &uid, target, attributes, shown);
    let client = hook.client(&server.egress);
    let client =
        client.map_err(|why| Failure::Call(format!("could not get REST client: {why}")))?;
    let answer = client
        .post(body, hook.timeout)
        .await
        .map_err(|why| Failure::Call(format!("failed to call webhook: {why}")))?;
    review::read(version, &uid, mutating, &answer)
        .map_err(|why| Failure::Call(format!("received invalid webhook response: {why}")))
}

/// The refusal of a webhook, with what it says of it.
fn rejection(webhook: &str, result: &Value) -> Refusal {
    let mut status = Status::foreign(result);
    let denied = format!("admission webhook \"{webhook}\" denied the request");
    status.message = match (status.message.is_empty(), status.reason.is_empty()) {
        (false, _) => format!("{denied}: {}", status.message),
        (true, false) => format!("{denied}: {}", status.reason),
        (true, true) => format!("{denied} without explanation"),
    };
    status.into()
}
