//! Benchmarks a cluster DNS server (CoreDNS or any other) behind any Kubernetes API server.

mod ask;
mod objects;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use benchkit::api::Target;
use benchkit::proc::{self, Pid};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Benchmarks a cluster DNS server")]
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
    /// Makes the Services and EndpointSlices, and nothing else
    Load {
        #[arg(long, default_value_t = 1000)]
        services: usize,
        #[arg(long, default_value_t = 5)]
        endpoints: usize,
    },
    /// Asks, and measures
    Run(Run),
}

/// What to measure.
#[derive(clap::Args)]
struct Run {
    /// Services that there are
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// The server
    #[arg(long)]
    dns: SocketAddr,
    /// Processes to watch: NAME=PID (repeatable)
    #[arg(long)]
    pid: Vec<Pid>,
    /// Length of each measurement, in s
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Services to create and time
    #[arg(long, default_value_t = 30)]
    creations: usize,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let value = match &cli.command {
        Command::Load {
            services,
            endpoints,
        } => {
            let took = runtime.block_on(objects::load(&cli.target, *services, *endpoints))?;
            json!({"services": services, "load_s": took})
        }
        Command::Run(run) => {
            let mut value = measure(run)?;
            let creations = objects::creations(&cli.target, run.dns, run.creations);
            value["creation"] = runtime.block_on(creations)?;
            value
        }
    };
    benchkit::report::print(&value, cli.json);
    Ok(())
}

fn measure(run: &Run) -> Result<Value> {
    let seconds = Duration::from_secs(run.seconds);
    let asker = ask::Asker::new(run.dns, run.services)?;
    asker.wait()?;
    let single = asker.closed(1, seconds)?;
    let before = proc::read(&run.pid);
    let full = asker.closed(128, seconds)?;
    let after = proc::read(&run.pid);
    let answers = full["answers"].as_f64().unwrap_or(1.0).max(1.0);
    let cost = before.iter().zip(&after).zip(&run.pid);
    let cost = cost.map(|((before, after), pid)| {
        let us = (after.cpu_s - before.cpu_s) / answers * 1e6;
        (pid.name.clone(), json!(benchkit::stats::round(us)))
    });
    let cost: serde_json::Map<String, Value> = cost.collect();
    let open = asker.open(10_000, seconds)?;
    let half = full["per_second"].as_f64().unwrap_or(0.0) / 2.0;
    let half = asker.open(half as u64, seconds)?;
    Ok(json!({
        "one_in_flight": single,
        "128_in_flight": full,
        "cpu_us_per_answer": cost,
        "open_10000": open,
        "open_half_load": half,
        "processes": proc::delta(&run.pid, &before, &after),
    }))
}
