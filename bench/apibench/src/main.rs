//! Benchmarks a Kubernetes API server from outside, over its own protocol.

mod boot;
mod crud;
mod fanout;
mod list;
mod space;

use anyhow::Result;
use benchkit::api::{Proto, Target};
use benchkit::proc::{self, Pid};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Benchmarks a Kubernetes API server")]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Processes to watch: NAME=PID (repeatable)
    #[arg(long, global = true)]
    pid: Vec<Pid>,
    /// Print one JSON line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Time from spawning a command until the API server is ready and takes a write
    Boot(boot::Args),
    /// Creates, updates and reads of 1 KiB ConfigMaps
    Crud(crud::Args),
    /// LISTs of many Pods
    List(list::Args),
    /// Many watchers of one stream of updates
    Fanout(fanout::Args),
    /// crud for h1 and h2 with 1 and 64 callers, then list, then fanout
    All {
        /// Creates per measurement with 64 callers
        #[arg(long, default_value_t = 10_000)]
        count: usize,
    },
    /// Makes 1 KiB ConfigMaps and leaves them there
    Fill {
        #[arg(long, default_value_t = 30_000)]
        count: usize,
    },
    /// Memory and CPU of --pid over a time in which nothing is asked
    Idle {
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let value = run(&cli).await?;
    benchkit::report::print(&value, cli.json);
    Ok(())
}

async fn run(cli: &Cli) -> Result<Value> {
    let (target, pids) = (&cli.target, &cli.pid);
    match &cli.command {
        Command::Boot(args) => boot::run(target, args).await,
        Command::Crud(args) => crud::run(target, pids, args).await,
        Command::List(args) => list::run(target, pids, args).await,
        Command::Fanout(args) => fanout::run(target, pids, args).await,
        Command::Fill { count } => crud::fill(target, *count).await,
        Command::All { count } => all(target, pids, *count).await,
        Command::Idle { seconds } => {
            let (before, (cpu, disk)) = (proc::read(pids), proc::machine());
            tokio::time::sleep(std::time::Duration::from_secs(*seconds)).await;
            let (cpu_after, disk_after) = proc::machine();
            let after = proc::read(pids);
            let pss_mb = after.iter().map(|u| u.pss_kb).sum::<u64>() / 1024;
            let busy = after
                .iter()
                .zip(&before)
                .map(|(a, b)| a.cpu_s - b.cpu_s)
                .sum::<f64>();
            Ok(json!({
                "seconds": seconds, "pss_mb": pss_mb, "cores": busy / *seconds as f64,
                "machine_cores": (cpu_after - cpu) / *seconds as f64, "machine_disk_write_kb": (disk_after - disk) >> 10,
                "processes": proc::delta(pids, &before, &after),
            }))
        }
    }
}

async fn all(target: &Target, pids: &[Pid], count: usize) -> Result<Value> {
    let mut out = serde_json::Map::new();
    for proto in [Proto::H1, Proto::H2] {
        for (callers, n) in [(1, (count / 10).max(1)), (64, count)] {
            let args = crud::Args {
                proto,
                callers,
                count: n,
                per_conn: 64,
            };
            out.insert(
                format!("crud_{}_{callers}", proto.name()),
                crud::run(target, pids, &args).await?,
            );
        }
    }
    out.insert(
        "list".into(),
        list::run(target, pids, &list::Args::default()).await?,
    );
    out.insert(
        "fanout".into(),
        fanout::run(target, pids, &fanout::Args::default()).await?,
    );
    Ok(Value::Object(out))
}
