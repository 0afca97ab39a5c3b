//! HTTPS to the server under test: one connection that is kept, and one for each watch.
//!
//! Whose certificate it is doesn't matter: the server was started by us on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// An answer may take this long: a namespace of upstream's needs that much to vanish.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Whoever asks, one request at a time.
pub struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Makes no connection yet. Whoever asks says so in each request.
    pub fn new(address: SocketAddr) -> Result<Self> {
        Self::with(address, |config| Ok(config.with_no_client_auth()))
    }

    /// Makes no connection yet. Whoever asks shows a certificate; both are PEM.
    pub fn with_certificate(address: SocketAddr, certificate: &[u8], key: &[u8]) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .context("read the client's certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).context("read the client's key")?;
        Self::with(address, |config| {
            config
                .with_client_auth_cert(chain, key)
                .context("use the client's certificate")
        })
    }

    fn with(
        address: SocketAddr,
        identify: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> Result<ClientConfig>,
    ) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .context("choose TLS versions")?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
        let mut config = identify(config)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            address,
            tls: TlsConnector::from(Arc::new(config)),
            kept: None,
        })
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let what = format!("{} {}", request.method(), request.uri());
        timeout(ANSWER_MAX, self.exchange(request))
            .await
            .with_context(|| format!("wait for the answer to {what}"))?
            .with_context(|| what)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let mut sender = match self.kept.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        sender.ready().await.context("wait for the connection")?;
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            // The server had closed the connection: nothing was sent.
            Err(mut error) => match error.take_message() {
                Some(request) => {
                    sender = self.connect().await?;
                    sender
                        .send_request(request)
                        .await
                        .context("send a request")?
                }
                None => return Err(error.into_error()).context("send a request"),
            },
        };
        let answer = whole(response).await?;
        self.kept = Some(sender);
        Ok(answer)
    }

    /// Sends a request on a connection of its own; the answer's body comes as it comes.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let mut sender = timeout(ANSWER_MAX, self.connect())
            .await
            .context("connect")??;
        timeout(ANSWER_MAX, sender.send_request(request))
            .await
            .context("wait for an answer's head")?
            .context("send a request")
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        let name = ServerName::from(self.address.ip());
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .context("shake hands")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .context("start HTTP")?;
        // It ends with its sender; what went wrong on it the request says.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}

/// Reads the rest of an answer.
pub async fn whole(response: Response<Incoming>) -> Result<Answer> {
    let (head, body) = response.into_parts();
    Ok(Answer {
        code: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.context("read an answer")?.to_bytes(),
    })
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
