//! Passing requests on.

use std::fmt::Write as _;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;

use super::service::{ApiService, Backend};
use crate::answer::{self, HttpResponse};
use crate::forward;
use crate::identity::Identity;
use crate::server::Server;

/// Passes a request on to the server that answers for it, and its answer back.
pub async fn proxy(
    server: &Server,
    service: &ApiService,
    parts: Parts,
    body: Bytes,
    identity: &Identity,
) -> HttpResponse {
    if !service.available {
        return failed(503, "service unavailable");
    }
    let backend = match service.backend(server) {
        Ok(backend) => backend,
        Err(why) => return failed(500, &why),
    };
    let request = match outgoing(service, &parts, body, identity) {
        Ok(request) => request,
        Err(why) => return failed(400, &why),
    };
    let answered =
        match parts.extensions.get::<OnUpgrade>().is_some() && forward::wants_upgrade(&parts) {
            true => upgrade(backend, request, parts).await,
            false => backend
                .client
                .request(request)
                .await
                .map(forward::incoming)
                .map_err(|err| crate::webhook::client::cause(&err)),
        };
    answered.unwrap_or_else(|why| failed(503, &format!("error trying to reach service: {why}")))
}

/// What Go's `http.Error` writes.
fn failed(code: u16, why: &str) -> HttpResponse {
    let mut response = answer::text(code, format!("{why}\n"));
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn outgoing(
    service: &ApiService,
    parts: &Parts,
    body: Bytes,
    identity: &Identity,
) -> Result<Request<Full<Bytes>>, String> {
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let authority = format!(
        "{}.{}.svc:{}",
        service.service, service.namespace, service.port
    );
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(format!("https://{authority}{target}"))
        .body(Full::new(body))
        .map_err(|err| err.to_string())?;
    *request.headers_mut() = headers(&parts.headers, forward::wants_upgrade(parts), identity)?;
    Ok(request)
}

/// The client's headers without its credentials, and with who it is.
fn headers(given: &HeaderMap, upgrades: bool, identity: &Identity) -> Result<HeaderMap, String> {
    let mut headers = forward::end_to_end(given, upgrades);
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("impersonate-") || name.starts_with("x-remote-")
        })
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
    let value = |text: &str| HeaderValue::from_str(text).map_err(|err| err.to_string());
    headers.insert("x-remote-user", value(&identity.user)?);
    if !identity.uid.is_empty() {
        headers.insert("x-remote-uid", value(&identity.uid)?);
    }
    for group in identity.groups.iter() {
        headers.append("x-remote-group", value(group)?);
    }
    for (key, values) in identity.extra.iter() {
        let name = format!("x-remote-extra-{}", escape(key));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|err| err.to_string())?;
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(headers)
}

/// What may not stand in the name of a header becomes `%XX`.
fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'%' => escaped.push_str("%25"),
            b if b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b) => {
                escaped.push(char::from(b.to_ascii_lowercase()));
            }
            b => {
                let _ = write!(escaped, "%{b:02X}");
            }
        }
    }
    escaped
}

/// Passes on a request to speak something else, and then whatever is said.
async fn upgrade(
    backend: &Backend,
    mut request: Request<Full<Bytes>>,
    mut parts: Parts,
) -> Result<HttpResponse, String> {
    let text = |err: &dyn std::error::Error| err.to_string();
    let stream = backend.connector.connect().await.map_err(|e| text(&e))?;
    // A request on a connection of its own names no host in its target.
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let host = uri.authority.map_or_else(String::new, |a| a.to_string());
    let host = HeaderValue::from_str(&host).map_err(|e| text(&e))?;
    request.headers_mut().insert(header::HOST, host);
    if let Some(target) = uri.path_and_query {
        *request.uri_mut() = target.into();
    }
    forward::exchange(stream, request, parts.extensions.remove::<OnUpgrade>()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_who_asks_and_keep_secrets() {
        let mut given = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "root"),
            ("x-remote-user", "root"),
            ("x-remote-extra-a", "b"),
            ("connection", "close"),
            ("accept", "application/json"),
        ] {
            given.insert(name, HeaderValue::from_static(value));
        }
        let extra = [("example.com/Key 1".to_owned(), vec!["v".to_owned()])].into();
        let identity = Identity::authenticated("eve", ["g".to_owned()]).with("u1", extra);
        let headers = headers(&given, false, &identity).expect("right");
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "accept: application/json",
                "x-remote-extra-example.com%2fkey%201: v",
                "x-remote-group: g",
                "x-remote-group: system:authenticated",
                "x-remote-uid: u1",
                "x-remote-user: eve",
            ]
        );
    }
}
