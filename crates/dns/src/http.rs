//! `/health`, `/ready` and `/metrics`, as CoreDNS has them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::corefile::Plan;
use crate::engine::Engine;

/// Connections at once, on each address.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// What an address offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offer {
    health: bool,
    ready: bool,
    metrics: bool,
}

/// The open addresses.
pub struct Endpoints {
    engine: Arc<Engine>,
    own: Vec<IpAddr>,
    open: HashMap<SocketAddr, (Offer, CancellationToken)>,
    tasks: TaskTracker,
}

impl Endpoints {
    /// None yet. `own` addresses stand for "any", so that a server inside a node takes no port of all its addresses.
    pub fn new(engine: Arc<Engine>, own: Vec<IpAddr>) -> Endpoints {
        Endpoints {
            engine,
            own,
            open: HashMap::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Offers what the plan says. An address that can't be had is told in the log; names matter more.
    pub async fn set(&mut self, plan: &Plan) {
        let wanted = self.wanted(plan);
        self.open.retain(|address, (offer, stop)| {
            let keep = wanted.get(address) == Some(offer);
            if !keep {
                stop.cancel();
            }
            keep
        });
        for (address, offer) in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            match listen(address).await {
                Ok(listener) => {
                    let stop = CancellationToken::new();
                    let accepting = accept(listener, self.engine.clone(), offer);
                    self.tasks
                        .spawn(stop.clone().run_until_cancelled_owned(accepting));
                    self.open.insert(address, (offer, stop));
                }
                Err(err) => {
                    tracing::warn!(%address, %err, "health, readiness or metrics can't be offered")
                }
            }
        }
    }

    fn wanted(&self, plan: &Plan) -> HashMap<SocketAddr, Offer> {
        let mut wanted: HashMap<SocketAddr, Offer> = HashMap::new();
        let mut want = |listen: SocketAddr, set: fn(&mut Offer)| {
            let any = listen.ip().is_unspecified() && !self.own.is_empty();
            let hosts = if any {
                self.own.clone()
            } else {
                vec![listen.ip()]
            };
            for host in hosts {
                set(wanted
                    .entry(SocketAddr::new(host, listen.port()))
                    .or_default());
            }
        };
        for server in &plan.servers {
            if let Some(health) = &server.health {
                want(health.listen, |offer| offer.health = true);
            }
            if let Some(ready) = &server.ready {
                want(ready.listen, |offer| offer.ready = true);
            }
            if let Some(listen) = server.prometheus {
                want(listen, |offer| offer.metrics = true);
            }
        }
        wanted
    }

    /// Closes all.
    pub async fn close(self) {
        for (_, stop) in self.open.values() {
            stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Where the kernel has no IPv6, any address is any of IPv4.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

async fn accept(listener: TcpListener, engine: Arc<Engine>, offer: Offer) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    serve(stream, engine, offer).await;
                    drop(place);
                });
            }
            // Out of descriptors: trying again at once would only spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: TcpStream, engine: Arc<Engine>, offer: Offer) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&engine, offer, request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(err) = served.await {
        tracing::trace!(%err, "a connection broke");
    }
}

fn respond(engine: &Engine, offer: Offer, path: &str) -> Response<Full<Bytes>> {
    let (code, kind, text) = match path {
        "/health" if offer.health => (StatusCode::OK, "text/plain", "OK".to_owned()),
        "/ready" if offer.ready => match engine.zone.read().synced() {
            true => (StatusCode::OK, "text/plain", "OK".to_owned()),
            // The plugins that are not ready.
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                "kubernetes".to_owned(),
            ),
        },
        "/metrics" if offer.metrics => (
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            engine.metrics.text(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "404 page not found\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(kind),
    );
    response
}
