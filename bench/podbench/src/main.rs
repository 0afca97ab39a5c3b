//! Benchmarks a whole cluster through its API: cold start to a served request, Pods, Deployments.

mod deployment;
mod inside;
mod objects;
mod pods;
mod up;
mod watch;

use anyhow::Result;
use benchkit::api::Target;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmarks a cluster's Pods")]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Print one JSON line
    #[arg(long, global = true)]
    json: bool,
    /// Image of a server that answers HTTP on port 8080
    #[arg(long, default_value = "bench.local/web:1", global = true)]
    image: String,
    /// Shell command that makes such a server of the image, instead of the image's own
    #[arg(long, global = true)]
    shell: Option<String>,
    /// Namespace for all that is made
    #[arg(long, default_value = "podbench", global = true)]
    namespace: String,
    /// Longest wait for anything, in s
    #[arg(long, default_value_t = 180, global = true)]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Spawn a command; time until API, node, first Pod, and an answer through a Service
    Up(up::Args),
    /// Pods one after the other: create → Running → Ready, delete → gone
    Pods {
        #[arg(long, default_value_t = 30)]
        count: usize,
    },
    /// One Deployment: create → all Ready, delete → all gone
    Deployment {
        #[arg(long, default_value_t = 50)]
        replicas: usize,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let place = objects::Place {
        namespace: cli.namespace,
        image: cli.image,
        shell: cli.shell,
        timeout: std::time::Duration::from_secs(cli.timeout),
    };
    let value = match &cli.command {
        Command::Up(args) => up::run(&cli.target, &place, args).await?,
        Command::Pods { count } => pods::run(&cli.target, &place, *count).await?,
        Command::Deployment { replicas } => deployment::run(&cli.target, &place, *replicas).await?,
    };
    benchkit::report::print(&value, cli.json);
    Ok(())
}
