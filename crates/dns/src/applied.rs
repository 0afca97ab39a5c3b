//! The plan in force: its servers, sockets and HTTP endpoints.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use crate::corefile::{self, Plan};
use crate::engine::{Around, Engine, probe_loops};
use crate::live::{self, Current, resolvers};
use crate::serve::Sockets;
use crate::zone::Zone;
use crate::{Error, http};

/// The sockets and servers of the plan in force.
pub(crate) struct Applied {
    engine: Arc<Engine>,
    listen: Vec<IpAddr>,
    upstreams: Option<Vec<SocketAddr>>,
    sockets: Sockets,
    endpoints: http::Endpoints,
    plan: Arc<Plan>,
}

/// The file that names the node's resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Applied {
    pub(crate) fn new(
        engine: Arc<Engine>,
        listen: Vec<IpAddr>,
        upstreams: Option<Vec<SocketAddr>>,
    ) -> Applied {
        let specific = listen.iter().filter(|ip| !ip.is_unspecified());
        Applied {
            sockets: Sockets::new(engine.clone()),
            endpoints: http::Endpoints::new(engine.clone(), specific.copied().collect()),
            plan: Arc::default(),
            engine,
            listen,
            upstreams,
        }
    }

    /// Puts a plan in force.
    pub(crate) async fn apply(&mut self, current: &Current) -> Result<(), Error> {
        let resolvers = |path: &Path| match (&self.upstreams, path == Path::new(RESOLV_CONF)) {
            (Some(upstreams), true) => upstreams.clone(),
            _ => resolvers(&current.file(path).unwrap_or_default()),
        };
        let files = |path: &Path| current.file(path);
        let config = Arc::new(self.engine.prepare(&current.plan, &resolvers, &files));
        let mut addresses = Vec::new();
        for server in &current.plan.servers {
            let hosts = match server.bind.is_empty() {
                true => &self.listen,
                false => &server.bind,
            };
            let ports = server.zones.iter().map(|(_, port)| *port);
            addresses.extend(
                ports.flat_map(|port| hosts.iter().map(move |ip| SocketAddr::new(*ip, port))),
            );
        }
        addresses.sort_unstable();
        addresses.dedup();
        self.sockets.set(&addresses).await?;
        self.engine.set(config);
        self.endpoints.set(&current.plan).await;
        self.plan = current.plan.clone();
        probe_loops(&self.engine);
        Ok(())
    }

    /// Applies what comes by `changes`, and what the resolvers' file becomes.
    pub(crate) async fn follow(&mut self, mut changes: channel::Receiver<Current>) {
        let (file, mut rewritten) = channel::channel(());
        let watched = match &self.upstreams {
            None => PathBuf::from(RESOLV_CONF),
            // Told by options, not by the file.
            Some(_) => PathBuf::new(),
        };
        let watching = live::changed(watched, move || file.send_replace(()));
        let mut watching = std::pin::pin!(watching);
        let mut watched = true;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                Ok(()) = rewritten.changed() => {}
                () = &mut watching, if watched => {
                    watched = false;
                    continue;
                }
            }
            let current = changes.borrow_and_update().clone();
            if let Err(err) = self.apply(&current).await {
                self.engine.metrics.reload_failed.inc();
                let cause = std::error::Error::source(&err).map(ToString::to_string);
                tracing::warn!(%err, cause, "Corefile can't be put in force, the one before stays");
            }
        }
    }

    /// How long the plan wants to go on at the end.
    pub(crate) fn lameduck(&self) -> Duration {
        let health = self.plan.servers.iter().filter_map(|s| s.health.as_ref());
        health
            .map(|health| health.lameduck)
            .max()
            .unwrap_or_default()
    }

    /// Ends all.
    pub(crate) async fn close(self) {
        self.sockets.close().await;
        self.endpoints.close().await;
    }
}

/// Passes every query on `listen` to the resolvers that `resolv_conf` names, as it now is, until `shutdown`.
///
/// A node's resolvers may be reachable only from the host's own network (a stub on loopback, say), so the server
/// process runs this on the bridge, and the nodes ask it instead. With no resolver to ask, queries are refused.
///
/// # Errors
///
/// [`Error::Listen`] when the address can't be bound.
pub async fn forward_all(
    listen: SocketAddr,
    resolv_conf: &Path,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let text = format!(
        ".:{} {{\n forward . {}\n loop\n}}\n",
        listen.port(),
        resolv_conf.display()
    );
    let plan = corefile::read(&text, &|_| None).map_err(Error::Corefile)?;
    let around = Around {
        own: vec![listen.ip()],
        private: Vec::new(),
    };
    let engine = Arc::new(Engine::new(Zone::default(), around));
    let current = Current::new(plan);
    let mut applied = Applied::new(engine, vec![listen.ip()], None);
    applied.apply(&current).await?;
    let (_keep, changes) = channel::channel(current);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = applied.follow(changes) => {}
    }
    applied.close().await;
    Ok(())
}
