//! The kubelet API on port 10250: container logs and the way to pods for the API server, and the node's pods.
//!
//! Every connection is TLS with a client certificate of the cluster's CA, and only the API server's own name is let in.
//! Connections are bounded in number, handshakes and request heads in time; a log that is followed may stay open as
//! long as its container lives.
//!
//! Absent: exec, attach, port-forward, metrics and checkpoints.

mod answer;
mod logs;
mod metrics;
mod tls;
mod tunnel;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::PodStatus;
use karve_runtime::Runtime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::pods::Pods;

pub use tls::{Error as TlsError, Pem};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// The longest that a handshake or the head of a request may take.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// What the API tells of.
#[derive(Debug)]
pub struct State {
    /// The runtime, for logs.
    pub runtime: Runtime,
    /// The pods of this node as the API has them.
    pub pods: Arc<Pods>,
    /// Their statuses as this node computed them, by UID.
    pub statuses: Arc<Statuses>,
    /// The addresses that the API server may be connected to.
    pub cluster_cidr: Ipv4Net,
}

/// Statuses by UID.
pub type Statuses = parking_lot::RwLock<BTreeMap<String, PodStatus>>;

/// The server, bound and ready to serve.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    state: Arc<State>,
}

/// Why the server could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates are not usable.
    #[error("read certificates of the kubelet API")]
    Tls(#[from] TlsError),
    /// The address is taken.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Server {
    /// Binds the address.
    pub async fn bind(address: SocketAddr, pem: &Pem, state: State) -> Result<Server, Error> {
        let tls = TlsAcceptor::from(Arc::new(tls::config(pem)?));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        Ok(Server {
            listener,
            tls,
            state: Arc::new(state),
        })
    }

    /// Serves until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let permit = tokio::select! {
                () = shutdown.cancelled() => return,
                permit = free.clone().acquire_owned() => permit.expect("never closed"),
            };
            let stream = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(err) => {
                        // Out of descriptors, mostly: others must end first.
                        tracing::warn!(err = &err as &dyn std::error::Error, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            while connections.try_join_next().is_some() {}
            let (tls, state) = (self.tls.clone(), self.state.clone());
            connections.spawn(async move {
                serve(stream, tls, state).await;
                drop(permit);
            });
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    let stream = match tokio::time::timeout(HEAD_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            return tracing::debug!(err = &err as &dyn std::error::Error, "handshake failed");
        }
        Err(_) => return tracing::debug!("handshake took too long"),
    };
    let allowed = tls::is_api_server(stream.get_ref().1);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, std::convert::Infallible>(answer::answer(&state, allowed, request).await) }
    });
    let mut http =
        hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX);
    if let Err(err) = http
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(
            err = err.as_ref() as &dyn std::error::Error,
            "connection ended"
        );
    }
}

#[cfg(test)]
mod tests;
