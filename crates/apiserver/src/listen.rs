//! Sockets: TLS, HTTP/1 and HTTP/2, who the client is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rand::Rng as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::presence;
use crate::server::Server;
use crate::tls::ServerTls;

/// A client has this long for its handshake and for the head of a request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longer than clients keep idle connections, so that it is they who close them.
const HEAD_MAX: Duration = Duration::from_secs(120);
const CONNECTIONS_MAX: usize = 8192;

/// The other end of the connection. In the extensions of a request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Headers of one request, in bytes: Go's limit.
const HEADERS_MAX: u32 = 1 << 20;
/// What a client may send before it is read: upstream's windows.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Serves until `shutdown`.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: ServerTls,
    shutdown: CancellationToken,
) {
    let drain = server.options.limits.drain;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(err) => {
                    accept_failed(&err).await;
                    continue;
                }
            },
        };
        let (server, tls, shutdown) = (server.clone(), tls.clone(), shutdown.clone());
        tasks.spawn(async move {
            if let Err(err) = connection(server, stream, tls, shutdown).await {
                tracing::debug!(err = &*err as &dyn std::error::Error, "connection ended");
            }
            drop(place);
        });
    }
    tasks.close();
    // What is left after the drain is dropped with the runtime.
    let _ = timeout(drain, tasks.wait()).await;
}

/// Without descriptors accepting fails at once, again and again: let others finish first.
async fn accept_failed(err: &io::Error) {
    tracing::warn!(err = err as &dyn std::error::Error, "accept failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    tls: ServerTls,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Events are small and must not wait for more of them.
    stream.set_nodelay(true)?;
    let peer = Peer(stream.peer_addr()?);
    let handshake = timeout(HANDSHAKE_MAX, TlsAcceptor::from(tls.config).accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        failed => {
            server.metrics.handshake_failed();
            failed??
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let chain = certificates.unwrap_or_default();
    let (identity, shown) = server.authenticator.look_at(chain, &*tls.clients);
    let _present = identity.node().map(|node| presence::arrive(&server, node));
    let options = server.options.clone();
    let chance = options.limits.goaway_chance;
    let come_again = CancellationToken::new();
    let leaves = come_again.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(shown);
        // HTTP/1 has no word for it; upstream tells HTTP/2 alone.
        if request.version() == http::Version::HTTP_2 && happens(chance) {
            leaves.cancel();
        }
        let (server, identity) = (server.clone(), identity.clone());
        async move { Ok::<_, std::convert::Infallible>(server.handle(request, identity).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.limits.streams_per_connection)
        .max_header_list_size(HEADERS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shutdown.cancelled() => {}
        () = come_again.cancelled() => {
            // What runs goes on, watches included; new requests take another connection.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = shutdown.cancelled() => {}
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    let drained = timeout(options.limits.drain, connection).await;
    drained.unwrap_or(Ok(()))
}

fn happens(chance: f64) -> bool {
    chance > 0.0 && rand::rng().random::<f64>() < chance
}
