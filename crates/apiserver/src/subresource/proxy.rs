//! `proxy` of Pods, Services and Nodes: requests passed on to what they serve.
//!
//! A name in the path is `[SCHEME:]NAME[:PORT]`. What `https` shows is believed, as upstream does. The client's own
//! credentials stay here. Absent: links in HTML are not rewritten, only the header `Location`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use karve_api::field::quote;
use karve_api::status::Status;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::answer::{HttpResponse, Refusal};
use crate::body::Body;
use crate::call::Call;
use crate::egress::Connection;
use crate::server::Server;
use crate::webhook::client;
use crate::{admission, forward, keys, kubelet, object};

/// Who is to answer.
enum Destination {
    /// A Pod, or an endpoint of a Service.
    Endpoint {
        /// Where it listens.
        address: SocketAddr,
        /// Whether it speaks TLS.
        tls: bool,
    },
    /// The kubelet API of a node.
    Node(Value),
}

/// Answers any method on `proxy` and below it.
pub async fn proxy(
    server: &Server,
    call: &mut Call,
    mut parts: Parts,
    body: Bytes,
) -> Result<HttpResponse, Refusal> {
    admission::connect(server, call).await?;
    let destination = destination(server, call)?;
    let (prefix, rest) = split(parts.uri.path());
    if rest.is_empty() && matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(to_root(&parts.uri));
    }
    let authority = match &destination {
        Destination::Endpoint { address, .. } => address.to_string(),
        Destination::Node(_) => call.name().to_owned(),
    };
    let request = outgoing(&parts, rest, &authority, body).map_err(Status::bad_request)?;
    let ours = parts.extensions.remove::<OnUpgrade>();
    let answered = match connect(server, &destination).await {
        Ok(stream) => forward::exchange(stream, request, ours).await,
        Err(why) => Err(why),
    };
    let mut response = answered
        .map_err(|why| Status::unavailable(format!("error trying to reach service: {why}")))?;
    if let Some(location) = response.headers().get(header::LOCATION)
        && let Some(moved) = relocate(location, prefix, &authority)
    {
        response.headers_mut().insert(header::LOCATION, moved);
    }
    Ok(response)
}

fn destination(server: &Server, call: &Call) -> Result<Destination, Refusal> {
    let kind = match &*call.resource.plural {
        "pods" => "pod",
        "services" => "service",
        _ => "node",
    };
    let Some((tls, name, port)) = parse_name(call.name()) else {
        let text = format!("invalid {kind} request {}", quote(call.name()));
        return Err(Status::bad_request(text).into());
    };
    let stored = || {
        server
            .store
            .get(&keys::key(&call.resource, call.namespace(), name))
            .map(|entry| object::decode(entry.value(), &call.resource))
            .ok_or_else(|| call.not_found_name(name))
    };
    let address = match kind {
        "node" => return Ok(Destination::Node(stored()?)),
        "pod" => of_pod(&stored()?, port)?,
        _ => {
            // A number means the port of the Service that has it, whose name its endpoints know.
            let by_number = match port.parse::<u16>() {
                Ok(number) => port_name(&stored()?, number),
                Err(_) => None,
            };
            let port_name = by_number.as_deref().unwrap_or(port);
            client::ready(&server.store, call.namespace(), name, port_name)
                .map_err(Status::unavailable)?
        }
    };
    Ok(Destination::Endpoint { address, tls })
}

/// `[SCHEME:]NAME[:PORT]`: whether the scheme is https, the name and the port, which may be empty.
fn parse_name(text: &str) -> Option<(bool, &str, &str)> {
    let parts: Vec<&str> = text.split(':').collect();
    let parsed = match parts[..] {
        [name] => (false, name, ""),
        [name, port] => (false, name, port),
        ["", name, port] | ["http", name, port] => (false, name, port),
        ["https", name, port] => (true, name, port),
        _ => return None,
    };
    (!parsed.1.is_empty()).then_some(parsed)
}

fn of_pod(pod: &Value, port: &str) -> Result<SocketAddr, Refusal> {
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    let ip: IpAddr = ip
        .parse()
        .ok()
        .filter(is_proxyable)
        .ok_or_else(|| Status::bad_request("address not allowed"))?;
    let first = || {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        containers
            .filter_map(|container| container["ports"][0]["containerPort"].as_u64())
            .find_map(|port| u16::try_from(port).ok())
    };
    let port = match port {
        "" => first().unwrap_or(80),
        port => port.parse().map_err(|_| {
            let why =
                format!("error trying to reach service: dial tcp: lookup tcp/{port}: unknown port");
            Status::unavailable(why)
        })?,
    };
    Ok(SocketAddr::new(ip, port))
}

/// Not the server itself and what is near it.
fn is_proxyable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

fn port_name(service: &Value, number: u16) -> Option<String> {
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["port"] == number)?;
    Some(port["name"].as_str().unwrap_or_default().to_owned())
}

/// The path up to and with `proxy`, and what follows it; both still encoded.
fn split(path: &str) -> (&str, &str) {
    // /api/v1/nodes/NAME/proxy, or with namespaces/NAMESPACE before.
    let segments = match path.starts_with("/api/v1/namespaces/") {
        true => 7,
        false => 5,
    };
    let end = path
        .match_indices('/')
        .nth(segments)
        .map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

/// Relative links work only below a path that ends with a slash.
fn to_root(uri: &Uri) -> HttpResponse {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = HttpResponse::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn outgoing(
    parts: &Parts,
    rest: &str,
    authority: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, String> {
    let query = parts.uri.query().map(|q| format!("?{q}"));
    let path = if rest.is_empty() { "/" } else { rest };
    let target = format!("{path}{}", query.unwrap_or_default());
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(target)
        .body(Full::new(body))
        .map_err(|err| err.to_string())?;
    let mut headers = forward::end_to_end(&parts.headers, forward::wants_upgrade(parts));
    let value = |text: &str| HeaderValue::from_str(text).map_err(|err| err.to_string());
    headers.insert(header::HOST, value(authority)?);
    headers.insert("x-forwarded-uri", value(parts.uri.path())?);
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    let asked = parts.headers.get(header::HOST).cloned();
    let asked = asked.or_else(|| HeaderValue::from_str(parts.uri.authority()?.as_str()).ok());
    if let Some(host) = asked {
        headers.insert("x-forwarded-host", host);
    }
    *request.headers_mut() = headers;
    Ok(request)
}

async fn connect(server: &Server, destination: &Destination) -> Result<Connection, String> {
    let text = |err: std::io::Error| err.to_string();
    match destination {
        Destination::Node(node) => {
            let (ip, port) = kubelet::address_of(node).map_err(|err| err.to_string())?;
            let tls = server.options.kubelet_tls.clone();
            let tls = tls.ok_or("no client certificate for nodes")?;
            Ok(Box::new(
                kubelet::connect(&ip, port, tls).await.map_err(text)?,
            ))
        }
        Destination::Endpoint {
            address,
            tls: false,
        } => server.egress.dial(*address).await,
        Destination::Endpoint { address, tls: true } => {
            let stream = server.egress.dial(*address).await?;
            let believing = client::tls_as(&[], true, None)?;
            let stream = TlsConnector::from(Arc::new(believing))
                .connect(ServerName::from(address.ip()), stream)
                .await
                .map_err(text)?;
            Ok(Box::new(stream))
        }
    }
}

/// Where a client finds what the answer points to; `None` when it points elsewhere, or is right already.
fn relocate(location: &HeaderValue, prefix: &str, authority: &str) -> Option<HeaderValue> {
    let uri: Uri = location.to_str().ok()?.parse().ok()?;
    let elsewhere = uri.authority().is_some_and(|a| a.as_str() != authority);
    let (path, query) = (uri.path(), uri.query());
    if elsewhere || !path.starts_with('/') || path.starts_with(prefix) {
        return None;
    }
    let query = query.map(|q| format!("?{q}")).unwrap_or_default();
    HeaderValue::from_str(&format!("{prefix}{path}{query}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_have_schemes_and_ports() {
        let rows = [
            ("a", Some((false, "a", ""))),
            ("a:80", Some((false, "a", "80"))),
            ("http:a:b", Some((false, "a", "b"))),
            (":a:b", Some((false, "a", "b"))),
            ("https:a:", Some((true, "a", ""))),
            ("ftp:a:80", None),
            ("https:a:80:1", None),
            ("", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse_name(text), want, "{text}");
        }
    }

    #[test]
    fn paths_are_split_behind_proxy() {
        let rows = [
            ("/api/v1/nodes/n/proxy", ("/api/v1/nodes/n/proxy", "")),
            ("/api/v1/nodes/n/proxy/", ("/api/v1/nodes/n/proxy", "/")),
            (
                "/api/v1/namespaces/a/services/s/proxy/x%2Fy/",
                ("/api/v1/namespaces/a/services/s/proxy", "/x%2Fy/"),
            ),
        ];
        for (path, want) in rows {
            assert_eq!(split(path), want, "{path}");
        }
    }

    #[test]
    fn a_pod_is_asked_at_its_first_port() {
        let pod = |ip: &str| json!({"status": {"podIP": ip}, "spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]}});
        let address = |ip: &str, port: &str| of_pod(&pod(ip), port).ok().map(|a| a.to_string());
        assert_eq!(address("10.0.0.1", "").as_deref(), Some("10.0.0.1:8080"));
        assert_eq!(address("10.0.0.1", "81").as_deref(), Some("10.0.0.1:81"));
        for refused in ["", "127.0.0.1", "169.254.0.1", "0.0.0.0"] {
            assert_eq!(address(refused, ""), None, "{refused}");
        }
        assert_eq!(address("10.0.0.1", "http"), None);
    }

    #[test]
    fn answers_point_below_the_proxy() {
        let rows = [
            ("/a", Some("/p/a")),
            ("http://10.0.0.1:80/a?b=c", Some("/p/a?b=c")),
            ("http://example.com/a", None),
            ("/p/a", None),
        ];
        for (location, want) in rows {
            let moved = relocate(&HeaderValue::from_static(location), "/p", "10.0.0.1:80");
            assert_eq!(
                moved.as_ref().and_then(|v| v.to_str().ok()),
                want,
                "{location}"
            );
        }
    }
}
