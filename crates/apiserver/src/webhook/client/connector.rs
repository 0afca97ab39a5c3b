//! Connections: resolve, dial, TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::resolve;
use crate::egress::{Connection as Way, Egress};

/// Where to connect to, whatever the URI says.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A host of any network.
    Host {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A Service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port of the Service.
        port: u16,
    },
}

/// Why there is no connection, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DialError(pub String);

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    egress: Egress,
    destination: Destination,
    name: ServerName<'static>,
    tls: Arc<rustls::ClientConfig>,
}

impl Connector {
    /// To a destination, which must show a certificate for its name.
    pub fn new(
        egress: Egress,
        destination: Destination,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Connector, String> {
        let name = match &destination {
            Destination::Host { host, .. } => host.clone(),
            Destination::Service {
                namespace, name, ..
            } => format!("{name}.{namespace}.svc"),
        };
        let name = ServerName::try_from(name).map_err(|err| err.to_string())?;
        Ok(Connector {
            egress,
            destination,
            name,
            tls,
        })
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<TlsStream<Way>, DialError> {
        let stream = match &self.destination {
            Destination::Host { host, port } => dial_host(&self.egress, host, *port).await,
            Destination::Service {
                namespace,
                name,
                port,
            } => match resolve::endpoint(&self.egress.store, namespace, name, *port) {
                Ok(address) => self.egress.dial(address).await,
                Err(why) => Err(why),
            },
        };
        let stream = stream.map_err(DialError)?;
        TlsConnector::from(self.tls.clone())
            .connect(self.name.clone(), stream)
            .await
            .map_err(|err| DialError(tls_text(&err)))
    }
}

async fn dial_host(egress: &Egress, host: &str, port: u16) -> Result<Way, String> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|_| format!("dial tcp: lookup {host}: no such host"))?
        .collect();
    let mut last = format!("dial tcp: lookup {host}: no such host");
    for address in addresses {
        match egress.dial(address).await {
            Ok(stream) => return Ok(stream),
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// What Go says of a failed handshake.
fn tls_text(err: &io::Error) -> String {
    let verified = err
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let why = match verified {
        Some(rustls::Error::InvalidCertificate(err)) => match err {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "certificate signed by unknown authority".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate has expired or is not yet valid".to_owned()
            }
            other => other.to_string(),
        },
        Some(other) => return format!("remote error: tls: {other}"),
        None if err.kind() == io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
        None => return err.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(Stream(TokioIo::new(connector.connect().await?))) })
    }
}

/// A connection as the pool wants it.
pub struct Stream(TokioIo<TlsStream<Way>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
