//! Passing requests on.

use std::fmt::Write as _;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyStream, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::service::{ApiService, Backend};
use crate::answer::{self, HttpResponse};
use crate::body::{Body, BoxError};
use crate::identity::Identity;
use crate::server::Server;

/// Headers of one connection, which are not those of the next.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

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
    let answered = match parts.extensions.get::<OnUpgrade>().is_some() && wants_upgrade(&parts) {
        true => upgrade(backend, request, parts).await,
        false => backend
            .client
            .request(request)
            .await
            .map(incoming)
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

fn wants_upgrade(parts: &Parts) -> bool {
    let connection = parts.headers.get_all(header::CONNECTION).iter();
    connection
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("upgrade"))
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
    *request.headers_mut() = headers(&parts.headers, wants_upgrade(parts), identity)?;
    Ok(request)
}

/// The client's headers without its credentials, and with who it is.
fn headers(given: &HeaderMap, upgrades: bool, identity: &Identity) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let dropped = HOP_BY_HOP.contains(name)
            || matches!(
                *name,
                header::AUTHORIZATION | header::HOST | header::CONTENT_LENGTH
            )
            || name.as_str().starts_with("impersonate-")
            || name.as_str().starts_with("x-remote-");
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    if upgrades {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = given.get(header::UPGRADE) {
            headers.insert(header::UPGRADE, protocol.clone());
        }
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

/// An answer as it came, its body passed on while it comes.
fn incoming(response: Response<Incoming>) -> HttpResponse {
    let (mut parts, body) = response.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    let frames = BodyStream::new(body)
        .try_filter_map(|frame| async move { Ok(frame.into_data().ok()) })
        .map_err(BoxError::from);
    let mut answer = Response::new(Body::stream(frames));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    answer
}

/// Passes on a request to speak something else, and then whatever is said.
async fn upgrade(
    backend: &Backend,
    request: Request<Full<Bytes>>,
    mut parts: Parts,
) -> Result<HttpResponse, String> {
    let stream = backend
        .connector
        .connect()
        .await
        .map_err(|err| err.to_string())?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|err| err.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let mut request = request;
    // A request on a connection of its own names no host in its target.
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |t| t.as_str())
        .to_owned();
    let host = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    *request.uri_mut() = target
        .parse()
        .map_err(|err: http::uri::InvalidUri| err.to_string())?;
    let host = HeaderValue::from_str(&host).map_err(|err| err.to_string())?;
    request.headers_mut().insert(header::HOST, host);
    let mut response = sender
        .send_request(request)
        .await
        .map_err(|err| err.to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(incoming(response));
    }
    let theirs = hyper::upgrade::on(&mut response);
    let ours = parts.extensions.remove::<OnUpgrade>();
    tokio::spawn(async move {
        let Some(ours) = ours else { return };
        let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else {
            return;
        };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        // Either end may just go.
        let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
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
