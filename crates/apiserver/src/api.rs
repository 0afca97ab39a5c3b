//! The handle to a server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use karve_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, AuditError};
use crate::authenticate;
use crate::body::Body;
use crate::identity::Identity;
use crate::server::Server;
use crate::tls::{ServerTls, TlsChoice, UnknownSuite};
use crate::{Options, aggregate, bootstrap, compaction, crd, expiry, flow, listen};

/// Why a server could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The objects that every cluster has could not be made.
    #[error("make the objects of a new cluster")]
    Bootstrap(#[source] karve_store::Error),
    /// Credentials that flags name can't be used.
    #[error("set up authentication")]
    Authentication(#[from] authenticate::Error),
    /// There is no audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A certificate or key is none.
    #[error("read the {what} of the server")]
    Pem {
        /// `certificate`, `key`, `client CA`.
        what: &'static str,
        /// The cause.
        #[source]
        err: rustls_pki_types::pem::Error,
    },
    /// Certificates and key do not make a TLS server.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// A cipher suite that was asked for is none.
    #[error(transparent)]
    CipherSuite(#[from] UnknownSuite),
    /// The client CA can't verify anybody.
    #[error("set up the verification of clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A server. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    server: Arc<Server>,
}

impl ApiServer {
    /// Makes what every cluster has (unless it is there) and a server that is ready to answer. Takes milliseconds, for
    /// which it blocks. Inside a tokio runtime, which it needs for what runs until [`Options::shutdown`].
    pub fn new(store: Store, options: Options) -> Result<ApiServer, Error> {
        bootstrap::run(&store, &options).map_err(Error::Bootstrap)?;
        tokio::spawn(expiry::run(
            store.clone(),
            options.limits.event_ttl,
            options.shutdown.clone(),
        ));
        tokio::spawn(compaction::run(store.clone(), options.shutdown.clone()));
        tokio::spawn(bootstrap::keep(store.clone(), options.clone()));
        tokio::spawn(aggregate::keep_local(
            store.clone(),
            options.shutdown.clone(),
        ));
        let audit = options.audit.as_ref().map(Audit::open).transpose()?;
        let shutdown = options.shutdown.clone();
        let server = Arc::new(Server::new(store, options, audit)?);
        tokio::spawn(aggregate::run_availability(server.clone()));
        if let Some(flow) = &server.flow {
            tokio::spawn(flow::keep::run(
                server.store.clone(),
                flow.clone(),
                shutdown,
            ));
        }
        let keeper = crd::Keeper::new(&server);
        tokio::spawn(keeper.run(server.clone()));
        Ok(ApiServer { server })
    }

    /// Serves a listening socket until `shutdown`.
    pub async fn serve(&self, listener: TcpListener, tls: ServerTls, shutdown: CancellationToken) {
        listen::serve(self.server.clone(), listener, tls, shutdown).await;
    }

    /// A client inside the process: no socket, no TLS, and nobody asks who it is.
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let groups = groups.iter().map(|g| (*g).to_owned());
        let service = self.service(Identity::authenticated(user, groups));
        kube::Client::new(service, "default")
    }

    /// The server as a `tower` service that answers as to `identity`.
    pub fn service(&self, identity: Identity) -> Service {
        Service {
            server: self.server.clone(),
            identity,
        }
    }
}

/// The server as one user sees it.
#[derive(Clone)]
pub struct Service {
    server: Arc<Server>,
    identity: Identity,
}

impl<B> tower::Service<Request<B>> for Service
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Service { server, identity } = self.clone();
        Box::pin(async move { Ok(server.handle(request, identity).await) })
    }
}

/// TLS for [`ApiServer::serve`]: certificates of the client CA are asked for, and tell who the client is; a client
/// without one is anonymous. All arguments are PEM.
pub fn server_tls(certificate: &[u8], key: &[u8], client_ca: &[u8]) -> Result<ServerTls, Error> {
    ServerTls::new(certificate, key, client_ca, &TlsChoice::default())
}
