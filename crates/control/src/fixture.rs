//! What tests of several modules share.

use std::convert::Infallible;

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// Merges `changes` into an object, member by member; a null stays a null.
pub(crate) fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

/// A client of an API server that answers by `answer`, given the request's
/// method, path with query, and body; also counts what it was asked for.
pub(crate) fn scripted<F>(answer: F) -> Client
where
    F: Fn(&str, &str, Value) -> (u16, Value) + Clone + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.expect("the body is in memory");
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let target = head.uri.path_and_query().map(ToString::to_string);
            let (status, value) = answer(head.method.as_str(), &target.unwrap_or_default(), body);
            let body = Body::from(value.to_string().into_bytes());
            Ok::<_, Infallible>(
                Response::builder()
                    .status(status)
                    .body(body)
                    .expect("a valid answer"),
            )
        }
    });
    Client::new(service, "default")
}

/// A refusal as the API server writes it.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message});
    (code, status)
}
