//! The server as a client of a node's kubelet API.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use karve_api::resource::Table;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::Server;
use crate::{keys, object};

/// Until a node answers, it has this long.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const DEFAULT_PORT: u16 = 10250;

/// Why a node did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such Node.
    #[error("node {0} does not exist")]
    NoNode(String),
    /// The Node has no usable address.
    #[error("node {0} has no internal address")]
    NoAddress(String),
    /// The server was not given a certificate for nodes.
    #[error("no client certificate for nodes")]
    NoCertificate,
    /// It can't be reached.
    #[error("connect to {address}")]
    Connect {
        /// Of the kubelet API.
        address: String,
        /// The cause.
        #[source]
        err: io::Error,
    },
    /// It was reached, and did not answer as HTTP.
    #[error("ask {address}")]
    Ask {
        /// Of the kubelet API.
        address: String,
        /// The cause.
        #[source]
        err: hyper::Error,
    },
    /// It did not answer in time.
    #[error("{address} does not answer")]
    Silent {
        /// Of the kubelet API.
        address: String,
    },
}

/// Where the kubelet API of a node is.
fn address(server: &Server, node: &str) -> Result<(String, u16), Error> {
    let nodes = Table::builtin()
        .by_kind("", "v1", "Node")
        .expect("built in");
    let entry = server
        .store
        .get(&keys::key(nodes, "", node))
        .ok_or_else(|| Error::NoNode(node.to_owned()))?;
    address_of(&object::decode(entry.value(), nodes))
        .map_err(|NoAddress| Error::NoAddress(node.to_owned()))
}

/// A Node that says no internal address.
#[derive(Debug, thiserror::Error)]
#[error("the node has no internal address")]
pub struct NoAddress;

/// Where the kubelet API of this Node is.
pub fn address_of(node: &Value) -> Result<(String, u16), NoAddress> {
    let status = &node["status"];
    let ip = status["addresses"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|a| a["type"] == "InternalIP")
        .and_then(|a| a["address"].as_str())
        .ok_or(NoAddress)?;
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0)
        .unwrap_or(DEFAULT_PORT);
    Ok((ip.to_owned(), port))
}

/// A connection to a kubelet API.
pub async fn connect(
    ip: &str,
    port: u16,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(ip.to_owned())
        .map_err(|err| io::Error::new(io::ErrorKind::InvalidInput, err))?;
    let stream = TcpStream::connect((ip, port)).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(tls).connect(name, stream).await
}

/// Asks the kubelet API of a node. The body of the answer may stream for as long as it is read.
pub async fn get(server: &Server, node: &str, path: &str) -> Result<Response<Incoming>, Error> {
    let (ip, port) = address(server, node)?;
    let tls = server
        .options
        .kubelet_tls
        .clone()
        .ok_or(Error::NoCertificate)?;
    let address = format!("{ip}:{port}");
    timeout(ANSWER_MAX, ask(&ip, port, path, tls))
        .await
        .unwrap_or(Err(Error::Silent { address }))
}

async fn ask(
    ip: &str,
    port: u16,
    path: &str,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Response<Incoming>, Error> {
    let address = format!("{ip}:{port}");
    let failed_to_connect = |err| Error::Connect {
        address: address.clone(),
        err,
    };
    let failed = |err| Error::Ask {
        address: address.clone(),
        err,
    };
    let stream = connect(ip, port, tls).await.map_err(failed_to_connect)?;
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Ends when the answer's body has been read or dropped.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, &address)
        .body(Empty::new())
        .expect("a path of names that were checked");
    sender.send_request(request).await.map_err(failed)
}

/// The name of the node that a Pod is bound to.
pub fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}
