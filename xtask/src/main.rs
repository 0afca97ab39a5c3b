//! Tasks around the code: `cargo xtask TASK`.

mod bench;
mod bpf;
mod conformance;
mod demo;
mod images;
mod internal;
mod interrupt;
mod layers;
mod machine;
mod packages;
mod recorded;
mod recorded_cluster;
mod schema;
mod stage;
mod sweep;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks around the code of karve")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Play the tutorial with the real kubectl on a two-node cluster, in a network with no way out.
    Demo(demo::Options),
    /// Build all and run every test: unit, kernel (in namespaces of its own), end to end.
    Test(test::Options),
    /// Make the tutorial's images as archives. The last line names their folder.
    Images,
    /// Measure.
    Bench(bench::Options),
    /// Play recorded answers of a kube-apiserver against a fresh karve and compare.
    Recorded(recorded::Options),
    /// Play recorded behaviour of a whole cluster against a fresh karve of one node and compare.
    RecordedCluster(recorded_cluster::Options),
    /// Run upstream's end-to-end tests on a fresh cluster, in a network with no way out.
    Conformance(conformance::Options),
    /// Check that crates depend on lower layers only.
    Layers,
    /// Compile the socket balancer's BPF programs.
    Bpf(bpf::Options),
    /// Make the schema table of `crates/api` from the Go modules of Kubernetes.
    Schema {
        /// The directory with the unpacked modules.
        modules: PathBuf,
        /// The table to write.
        #[arg(default_value = "crates/api/src/data/schema.tsv")]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Images => images::run(),
        Task::Bench(options) => bench::run(&options),
        Task::Recorded(options) => recorded::run(&options),
        Task::RecordedCluster(options) => recorded_cluster::run(&options),
        Task::Conformance(options) => conformance::run(&options),
        Task::Layers => layers::run(),
        Task::Bpf(options) => bpf::run(&options),
        Task::Schema { modules, output } => schema::run(&modules, &output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
