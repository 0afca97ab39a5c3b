//! One question to one upstream, over a datagram, a stream or TLS.
//!
//! Every question goes out under a random number from a port of its own, so that a forged answer has to guess both
//! (RFC 5452); what does not answer it is passed over, and only time ends the waiting.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::corefile::plan::Tls;
use crate::stored::Stored;
use crate::wire::Lookup;

/// The largest datagram that is read; we ask for less.
const DATAGRAM_MAX: usize = 4096;

/// What TLS to an upstream takes.
#[derive(Clone)]
pub struct TlsTo {
    connector: Option<tokio_rustls::TlsConnector>,
    name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for TlsTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTo").field("name", &self.name).finish()
    }
}

impl TlsTo {
    /// Reads the files; what can't be read is told when it is first needed.
    pub fn new(options: &Tls) -> TlsTo {
        let connector = match client_config(options) {
            Ok(config) => Some(tokio_rustls::TlsConnector::from(Arc::new(config))),
            Err(err) => {
                tracing::warn!(err = &*err, "TLS to upstreams can't be set up");
                None
            }
        };
        let name = options.server_name.clone();
        TlsTo {
            connector,
            name: name.and_then(|name| ServerName::try_from(name).ok()),
        }
    }
}

fn client_config(
    options: &Tls,
) -> Result<rustls::ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    match &options.authority {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match &options.pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?;
            let chain = chain.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
    })
}

/// Over a datagram; `None`: the answer was too large for one.
///
/// # Errors
/// What the kernel said.
pub async fn over_udp(
    lookup: &Lookup,
    upstream: SocketAddr,
    recursion: bool,
) -> io::Result<Option<Stored>> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // The kernel passes on only what comes from there.
    socket.connect(upstream).await?;
    let id = rand::random();
    socket.send(&lookup.query(id, recursion)).await?;
    let mut message = vec![0u8; DATAGRAM_MAX];
    loop {
        let len = socket.recv(&mut message).await?;
        let said = &message[..len];
        if !is_under(said, id) {
            continue;
        }
        if said[2] & 0x02 != 0 {
            return Ok(None);
        }
        if let Some(stored) = Stored::take(said, lookup) {
            return Ok(Some(stored));
        }
    }
}

/// Over a stream.
///
/// # Errors
/// What the kernel said, or an answer to something else.
pub async fn over_tcp(
    lookup: &Lookup,
    upstream: SocketAddr,
    recursion: bool,
) -> io::Result<Stored> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    over_stream(stream, lookup, recursion).await
}

/// Over TLS (RFC 7858).
///
/// # Errors
/// What the kernel or the handshake said, or an answer to something else.
pub async fn over_tls(
    lookup: &Lookup,
    upstream: SocketAddr,
    tls: &TlsTo,
    recursion: bool,
) -> io::Result<Stored> {
    let (Some(connector), Some(name)) = (&tls.connector, &tls.name) else {
        return Err(io::Error::other("TLS to upstreams is not set up"));
    };
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(name.clone(), stream).await?;
    over_stream(stream, lookup, recursion).await
}

async fn over_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    lookup: &Lookup,
    recursion: bool,
) -> io::Result<Stored> {
    let id = rand::random();
    let query = lookup.query(id, recursion);
    let mut framed = Vec::with_capacity(query.len() + 2);
    framed.extend_from_slice(&(query.len() as u16).to_be_bytes());
    framed.extend_from_slice(&query);
    stream.write_all(&framed).await?;
    stream.flush().await?;
    let len = stream.read_u16().await?;
    let mut message = vec![0u8; usize::from(len)];
    stream.read_exact(&mut message).await?;
    let stored = is_under(&message, id).then(|| Stored::take(&message, lookup));
    stored
        .flatten()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn is_under(message: &[u8], id: u16) -> bool {
    message.len() >= crate::wire::HEADER && message[..2] == id.to_be_bytes()
}
