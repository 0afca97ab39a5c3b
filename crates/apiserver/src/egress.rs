//! The way from the server to Pods.
//!
//! The server's own network need not lead to the Pods' network: on a laptop the host keeps its routes as they were, and a
//! control plane may be elsewhere altogether. A node's network always does, so a connection to a Pod goes through the
//! kubelet API of the Pod's node, which opens it on request (HTTP's `CONNECT`, RFC 9110, section 9.3.6). Upstream does the
//! same with an egress selector of the type `cluster` (KEP-1281). All other addresses are dialed from here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use karve_api::resource::Table;
use karve_store::{Range, Store};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::kubelet;

/// Until a connection is there, it has this long.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// A node's refusal is not longer.
const REFUSAL_MAX: usize = 64;

/// A connection, whichever way it goes.
pub type Connection = Box<dyn Duplex>;

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Makes connections.
#[derive(Clone)]
pub struct Egress {
    /// Where Services, endpoints and nodes are looked up.
    pub(crate) store: Store,
    /// How the server shows itself to nodes; without it every address is dialed from here.
    nodes: Option<Arc<rustls::ClientConfig>>,
}

impl Egress {
    /// By the nodes in the store, if the server can show itself to them.
    pub fn new(store: Store, nodes: Option<Arc<rustls::ClientConfig>>) -> Egress {
        Egress { store, nodes }
    }

    /// A connection; a failure is told in the words of Go's `net.Dial`.
    pub async fn dial(&self, address: SocketAddr) -> Result<Connection, String> {
        let failed = |err: io::Error| format!("dial tcp {address}: {}", go_words(&err));
        match timeout(CONNECT_MAX, self.open(address)).await {
            Ok(opened) => opened.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Connection> {
        if let Some(tls) = &self.nodes
            && let Some(node) = self.node_of(address.ip())
        {
            return tunnel(&node, address, tls.clone()).await;
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// The node whose Pods have such addresses.
    fn node_of(&self, ip: IpAddr) -> Option<Value> {
        let nodes = Table::builtin().by_kind("", "v1", "Node")?;
        let range = Range {
            prefix: &crate::keys::prefix(nodes, ""),
            ..Range::default()
        };
        let entries = self.store.range(&range).ok()?.entries;
        entries
            .iter()
            .filter_map(|entry| serde_json::from_slice::<Value>(entry.value()).ok())
            .find(|node| holds(node, ip))
    }
}

fn holds(node: &Value, ip: IpAddr) -> bool {
    let nets = node["spec"]["podCIDRs"].as_array().into_iter().flatten();
    nets.filter_map(|net| net.as_str()?.parse::<IpNet>().ok())
        .any(|net| net.contains(&ip))
}

/// Has the node open the connection.
async fn tunnel(
    node: &Value,
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<Connection> {
    let (ip, port) = kubelet::address_of(node).map_err(io::Error::other)?;
    let stream = kubelet::connect(&ip, port, tls).await?;
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(address.to_string())
        .header(http::header::HOST, address.to_string())
        .body(Empty::new())
        .map_err(io::Error::other)?;
    let mut response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    if response.status() == StatusCode::OK {
        let upgraded = hyper::upgrade::on(&mut response).await;
        return Ok(Box::new(TokioIo::new(upgraded.map_err(io::Error::other)?)));
    }
    let body = Limited::new(response.into_body(), REFUSAL_MAX)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    // The number of the error that the node's kernel gave.
    let number = std::str::from_utf8(&body).ok().and_then(|n| n.parse().ok());
    Err(number.map_or_else(
        || io::Error::other("the Pod's node refused to connect"),
        io::Error::from_raw_os_error,
    ))
}

/// What Go's `net` says of a failure.
fn go_words(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {err}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_on_the_node_that_holds_its_address() {
        let node = json!({"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]}});
        for (ip, want) in [
            ("10.244.1.7", true),
            ("10.244.2.7", false),
            ("fd00:1::7", true),
        ] {
            assert_eq!(holds(&node, ip.parse().expect("an address")), want, "{ip}");
        }
        assert!(!holds(
            &json!({"spec": {}}),
            "10.244.1.7".parse().expect("an address")
        ));
    }
}
