//! Which request gets which answer.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;

use super::{State, logs, metrics, tunnel};

pub(super) type Body = BoxBody<Bytes, std::convert::Infallible>;

/// Answers one request; only the API server is told anything.
pub(super) async fn answer(
    state: &State,
    allowed: bool,
    request: Request<Incoming>,
) -> Response<Body> {
    if !allowed {
        return text(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if request.method() == Method::CONNECT {
        return tunnel::open(state.cluster_cidr, request).await;
    }
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    }
    match path.as_slice() {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["metrics"] => text(StatusCode::OK, metrics::text(&state.statuses.read())),
        ["pods"] => pods(state),
        ["containerLogs", namespace, pod, container] => {
            let query = request.uri().query().unwrap_or_default();
            logs::answer(state, namespace, pod, container, query)
                .await
                .unwrap_or_else(|refusal| refusal)
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn pods(state: &State) -> Response<Body> {
    let items: Vec<Pod> = state
        .pods
        .read()
        .values()
        .map(|pod| Pod::clone(pod))
        .collect();
    match serde_json::to_vec(&List {
        items,
        ..List::default()
    }) {
        Ok(json) => {
            let mut response = Response::new(full(json));
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(err) => {
            tracing::error!(err = &err as &dyn std::error::Error, "pods not serialized");
            text(StatusCode::INTERNAL_SERVER_ERROR, "pods not serialized")
        }
    }
}

/// A plain text answer; upstream's kubelet writes errors so.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}
