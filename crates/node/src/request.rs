//! Requests to the API: none waits for ever.

use std::time::Duration;

/// The longest that one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Awaits a request up to [`REQUEST_MAX`].
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(REQUEST_MAX, call).await {
        Ok(result) => result,
        Err(elapsed) => Err(kube::Error::Service(Box::new(elapsed))),
    }
}

/// The status code of an answer; none when there was no answer.
pub fn status_code(err: &kube::Error) -> Option<u16> {
    match err {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What the API said, or why it said nothing, in one line for an event.
pub fn text(err: &kube::Error) -> String {
    match err {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
