//! Benchmarks a service proxy (kube-proxy or any other) behind any Kubernetes API server:
//! how soon a change of the API is true for a client, and what a connection through a Service costs.

mod backend;
mod cluster;
mod connect;
mod measure;
mod ratio;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use benchkit::api::Target;
use benchkit::proc::Pid;
use clap::{Parser, Subcommand};
use serde_json::json;

#[derive(Parser)]
#[command(about = "Benchmarks a service proxy")]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Print one JSON line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers each connection with the local address it was reached at
    Backend {
        #[arg(long, default_value = "0.0.0.0:8080")]
        listen: SocketAddr,
    },
    /// Makes the Services and EndpointSlices, and nothing else
    Load {
        #[arg(long, default_value_t = 1000)]
        services: usize,
    },
    /// Removes the Services and EndpointSlices
    Clean,
    /// Loads, waits until all is programmed, then measures changes, creations and connections
    Run(Run),
}

/// What to measure, and how hard.
#[derive(clap::Args)]
pub struct Run {
    /// Services to make, with two endpoints each
    #[arg(long, default_value_t = 1000)]
    pub services: usize,
    /// Network namespace of the client (a file under /run/netns or /proc/PID/ns/net)
    #[arg(long)]
    pub client_netns: PathBuf,
    /// Start the proxy with this command after loading, and end it afterwards
    #[arg(long)]
    pub spawn: Option<String>,
    /// Processes to watch: NAME=PID (repeatable); a spawned proxy is added as `proxy`
    #[arg(long)]
    pub pid: Vec<Pid>,
    /// Endpoint changes to measure
    #[arg(long, default_value_t = 30)]
    pub changes: usize,
    /// Services to create and time
    #[arg(long, default_value_t = 15)]
    pub creations: usize,
    /// Pause before each measured change, in ms; half of it again is added at random
    #[arg(long, default_value_t = 2000)]
    pub gap_ms: u64,
    /// Endpoint changes per second of other services, in the background
    #[arg(long, default_value_t = 0)]
    pub churn: u64,
    /// Pause between connections of the prober, in µs
    #[arg(long, default_value_t = 300)]
    pub probe_us: u64,
    /// Rounds of the ratio (0: none), each with --connections direct and as many through Services
    #[arg(long, default_value_t = 15)]
    pub rounds: usize,
    /// Connections of each kind in a round
    #[arg(long, default_value_t = 1000)]
    pub connections: usize,
    /// Longest wait for anything to be programmed, in s
    #[arg(long, default_value_t = 120)]
    pub timeout: u64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Command::Backend { listen } = &cli.command {
        return backend::serve(*listen);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let value = runtime.block_on(async {
        match &cli.command {
            Command::Backend { .. } => unreachable!("handled above"),
            Command::Load { services } => {
                let took = cluster::load(&cli.target, *services).await?;
                Ok(json!({"services": services, "load_s": took}))
            }
            Command::Clean => cluster::clean(&cli.target).await.map(|()| json!({})),
            Command::Run(args) => measure::run(&cli.target, args).await,
        }
    })?;
    benchkit::report::print(&value, cli.json);
    Ok(())
}
