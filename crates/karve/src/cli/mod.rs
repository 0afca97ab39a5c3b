//! The command line. Data goes to standard output, talk to standard error; one command is one file.

mod addons;
mod down;
mod image;
mod ip;
mod logs;
pub mod output;
pub mod progress;
mod service;
mod start;
mod status;
mod stop;
mod up;
mod version;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::cluster::name::{ClusterName, DEFAULT};
use crate::{api, envtest, roles};

/// Kubernetes in one binary: a cluster on this machine in a second.
#[derive(Debug, Parser)]
#[command(name = "karve", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  karve up                       a cluster of one node; kubectl uses it from then on
  kubectl create deployment web --image=nginx
  karve up --nodes 3 --name lab  another one beside it
  karve down --name lab          nothing of it is left";

/// Which cluster is meant.
#[derive(Debug, Clone, Args)]
pub struct ClusterArg {
    /// The cluster's name.
    #[arg(long, value_name = "NAME", default_value = DEFAULT)]
    pub name: ClusterName,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a cluster and start it.
    Up(up::Options),
    /// Remove a cluster with all that it made.
    Down(down::Options),
    /// Stop a cluster, keeping its objects and addresses.
    Stop(stop::Options),
    /// Start a stopped cluster, or what is missing of a running one.
    Start(start::Options),
    /// Show what runs and where.
    Status(status::Options),
    /// Print the address of the first node, or of another.
    Ip(ip::Options),
    /// Show Services and their URLs.
    Service(service::Options),
    /// Load, pull, list and remove images, which all clusters of this machine share.
    Image(image::Options),
    /// Print what the server, or a node's agent, says.
    Logs(logs::Options),
    /// Switch what minikube calls add-ons.
    Addons(addons::Options),
    /// Print the versions of karve and of its API.
    Version(version::Options),
    /// Run the API server by itself, without controllers, scheduler and nodes.
    Api(Box<api::Flags>),
    /// Make the folder of programs that controller-runtime's envtest starts.
    Envtest(envtest::Options),
    /// Run the Service proxy by itself, in place of kube-proxy, against any Kubernetes API.
    Proxy(Box<roles::proxy::Flags>),
    /// Run the cluster DNS by itself, in place of CoreDNS, or explain an answer.
    Dns(Box<roles::dns::Flags>),
    /// Run the control plane of a cluster.
    #[command(hide = true)]
    Server(roles::server::Options),
    /// Run a node of a cluster.
    #[command(hide = true)]
    Agent(roles::agent::Options),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Up(options) => block_on(up::run(options)),
            Command::Down(options) => down::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Stop(options) => stop::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Start(options) => block_on(start::run(options)),
            Command::Status(options) => block_on(status::run(options)),
            Command::Ip(options) => ip::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Service(options) => block_on(service::run(options)),
            Command::Image(options) => block_on(image::run(options)),
            Command::Logs(options) => logs::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Addons(options) => block_on(addons::run(options)),
            Command::Version(options) => version::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Api(flags) => api::run(&flags).map(|()| ExitCode::SUCCESS),
            Command::Envtest(options) => envtest::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Proxy(flags) => roles::proxy::run(&flags).map(|()| ExitCode::SUCCESS),
            Command::Dns(flags) => roles::dns::run(&flags),
            Command::Server(options) => roles::server::run(&options).map(|()| ExitCode::SUCCESS),
            Command::Agent(options) => roles::agent::run(&options).map(|()| ExitCode::SUCCESS),
        }
    }
}

fn block_on(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(command)
}
