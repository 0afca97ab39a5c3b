//! A connection to an API server: one TCP connection, HTTP/1.1 or HTTP/2, no retries, no pool.
//! The caller decides how many connections there are, because that is what it measures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The media type that is sent and asked for.
pub const JSON: &str = "application/json";

/// Where the API server is and who we are.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// URL of the API server (https:// or http://)
    #[arg(long, default_value = "https://127.0.0.1:6443", global = true)]
    pub server: String,
    /// Bearer token
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Client certificate (PEM)
    #[arg(long, requires = "key", global = true)]
    pub cert: Option<PathBuf>,
    /// Client key (PEM)
    #[arg(long, global = true)]
    pub key: Option<PathBuf>,
    /// CA that signed the server's certificate (PEM)
    #[arg(long, global = true)]
    pub ca: Option<PathBuf>,
    /// Accept any server certificate
    #[arg(long, global = true)]
    pub insecure_skip_verify: bool,
}

/// The version of HTTP on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Proto {
    /// HTTP/1.1: one exchange at a time.
    H1,
    /// HTTP/2: many at once.
    H2,
}

impl Proto {
    /// As printed in results.
    pub fn name(self) -> &'static str {
        match self {
            Proto::H1 => "h1",
            Proto::H2 => "h2",
        }
    }
}

impl Target {
    /// `host:port` of the server.
    pub fn authority(&self) -> Result<String> {
        let rest = self
            .server
            .split("://")
            .nth(1)
            .ok_or_else(|| anyhow!("no scheme in {}", self.server))?;
        let authority = rest.trim_end_matches('/');
        Ok(match authority.contains(':') {
            true => authority.to_owned(),
            false => format!(
                "{authority}:{}",
                if self.server.starts_with("https") {
                    443
                } else {
                    80
                }
            ),
        })
    }

    /// Opens one connection.
    pub async fn connect(&self, proto: Proto) -> Result<Conn> {
        let authority = self.authority()?;
        let tcp = TcpStream::connect(&authority)
            .await
            .with_context(|| format!("connect {authority}"))?;
        tcp.set_nodelay(true)?;
        if !self.server.starts_with("https") {
            return self.handshake(TokioIo::new(tcp), proto, authority).await;
        }
        if self.ca.is_none() && !self.insecure_skip_verify {
            bail!("give --ca or --insecure-skip-verify");
        }
        let alpn: &[u8] = if proto == Proto::H2 {
            b"h2"
        } else {
            b"http/1.1"
        };
        let cert = self.cert.as_deref().zip(self.key.as_deref());
        let config = crate::tls::config(self.ca.as_deref(), cert, alpn)?;
        let host = authority
            .rsplit_once(':')
            .map_or(authority.as_str(), |(host, _)| host)
            .to_owned();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(host)?, tcp)
            .await?;
        self.handshake(TokioIo::new(tls), proto, authority).await
    }

    async fn handshake<T>(&self, io: TokioIo<T>, proto: Proto, host: String) -> Result<Conn>
    where
        TokioIo<T>: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let sender = match proto {
            Proto::H1 => {
                let (sender, driver) = http1::handshake(io).await?;
                tokio::spawn(driver);
                Sender::H1(sender)
            }
            Proto::H2 => {
                // Large windows: flow control must not be what a LIST measures.
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(16 << 20)
                    .initial_connection_window_size(64 << 20)
                    .handshake(io)
                    .await?;
                tokio::spawn(driver);
                Sender::H2(sender)
            }
        };
        let auth = match &self.token {
            Some(token) => Some(HeaderValue::from_str(&format!("Bearer {token}"))?),
            None => None,
        };
        Ok(Conn {
            sender,
            host,
            auth,
            https: self.server.starts_with("https"),
        })
    }

    /// `n` independent callers: HTTP/1.1 takes one connection each, HTTP/2 shares one among up to `per_conn`.
    pub async fn callers(&self, proto: Proto, n: usize, per_conn: usize) -> Result<Vec<Conn>> {
        let mut callers: Vec<Conn> = Vec::with_capacity(n);
        for i in 0..n {
            let shared = if i % per_conn == 0 {
                None
            } else {
                callers.last().and_then(Conn::share)
            };
            callers.push(match shared {
                Some(conn) => conn,
                None => self.connect(proto).await?,
            });
        }
        Ok(callers)
    }
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// One caller on one connection.
pub struct Conn {
    sender: Sender,
    host: String,
    auth: Option<HeaderValue>,
    https: bool,
}

/// What came back, and how long the headers took.
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
    /// From the request to the response's head.
    pub first: Duration,
}

impl Reply {
    /// The body as JSON, or an error with the server's own words.
    pub fn ok(self) -> Result<Value> {
        if !self.status.is_success() {
            bail!(
                "{}: {}",
                self.status,
                String::from_utf8_lossy(&self.body[..self.body.len().min(600)])
            );
        }
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Conn {
    /// A second caller on the same HTTP/2 connection; none for HTTP/1.1.
    pub fn share(&self) -> Option<Conn> {
        match &self.sender {
            Sender::H1(_) => None,
            Sender::H2(sender) => Some(Conn {
                sender: Sender::H2(sender.clone()),
                host: self.host.clone(),
                auth: self.auth.clone(),
                https: self.https,
            }),
        }
    }

    async fn begin(
        &mut self,
        method: Method,
        path: &str,
        accept: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).header(ACCEPT, accept);
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, auth);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        match &mut self.sender {
            Sender::H1(sender) => {
                let request = request
                    .uri(path)
                    .header(HOST, &self.host)
                    .body(Full::new(body))?;
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Sender::H2(sender) => {
                let scheme = if self.https { "https" } else { "http" };
                let request = request
                    .uri(format!("{scheme}://{}{path}", self.host))
                    .body(Full::new(body))?;
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// A whole exchange; the body is collected.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        self.call_as(method, path, JSON, JSON, body).await
    }

    /// Like `call`, with the media types given.
    pub async fn call_as(
        &mut self,
        method: Method,
        path: &str,
        accept: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        let start = Instant::now();
        let response = self.begin(method, path, accept, kind, body.into()).await?;
        let first = start.elapsed();
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Reply {
            status,
            body,
            first,
        })
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// POST of JSON.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Reply> {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// PUT of JSON.
    pub async fn put(&mut self, path: &str, body: &Value) -> Result<Reply> {
        self.call(Method::PUT, path, body.to_string()).await
    }

    /// DELETE.
    pub async fn delete(&mut self, path: &str) -> Result<Reply> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// Starts a watch and returns its lines.
    pub async fn watch(&mut self, path: &str) -> Result<Lines> {
        let response = self
            .begin(Method::GET, path, JSON, JSON, Bytes::new())
            .await?;
        if !response.status().is_success() {
            bail!("watch {path}: {}", response.status());
        }
        Ok(Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
            total: 0,
        })
    }
}

/// The lines of a watch, unparsed.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes read so far.
    pub total: usize,
}

impl Lines {
    /// The next line, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut seen = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[seen..]) {
                return Ok(Some(self.buffer.split_to(seen + at + 1).freeze()));
            }
            seen = self.buffer.len();
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.total += data.len();
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}
