//! HTTPS to programs that extend the API: webhooks, and servers behind APIServices.
//!
//! A Service is reached at one of its ready endpoints, under the name `SERVICE.NAMESPACE.svc`. Connections are kept for
//! as long as the configuration stays the same. Texts of errors are those of Go's client, which people know by heart.

mod believing;
mod connector;
mod pinned;
mod resolve;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use karve_api::status::Status;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::egress::Egress;
use believing::Believing;
pub use connector::{Connector, Destination, DialError};
use pinned::Pinned;
pub use resolve::ready;

/// An answer is not longer: an object, as a patch in base 64.
const ANSWER_MAX: usize = 8 << 20;
/// So much of an error is told.
const ERROR_MAX: usize = 2 << 10;

/// A client of one webhook.
pub struct Client {
    uri: Uri,
    inner: legacy::Client<Connector, Full<Bytes>>,
    answer_max: usize,
}

impl Client {
    /// Of a `clientConfig`: a URL or a Service, and the certificates to trust.
    pub fn new(config: &Value, egress: Egress) -> Result<Client, String> {
        let (uri, destination) = destination(config)?;
        let trusted = config["caBundle"].as_str().unwrap_or_default();
        let trusted = BASE64_STANDARD
            .decode(trusted)
            .map_err(|err| err.to_string())?;
        let tls = tls(&trusted)?;
        let connector = Connector::new(egress, destination, Arc::new(tls))?;
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .build(connector);
        Ok(Client {
            uri,
            inner,
            answer_max: ANSWER_MAX,
        })
    }

    /// The same, for answers of another size.
    pub fn answering_up_to(self, answer_max: usize) -> Client {
        Client { answer_max, ..self }
    }

    /// Sends JSON and answers the JSON that comes back with a success.
    pub async fn post(&self, body: Bytes, timeout: Duration) -> Result<Bytes, String> {
        let uri = format!("{}?timeout={}s", self.uri, timeout.as_secs());
        let failed = |why: &str| format!("Post \"{uri}\": {why}");
        match tokio::time::timeout(timeout, self.exchange(&uri, body)).await {
            Ok(Ok(answer)) => answer.map_err(|status| status.message),
            Ok(Err(why)) => Err(failed(&why)),
            Err(_) => Err(failed("context deadline exceeded")),
        }
    }

    async fn exchange(&self, uri: &str, body: Bytes) -> Result<Result<Bytes, Status>, String> {
        let request = Request::post(uri)
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|err| err.to_string())?;
        let response = self
            .inner
            .request(request)
            .await
            .map_err(|err| cause(&err))?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), self.answer_max)
            .collect()
            .await
            .map_err(|err| err.to_string())?
            .to_bytes();
        if (200..300).contains(&code) {
            return Ok(Ok(body));
        }
        let status: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status["kind"] == "Status" && !status["message"].as_str().unwrap_or_default().is_empty()
        {
            return Ok(Err(Status::foreign(&status)));
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_MAX)]);
        let text = match text.trim() {
            "" => "unknown",
            text => text,
        };
        Ok(Err(Status::unexpected_response(code, text)))
    }
}

/// The innermost cause that says something.
pub fn cause(err: &legacy::Error) -> String {
    let mut cause = err.source();
    let mut text = err.to_string();
    while let Some(err) = cause {
        text = err.to_string();
        if err.is::<DialError>() {
            break;
        }
        cause = err.source();
    }
    text
}

fn destination(config: &Value) -> Result<(Uri, Destination), String> {
    let service = &config["service"];
    if !service.is_object() {
        let url = config["url"].as_str().unwrap_or_default();
        let uri: Uri = url
            .parse()
            .map_err(|err| format!("Unparsable URL: {err}"))?;
        let host = uri.host().ok_or("Unparsable URL: no host")?.to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let authority = uri.authority().map_or("", |a| a.as_str());
        // A path is cleaned as Go's `path.Join` does: no slash at the end.
        let path = uri.path().trim_end_matches('/');
        let uri = format!(
            "https://{authority}{}",
            if path.is_empty() { "/" } else { path }
        );
        let uri = uri
            .parse()
            .map_err(|err| format!("Unparsable URL: {err}"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        return Ok((uri, Destination::Host { host, port }));
    }
    let text = |member: &str| service[member].as_str().unwrap_or_default();
    let port = service["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(443);
    let (name, namespace) = (text("name").to_owned(), text("namespace").to_owned());
    let path = text("path").trim_matches('/');
    let uri = format!("https://{name}.{namespace}.svc:{port}/{path}");
    let uri = uri
        .parse()
        .map_err(|err| format!("Unparsable URL: {err}"))?;
    Ok((
        uri,
        Destination::Service {
            namespace,
            name,
            port,
        },
    ))
}

/// A certificate with its key, by which a server of another API knows that this server asks.
#[derive(Debug, Clone)]
pub struct ProxyClient {
    /// The certificate and those above it, PEM.
    pub certificate: Vec<u8>,
    /// Its key, PEM.
    pub key: Vec<u8>,
}

/// Trusts the bundle, or what this machine trusts when it is empty. HTTP/1.1 only: one connection of HTTP/2 would
/// bind all requests to one endpoint.
pub fn tls(bundle: &[u8]) -> Result<rustls::ClientConfig, String> {
    tls_as(bundle, false, None)
}

/// The same, with a certificate of this server's own; `insecure`: whatever the other side shows is believed.
pub fn tls_as(
    bundle: &[u8],
    insecure: bool,
    identity: Option<&ProxyClient>,
) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if bundle.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let mut own = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|err| err.to_string())?;
        roots
            .add(certificate.clone())
            .map_err(|err| err.to_string())?;
        own.push(certificate);
    }
    if !bundle.is_empty() && roots.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots);
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|err| err.to_string())?
        .with_root_certificates(roots.clone());
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let text = |err: rustls_pki_types::pem::Error| err.to_string();
            let chain = CertificateDer::pem_slice_iter(&identity.certificate);
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(text)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(text)?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|err| err.to_string())?
        }
    };
    if !own.is_empty() {
        let authorities = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        let pinned = Pinned {
            authorities: authorities.build().map_err(|err| err.to_string())?,
            bundle: own,
        };
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(pinned));
    }
    if insecure {
        let believes = Arc::new(Believing(provider));
        config.dangerous().set_certificate_verifier(believes);
    }
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_are_as_gos_client_writes_them() {
        let uri = |config: Value| destination(&config).map(|(uri, _)| uri.to_string());
        let rows = [
            (json!({"url": "https://h"}), "https://h/"),
            (json!({"url": "https://h:8443/a/b/"}), "https://h:8443/a/b"),
            (
                json!({"service": {"name": "s", "namespace": "n", "path": "/p"}}),
                "https://s.n.svc:443/p",
            ),
            (
                json!({"service": {"name": "s", "namespace": "n", "port": 8443}}),
                "https://s.n.svc:8443/",
            ),
        ];
        for (config, want) in rows {
            assert_eq!(uri(config).as_deref(), Ok(want));
        }
        assert!(uri(json!({"url": "::"})).is_err());
    }

    #[test]
    fn bundles_that_hold_nothing_are_refused() {
        assert!(tls(b"nothing").is_err());
    }
}
