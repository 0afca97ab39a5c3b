//! A DNS server's life: what it follows, and how it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::applied::Applied;
use crate::corefile::{self, Plan};
use crate::engine::{Around, Engine};
use crate::live::{self, Current, default_plan};
use crate::walk::Surroundings;
use crate::watch::{self, Scope};
use crate::zone::Zone;
use crate::{Error, Options, Programmed, Source};

/// Serves the cluster's names from `client`'s API, and others by the Corefile, until `shutdown`.
///
/// The sockets are open before the first list is in; until then cluster names answer SERVFAIL, so
/// that a resolver tries again instead of believing that a name does not exist.
///
/// # Errors
///
/// [`Error`] when an address can't be bound at the start, or the domain is malformed. The API being away is no error.
pub async fn run(
    client: kube::Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let fallback = default_plan(&options.cluster_domain).ok_or_else(|| Error::Domain {
        domain: options.cluster_domain.clone(),
    })?;
    let first = match &options.source {
        Source::ConfigMap => Current::new(fallback),
        Source::File(path) => Current::new(read_file(path)?),
        Source::Fixed(plan) => Current {
            plan: plan.clone(),
            files: Arc::default(),
        },
    };
    let around = Around {
        own: options.listen.clone(),
        private: options.private.clone(),
    };
    let mut zone = Zone::default();
    if options.proxy.is_some() {
        zone.wait_for_proxy();
    }
    let engine = Arc::new(Engine::new(zone, around));
    let (current, changes) = channel::channel(first.clone());
    let mut applied = Applied::new(
        engine.clone(),
        options.listen.clone(),
        options.upstreams.clone(),
    );
    applied.apply(&first).await?;
    let followed = follow_source(&client, &options.source, first, current, engine.clone());
    let proxy = follow_proxy(options.proxy, engine.clone());
    let scope = Scope {
        surroundings: Surroundings {
            domain: options.cluster_domain.clone(),
            node_searches: options.node_searches.clone(),
        },
        pods: Some(options.node.clone()),
        ..Scope::default()
    };
    let lameduck = options.lameduck.then_some(());
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follow_needs(client.clone(), engine.clone(), changes.clone(), scope) => {}
        () = followed => {}
        () = proxy => {}
        () = applied.follow(changes) => {}
    }
    let duck = lameduck.map_or(Duration::ZERO, |()| applied.lameduck());
    tokio::time::sleep(duck).await;
    applied.close().await;
    Ok(())
}

fn read_file(path: &Path) -> Result<Plan, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    corefile::read(&text, &|name| std::env::var(name).ok()).map_err(Error::Corefile)
}

async fn follow_source(
    client: &kube::Client,
    source: &Source,
    first: Current,
    current: channel::Sender<Current>,
    engine: Arc<Engine>,
) {
    match source {
        Source::ConfigMap => {
            let failed = || engine.metrics.reload_failed.inc();
            live::follow_config_map(client.clone(), first, current, failed).await;
        }
        Source::File(path) => {
            let reread = || match read_file(path) {
                Ok(plan) => drop(current.send_replace(Current::new(plan))),
                Err(err) => {
                    engine.metrics.reload_failed.inc();
                    let cause = std::error::Error::source(&err).map(ToString::to_string);
                    tracing::warn!(%err, cause, "Corefile is refused, the one before stays in force");
                }
            };
            live::changed(path.clone(), reread).await;
            std::future::pending().await
        }
        Source::Fixed(_) => std::future::pending().await,
    }
}

async fn follow_proxy(proxy: Option<mpsc::UnboundedReceiver<Programmed>>, engine: Arc<Engine>) {
    let Some(mut proxy) = proxy else {
        return std::future::pending().await;
    };
    while let Some((name, programmed)) = proxy.recv().await {
        let mut zone = engine.zone.write();
        zone.set_programmed(&name, programmed);
        // All that came at once is taken under one lock.
        while let Ok((name, programmed)) = proxy.try_recv() {
            zone.set_programmed(&name, programmed);
        }
    }
    // The proxy has ended, and with it the process soon will.
    std::future::pending().await
}

/// What a plan needs to know of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needs {
    labels: Option<String>,
    no_endpoints: bool,
    pod_names: bool,
}

impl Needs {
    fn of(plan: &Plan) -> Needs {
        let kubernetes = || plan.servers.iter().filter_map(|s| s.kubernetes.as_ref());
        Needs {
            labels: kubernetes().find_map(|options| options.labels.clone()),
            no_endpoints: kubernetes().all(|options| options.no_endpoints),
            pod_names: kubernetes().any(|options| options.endpoint_pod_names),
        }
    }
}

/// Watches what the plan needs; begins anew when it needs something else.
async fn follow_needs(
    client: kube::Client,
    engine: Arc<Engine>,
    mut changes: channel::Receiver<Current>,
    scope: Scope,
) {
    loop {
        let needs = Needs::of(&changes.borrow_and_update().plan);
        let scope = Scope {
            labels: needs.labels.clone(),
            no_endpoints: needs.no_endpoints,
            ..scope.clone()
        };
        engine.zone.write().keep_pod_names = needs.pod_names;
        let other = async {
            let waited = changes.wait_for(|current| Needs::of(&current.plan) != needs);
            waited.await.map(drop)
        };
        tokio::select! {
            () = watch::follow(client.clone(), engine.clone(), scope) => return,
            changed = other => if changed.is_err() {
                return std::future::pending().await;
            }
        }
        engine.zone.write().forget();
    }
}
