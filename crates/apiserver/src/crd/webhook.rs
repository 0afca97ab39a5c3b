//! Calling a conversion webhook.
//!
//! A new connection for each call: conversion is rare, and a webhook that restarts with another certificate is met as it
//! is. Time and size of the answer are bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use karve_api::resource::Table;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::keys;
use crate::object;
use crate::server::Server;

/// Upstream's time for conversion.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How large an answer may be.
const ANSWER_MAX: usize = 64 << 20;

/// Where a webhook is.
struct Endpoint {
    /// What its certificate is for.
    host: String,
    address: Vec<SocketAddr>,
    authority: String,
    path: String,
}

/// Posts a review and answers what came back; the error is a text for people.
pub async fn call(
    server: &Server,
    definition: &str,
    config: &Value,
    review: &Value,
) -> Result<Value, String> {
    let endpoint = endpoint(server, config).await?;
    let url = format!("https://{}{}", endpoint.authority, endpoint.path);
    let failed = |why: String| format!("Post \"{url}?timeout=30s\": {why}");
    let answer = tokio::time::timeout(TIMEOUT, post(&endpoint, config, review)).await;
    match answer {
        Err(_) => Err(failed("context deadline exceeded".to_owned())),
        Ok(Err(why)) => {
            tracing::warn!(definition, why, "conversion webhook failed");
            Err(failed(why))
        }
        Ok(Ok(answer)) => Ok(answer),
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

async fn endpoint(server: &Server, config: &Value) -> Result<Endpoint, String> {
    let url = text(config, "url");
    if !url.is_empty() {
        let uri: http::Uri = url.parse().map_err(|e| format!("url {url}: {e}"))?;
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let address = found.map_err(|e| format!("dial tcp: lookup {host}: {e}"))?;
        return Ok(Endpoint {
            address: address.collect(),
            authority: uri.authority().map_or(String::new(), ToString::to_string),
            path: uri.path().to_owned(),
            host,
        });
    }
    service(server, &config["service"])
}

/// A Service is reached at its cluster address, or at the host that it names.
fn service(server: &Server, reference: &Value) -> Result<Endpoint, String> {
    let (namespace, name) = (text(reference, "namespace"), text(reference, "name"));
    let port = reference["port"].as_u64().unwrap_or(443) as u16;
    let host = format!("{name}.{namespace}.svc");
    let services = Table::builtin()
        .lookup("", "v1", "services")
        .expect("Services are built in");
    let missing = || format!("service \"{name}\" not found");
    let entry = server.store.get(&keys::core("services", namespace, name));
    let service = object::decode(entry.ok_or_else(missing)?.value(), services);
    let ports = service["spec"]["ports"].as_array();
    let served = ports.into_iter().flatten().any(|p| p["port"] == port);
    if !served {
        return Err(format!(
            "no service port {port} found for service \"{name}\""
        ));
    }
    let cluster = text(&service["spec"], "clusterIP");
    let address = match cluster.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => return Err(format!("service \"{name}\" has no cluster address")),
    };
    let path = match text(reference, "path") {
        "" => "/".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    Ok(Endpoint {
        authority: format!("{host}:{port}"),
        host,
        address,
        path,
    })
}

async fn post(endpoint: &Endpoint, config: &Value, review: &Value) -> Result<Value, String> {
    let shown = |e: &dyn std::fmt::Display| e.to_string();
    let tcp = TcpStream::connect(&endpoint.address[..])
        .await
        .map_err(|e| format!("dial tcp: {e}"))?;
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| shown(&e))?;
    let tls = TlsConnector::from(Arc::new(tls(config)?));
    let stream = tls
        .connect(name, tcp)
        .await
        .map_err(|e| format!("tls: failed to verify certificate: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| shown(&e))?;
    let connection = tokio::spawn(connection);
    let body = serde_json::to_vec(review).expect("a review is JSON");
    let request = Request::post(format!("{}?timeout=30s", endpoint.path))
        .header(header::HOST, &endpoint.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| shown(&e))?;
    let response = sender.send_request(request).await.map_err(|e| shown(&e))?;
    let status = response.status();
    let bytes = Limited::new(response.into_body(), ANSWER_MAX)
        .collect()
        .await
        .map_err(|e| shown(&e))?
        .to_bytes();
    connection.abort();
    if !status.is_success() {
        return Err(format!(
            "the server responded with the status code {}",
            status.as_u16()
        ));
    }
    serde_json::from_slice(&bytes).map_err(|e| shown(&e))
}

/// Trusts the definition's own authorities only, when it names some.
fn tls(config: &Value) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = STANDARD
        .decode(text(config, "caBundle"))
        .unwrap_or_default();
    for certificate in CertificateDer::pem_slice_iter(&bundle) {
        let certificate = certificate.map_err(|e| e.to_string())?;
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
