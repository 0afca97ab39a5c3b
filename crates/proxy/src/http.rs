//! Small HTTP servers: health, metrics, and what load balancers ask.
//!
//! They answer from memory, read no body, and bound connections in number and heads in time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// The longest that the head of a request may take.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Connections that wait in the kernel's queue.
const BACKLOG: i32 = 128;

/// What a server answers.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers requests that come to an address of the node.
pub(crate) type Respond = Arc<dyn Fn(&Request<Incoming>, SocketAddr) -> Answer + Send + Sync>;

/// An answer without further headers.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// Listens on `address`. The wildcard of IPv6 takes IPv6 only, so that each family has its own.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, respond: Respond, shutdown: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => return,
            permit = free.clone().acquire_owned() => permit.expect("never closed"),
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let respond = respond.clone();
                connections.spawn(async move {
                    serve_one(stream, respond).await;
                    drop(permit);
                });
            }
            Err(err) => {
                // Out of descriptors, mostly: others must end first.
                tracing::warn!(
                    err = &err as &dyn std::error::Error,
                    "connection not accepted"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, respond: Respond) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let service = service_fn(move |request| {
        let answer = respond(&request, local);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(err) = connection.await {
        tracing::trace!(err = &err as &dyn std::error::Error, "connection ended");
    }
}
