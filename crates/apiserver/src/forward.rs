//! Requests that somebody else answers: passed on, and the answer passed back while it comes.

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyStream, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::answer::HttpResponse;
use crate::body::{Body, BoxError};
use crate::egress::Duplex;

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

/// The client's headers that are meant for whoever answers, without its credentials.
pub fn end_to_end(given: &HeaderMap, upgrades: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let ours = matches!(
            *name,
            header::AUTHORIZATION | header::HOST | header::CONTENT_LENGTH
        );
        if !ours && !HOP_BY_HOP.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if upgrades {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = given.get(header::UPGRADE) {
            headers.insert(header::UPGRADE, protocol.clone());
        }
    }
    headers
}

/// Whether the client wants to speak something else on this connection.
pub fn wants_upgrade(parts: &Parts) -> bool {
    let connection = parts.headers.get_all(header::CONNECTION).iter();
    connection
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// An answer as it came, its body passed on while it comes.
pub fn incoming(response: Response<Incoming>) -> HttpResponse {
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

/// One request, its target a path, on a connection of its own; and, if both sides agree, whatever is said then.
pub async fn exchange(
    stream: impl Duplex + 'static,
    request: Request<Full<Bytes>>,
    ours: Option<OnUpgrade>,
) -> Result<HttpResponse, String> {
    let text = |err: hyper::Error| err.to_string();
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(text)?;
    // Ends when the answer's body has been read or dropped.
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.map_err(text)?;
    let (StatusCode::SWITCHING_PROTOCOLS, Some(ours)) = (response.status(), ours) else {
        return Ok(incoming(response));
    };
    let theirs = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
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
