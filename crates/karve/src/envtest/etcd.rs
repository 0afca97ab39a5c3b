//! What plays etcd: a process that has the data directory and says it is well.
//!
//! `/health` is what tests wait for. `/karve/home` says where the objects are, so that a `kube-apiserver` of ours that is
//! told `--etcd-servers` opens them itself. DEVIATION: it does not speak etcd's protocol.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::home::{self, Home};
use crate::api::without_effect::{Table, WithoutEffect};
use crate::roles::process;

/// What etcd takes.
#[derive(Debug, Parser)]
#[command(name = "etcd", version = concat!("karve ", env!("CARGO_PKG_VERSION")),
          about = "Says where the objects of karve's kube-apiserver are. Not a key-value store.")]
pub struct Flags {
    /// The directory of the objects.
    #[arg(long, value_name = "DIR", default_value = "default.etcd")]
    data_dir: PathBuf,
    /// Where to listen.
    #[arg(
        long,
        value_name = "URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    listen_client_urls: Vec<Uri>,
    /// Writes are not waited for until they are on disk: a test has nothing to lose.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false,
          action = clap::ArgAction::Set)]
    unsafe_no_fsync: bool,
    #[command(flatten)]
    without_effect: WithoutEffect<Etcd>,
}

/// etcd's flags that mean nothing here.
#[derive(Debug, Default)]
struct Etcd;

impl Table for Etcd {
    const FLAGS: &'static [(&'static str, bool)] = &[
        ("advertise-client-urls", true),
        ("auto-compaction-mode", true),
        ("auto-compaction-retention", true),
        ("election-timeout", true),
        ("heartbeat-interval", true),
        ("initial-advertise-peer-urls", true),
        ("initial-cluster", true),
        ("initial-cluster-state", true),
        ("initial-cluster-token", true),
        ("listen-metrics-urls", true),
        ("listen-peer-urls", true),
        ("log-level", true),
        ("log-outputs", true),
        ("logger", true),
        ("max-request-bytes", true),
        ("max-txn-ops", true),
        ("name", true),
        ("quota-backend-bytes", true),
        ("snapshot-count", true),
    ];
}

/// Runs until SIGTERM.
pub fn run(flags: &Flags) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve(flags))
}

async fn serve(flags: &Flags) -> Result<()> {
    let shutdown = process::stop_on_signal()?;
    let dir = &flags.data_dir;
    fs::create_dir_all(dir).with_context(|| format!("make directory {}", dir.display()))?;
    let home = Arc::new(Home {
        dir: dir
            .canonicalize()
            .with_context(|| format!("find {}", dir.display()))?,
        durable: !flags.unsafe_no_fsync,
    });
    for url in &flags.listen_client_urls {
        let (Some("http"), Some(host)) = (url.scheme_str(), url.host()) else {
            bail!("--listen-client-urls: {url} is not http://HOST:PORT");
        };
        let listener = TcpListener::bind((
            host.trim_matches(['[', ']']),
            url.port_u16().unwrap_or(2379),
        ))
        .await
        .with_context(|| format!("listen at {url}"))?;
        tokio::spawn(accept(listener, home.clone(), shutdown.clone()));
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn accept(listener: TcpListener, home: Arc<Home>, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, home.clone()));
            }
            Err(err) => tracing::warn!(err = &err as &dyn std::error::Error, "accept failed"),
        }
    }
}

async fn connection(stream: TcpStream, home: Arc<Home>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.uri().path(), &home);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(err) = served {
        tracing::debug!(err = &err as &dyn std::error::Error, "connection ended");
    }
}

fn answer(path: &str, home: &Home) -> Response<Full<Bytes>> {
    let (code, body) = match path {
        "/health" => (200, r#"{"health":"true","reason":""}"#.to_owned()),
        "/livez" | "/readyz" => (200, "ok".to_owned()),
        home::PATH => (200, home.to_json()),
        _ => (404, "404 page not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}
