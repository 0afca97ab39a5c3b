//! `karve up`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::ClusterArg;
use super::progress::Progress;
use crate::cluster::addresses::{self, AddressRange};
use crate::cluster::config::{ClusterConfig, KUBERNETES_VERSION};
use crate::cluster::launch::{self, Launched, Log};
use crate::cluster::layout::{Layout, create_private_dir};
use crate::cluster::name::ClusterName;
use crate::cluster::subnet::NODES_MAX;
use crate::cluster::{Cluster, checks, kubeconfig, life, network, removal};

/// What a shell calls a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  karve up --nodes 2
  karve up --lb-pool 192.168.64.100-192.168.64.120
  karve up --no-load-balancer     LoadBalancer Services stay <pending> until `karve addons configure metallb`
  KUBECONFIG=./config karve up    kubectl in this directory only")]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// The kubeconfig file to put the cluster's context into [default: as kubectl: $KUBECONFIG, ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Addresses for LoadBalancer Services, FIRST-LAST [default: .200 to .250 of the nodes' network].
    #[arg(long, value_name = "A-B", conflicts_with = "no_load_balancer")]
    lb_pool: Option<AddressRange>,
    /// Give LoadBalancer Services no addresses.
    #[arg(long)]
    no_load_balancer: bool,
    /// Let every connection to a Service go through nf_tables, also those of Pods and nodes.
    #[arg(long)]
    no_socket_balancer: bool,
    /// Stay, show the logs, and remove the cluster on Ctrl-C.
    #[arg(long)]
    foreground: bool,
}

/// Removes what was made of a cluster unless it is kept.
struct Rollback<'a> {
    name: &'a ClusterName,
    kept: bool,
}

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = removal::remove(self.name)
        {
            eprintln!("karve: what was made could not be removed: {error:#}");
        }
    }
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let begun = Instant::now();
    let progress = Progress::new();
    let name = &options.cluster.name;
    let layout = Layout::of(name);
    checks::root("up", name)?;
    checks::absent(name, &layout)?;
    checks::kernel(&layout)?;
    let kubeconfig = kubeconfig::target(options.kubeconfig.as_deref())?;
    kubeconfig::check(&kubeconfig, name.as_str())?;

    // Watched for before there is anything to undo.
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let mut interrupted = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    claim(name, &layout)?;
    let mut rollback = Rollback { name, kept: false };
    let made = async {
        let cluster = make(&options, layout, kubeconfig)?;
        let started = bring_up(&options, &cluster, &progress).await?;
        anyhow::Ok((cluster, started))
    };
    let (cluster, mut started) = tokio::select! {
        made = made => made?,
        () = interrupted() => {
            progress.note("Interrupted: removing what was made");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    progress.say(&format!(
        "Cluster \"{name}\" is up in {:.2} s.",
        begun.elapsed().as_secs_f64()
    ));
    if !options.foreground {
        rollback.kept = true;
        return Ok(ExitCode::SUCCESS);
    }
    progress.say("Ctrl-C removes it.");
    tokio::select! {
        ended = launch::any_ended(&mut started) => return Err(ended),
        () = interrupted() => {}
    }
    progress.say(&format!("Removing cluster \"{}\".", cluster.name));
    Ok(ExitCode::SUCCESS)
}

/// Makes the cluster's directory: of two that try at the same time, one succeeds.
fn claim(name: &ClusterName, layout: &Layout) -> Result<()> {
    let action = || format!("make directory {}", layout.data.display());
    let parent = layout.data.parent().with_context(action)?;
    create_private_dir(parent).with_context(action)?;
    match DirBuilder::new().mode(0o700).create(&layout.data) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("cluster \"{name}\" is being made by somebody else")
        }
        other => other.with_context(action),
    }
}

/// Writes down what the cluster is made of, and takes its network before others can.
fn make(options: &Options, layout: Layout, kubeconfig: PathBuf) -> Result<Cluster> {
    let _turn = network::Turn::wait(&layout)?;
    let config = ClusterConfig {
        subnet: network::choose_subnet()?,
        nodes: options.nodes,
        loopback_port: life::choose_loopback_port()?,
        kubeconfig,
        socket_balancer: !options.no_socket_balancer,
    };
    config.write(&layout.config())?;
    network::ensure_lan(&options.cluster.name, &config)?;
    Ok(Cluster {
        name: options.cluster.name.clone(),
        layout,
        config,
    })
}

async fn bring_up(
    options: &Options,
    cluster: &Cluster,
    progress: &Progress,
) -> Result<Vec<Launched>> {
    progress.say(&format!(
        "karve {}, Kubernetes {KUBERNETES_VERSION}",
        env!("CARGO_PKG_VERSION")
    ));
    let log = if options.foreground {
        Log::Inherit
    } else {
        Log::File
    };
    let up = life::bring_up(cluster, log, progress).await?;
    if !options.no_load_balancer {
        let (first, last) = cluster.config.subnet.default_pool();
        let pool = options.lb_pool.unwrap_or(AddressRange { first, last });
        addresses::configure(&up.client, pool).await?;
        progress.done(&format!("LoadBalancer addresses {pool}"));
    }
    life::add_context(cluster)?;
    let file = cluster.config.kubeconfig.display();
    progress.done(&format!(
        "kubectl uses context \"{}\" ({file})",
        cluster.name
    ));
    if !has_kubectl() {
        progress.note("kubectl is not installed: apt install kubernetes-client, or https://kubernetes.io/docs/tasks/tools");
    }
    Ok(up.started)
}

fn has_kubectl() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("kubectl").is_file())
}
