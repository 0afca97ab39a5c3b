//! Names outside the cluster: asked of the resolvers around it.
//!
//! A node's resolvers may be reachable only from the host's own network (a stub on loopback, say),
//! so the server process runs a [`forward`]er on the bridge that the nodes ask instead.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;
use std::time::Duration;

use domain::base::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::message::Transport;
use crate::serve::Listeners;
use crate::zone::Zone;

/// How long one upstream may take before the next is asked; a stub resolver itself waits 5 s.
const UPSTREAM_MAX: Duration = Duration::from_secs(2);

/// Asks each upstream in turn until one answers this very question. Every query goes out from a
/// port of its own, so that a forged answer has to guess the port as well as the ID (RFC 5452).
pub(crate) async fn exchange(
    query: &[u8],
    upstreams: &[SocketAddr],
    transport: Transport,
) -> Option<Vec<u8>> {
    for &upstream in upstreams {
        let asked = async {
            match transport {
                Transport::Udp => over_udp(query, upstream).await,
                Transport::Tcp => over_tcp(query, upstream).await,
            }
        };
        match timeout(UPSTREAM_MAX, asked).await {
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(err)) => tracing::debug!(upstream = %upstream, err = %err, "upstream failed"),
            Err(_) => tracing::debug!(upstream = %upstream, "upstream is silent"),
        }
    }
    None
}

async fn over_udp(query: &[u8], upstream: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut reply = vec![0u8; 65_535];
    loop {
        let len = socket.recv(&mut reply).await?;
        if answers(query, &reply[..len]) {
            reply.truncate(len);
            reply.shrink_to_fit();
            return Ok(reply);
        }
    }
}

async fn over_tcp(query: &[u8], upstream: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let mut framed = Vec::with_capacity(query.len() + 2);
    framed.extend_from_slice(&(query.len() as u16).to_be_bytes());
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let len = stream.read_u16().await?;
    let mut reply = vec![0u8; usize::from(len)];
    stream.read_exact(&mut reply).await?;
    match answers(query, &reply) {
        true => Ok(reply),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

fn answers(query: &[u8], reply: &[u8]) -> bool {
    match (Message::from_octets(query), Message::from_octets(reply)) {
        (Ok(query), Ok(reply)) => reply.is_answer(&query),
        _ => false,
    }
}

/// Passes every query on `listen` to the resolvers that `resolv_conf` names, until `shutdown`.
///
/// With no resolver to ask, queries are refused. The file is read once, at the start.
///
/// # Errors
///
/// [`Error::Listen`] when the address can't be bound.
pub async fn forward(
    listen: SocketAddr,
    resolv_conf: PathBuf,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let text = tokio::fs::read_to_string(&resolv_conf)
        .await
        .unwrap_or_default();
    let upstreams: Arc<[SocketAddr]> = resolvers(&text)
        .into_iter()
        .filter(|upstream| *upstream != listen)
        .collect();
    // An empty root zone holds no name: everything is elsewhere.
    let zone = Zone::nothing();
    let listeners = Listeners::bind(&[listen]).await?;
    listeners
        .serve(Arc::new(RwLock::new(zone)), upstreams, shutdown)
        .await;
    Ok(())
}

/// The resolvers that a resolv.conf names (resolv.conf(5)), on port 53, at most three as in glibc.
pub fn resolvers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .filter_map(|rest| rest.split_whitespace().next())
        // A zone index names a link of this host (fe80::1%eth0), which no other process shares.
        .filter_map(|address| address.parse().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(3)
        .collect()
}
