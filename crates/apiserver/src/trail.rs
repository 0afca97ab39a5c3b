//! What becomes known of a request while it is answered, for those that look at it afterwards.
//!
//! It belongs to the task that answers the request: whoever learns something on the way notes it, without being handed
//! anything. Outside of a request, and in tasks that a request starts, notes go nowhere.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use serde_json::Value;

use crate::audit::Scope;
use crate::call::Call;
use crate::flow::Class;
use crate::identity::Identity;

tokio::task_local! {
    static TRAIL: RefCell<Trail>;
}

/// What is known of a request.
#[derive(Debug, Default)]
pub struct Trail {
    /// Who asks.
    pub user: Option<Identity>,
    /// As whom.
    pub impersonated: Option<Identity>,
    /// Where flow control put it.
    pub class: Option<Class>,
    /// How long it waited there.
    pub waited: Duration,
    /// What the audit log wants of it.
    pub scope: Option<Scope>,
    /// Notes for the audit log.
    pub annotations: Vec<(String, String)>,
    /// The object that was sent, if the audit log wants it.
    pub request_object: Option<Value>,
}

/// Runs a request, at most until `patience` ends; answers with what became known, even when that was so.
pub async fn follow<T>(
    trail: Trail,
    patience: Option<Duration>,
    request: impl Future<Output = T>,
) -> (Option<T>, Trail) {
    let mut followed = pin!(TRAIL.scope(RefCell::new(trail), request));
    let answer = match patience {
        Some(patience) => tokio::time::timeout(patience, followed.as_mut()).await.ok(),
        None => Some(followed.as_mut().await),
    };
    let trail = followed.as_mut().take_value();
    (answer, trail.map(RefCell::into_inner).unwrap_or_default())
}

/// Notes something about the request that this task answers.
pub fn note(write: impl FnOnce(&mut Trail)) {
    // An error means that there is no request.
    let _ = TRAIL.try_with(|trail| write(&mut trail.borrow_mut()));
}

/// Notes the object that a request sent, if the audit log wants it and it is JSON. Other formats are noted when they are
/// decoded.
pub fn request_body(call: &Call, body: &[u8]) {
    if !body.is_empty() && call.content_type.ends_with("json") {
        request_object(|| serde_json::from_slice(body).ok());
    }
}

/// Notes the object that a request sent, if the audit log wants it.
pub fn request_object(object: impl FnOnce() -> Option<Value>) {
    note(|trail| {
        let wanted = trail.scope.as_ref().is_some_and(Scope::wants_objects);
        if wanted && trail.request_object.is_none() {
            trail.request_object = object();
        }
    });
}

/// Notes whether the request was allowed, and why, if there is an audit log.
pub fn decided(allowed: bool, reason: &str) {
    note(|trail| {
        if trail.scope.is_some() {
            let decision = if allowed { "allow" } else { "forbid" };
            let mut annotate = |key: &str, value: &str| {
                trail
                    .annotations
                    .push((format!("authorization.k8s.io/{key}"), value.to_owned()));
            };
            annotate("decision", decision);
            annotate("reason", reason);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notes_outlive_a_request_that_is_cut_off() {
        let (answer, trail) = follow(Trail::default(), Some(Duration::from_millis(1)), async {
            note(|trail| trail.waited = Duration::from_secs(1));
            std::future::pending::<()>().await;
        })
        .await;
        assert_eq!(answer, None);
        assert_eq!(trail.waited, Duration::from_secs(1));
        note(|_| panic!("nobody listens"));
    }
}
