//! The control plane's clients: controllers and the scheduler.
//!
//! Everything here is an ordinary client of the API: it watches objects and
//! writes objects, over whatever transport the [`kube::Client`] has. It keeps no
//! state of its own that could not be found again by looking: it may be stopped
//! at any moment and started anywhere.
//!
//! Each controller is a pure plan (state in, actions out) with a thin hand that
//! carries it out. All share one watch per kind ([`watch`]).
//!
//! Absent on purpose: polling and periodic resync (an idle cluster costs
//! nothing; timers are for deadlines only), leader election (one server process
//! runs it), and anything that touches a node, a socket or a file.

mod controllers;
mod event;
#[cfg(test)]
mod fixture;
mod ownership;
mod pod;
mod queue;
mod scheduler;
mod selector;
mod watch;
mod write;

use std::sync::Arc;

use ipnet::Ipv4Net;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::controllers::Authority;
use self::{
    controllers::{Cleaners, Context},
    event::Recorder,
    watch::Kinds,
};

/// What the controllers have to know of the cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// The range of pod addresses, cut into one /24 per node.
    pub cluster_cidr: Ipv4Net,
    /// The certificate (PEM) of the CA that signed the API server's, for the
    /// ConfigMap `kube-root-ca.crt` of every namespace.
    pub root_ca_pem: String,
    /// Who signs what CertificateSigningRequests of Kubernetes' own signers ask for; without it nobody does.
    pub authority: Option<Arc<Authority>>,
}

/// The API under the identities of the parts, each with the rights that it needs.
#[derive(Clone)]
pub struct Clients {
    /// `system:kube-controller-manager`, which watches everything.
    pub controllers: Client,
    /// `system:kube-scheduler`.
    pub scheduler: Client,
    /// `system:serviceaccount:kube-system:generic-garbage-collector`.
    pub garbage_collector: Client,
    /// `system:serviceaccount:kube-system:namespace-controller`.
    pub namespaces: Client,
}

impl Clients {
    /// All parts under one identity.
    pub fn same(client: Client) -> Clients {
        Clients {
            controllers: client.clone(),
            scheduler: client.clone(),
            garbage_collector: client.clone(),
            namespaces: client,
        }
    }
}

/// Why [`run`] ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the control plane panicked.
    #[error("a controller stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

/// Runs all controllers and the scheduler until `shutdown`.
///
/// When the API server is away they wait and go on when it is back.
///
/// # Errors
///
/// [`Error::Stopped`] if one of them panicked.
pub async fn run(
    clients: Clients,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Our own end must not look like an order to everybody else.
    let shutdown = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let Clients {
        controllers,
        scheduler,
        garbage_collector,
        namespaces,
    } = clients;
    let kinds = Kinds::new();
    let (recorder, writing) = Recorder::new(controllers.clone(), shutdown.clone());
    tasks.spawn(writing);
    let scheduling = scheduler::Scheduler::new(&kinds, scheduler, &recorder);
    kinds.start(&controllers, &mut tasks, &shutdown);
    if shutdown.run_until_cancelled(kinds.synced()).await.is_none() {
        return finish(tasks).await;
    }
    let context = Context {
        client: controllers,
        kinds,
        recorder,
    };
    let root_ca_pem: Arc<str> = options.root_ca_pem.into();
    controllers::start(
        &context,
        options.cluster_cidr,
        root_ca_pem,
        options.authority,
        Cleaners {
            garbage: garbage_collector,
            namespaces,
        },
        &mut tasks,
        &shutdown,
    );
    tasks.spawn(scheduling.run(shutdown.clone()));
    tracing::info!("controllers and scheduler run");
    // Ends at once should a part panic, so that nobody works on with half.
    let ended = tasks.join_next().await;
    shutdown.cancel();
    finish(tasks).await?;
    ended.transpose().map(drop).map_err(Error::Stopped)
}

async fn finish(mut tasks: JoinSet<()>) -> Result<(), Error> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Error::Stopped)?;
    }
    Ok(())
}
