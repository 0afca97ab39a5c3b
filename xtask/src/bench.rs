//! `cargo xtask bench NAME`: the figures of docs/performance.md.
//!
//! Each bench makes a cluster of the release build in a network with no way out, lets a load
//! generator from `bench/` work on it, and prints that one's figures.

mod api;
mod dns;
mod endpoint_change;
mod idle;
mod pod_start;
mod services;
mod time_to_k8s;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::stage::Stage;
use crate::workspace::{self, Profile};
use crate::{images, machine};

/// The cluster, and where it answers in a network of its own.
const CLUSTER: &str = "bench";
const SERVER: &str = "https://192.168.64.1:6443";
/// What stands for an app, in the busybox image: it answers over HTTP and ends when it is told to.
const APP: &str =
    "echo ok > /index.html; httpd -p 8080 -h /; trap 'exit 0' TERM; sleep 1000000 & wait";

#[derive(Debug, Args)]
pub struct Options {
    /// Which figure.
    name: Bench,
    /// How often, where one run gives one sample.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Services that exist, where they matter: 1,000 by default, or 10,000 and 30,000.
    #[arg(long)]
    services: Option<u32>,
    /// How `api` prints its figures.
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// For whom figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// People: a line for each, as it comes.
    Human,
    /// Programs: one document at the end.
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// The API server by itself: start, writes, reads, lists, fan-out, memory.
    Api,
    /// From the command to an answer through a Service and to DNS in a Pod.
    TimeToK8s,
    /// Memory, CPU time and disk writes of a cluster of one node and one Pod.
    Idle,
    /// A Pod from its creation to Running; a Deployment of 50.
    PodStart,
    /// What an answer of the cluster DNS costs, how soon a name answers, and memory.
    Dns,
    /// From a changed EndpointSlice to the first answer of the new endpoint.
    EndpointChange,
    /// Many Services: programming all, changing one, connections, memory.
    Services,
}

/// Runs one and removes what it made.
pub fn run(options: &Options) -> Result<()> {
    if matches!(options.name, Bench::Api) {
        return api::run(options.runs, options.output);
    }
    machine::prepare_for_demo()?;
    let mut interrupt = Interrupt::hold()?;
    let bench = Ground::prepare()?;
    let result = match options.name {
        Bench::Api => Ok(()),
        Bench::TimeToK8s => time_to_k8s::run(&bench, options.runs, &mut interrupt),
        Bench::Idle => idle::run(&bench),
        Bench::PodStart => pod_start::run(&bench),
        Bench::Dns => dns::run(&bench, options.services.unwrap_or(1000)),
        Bench::EndpointChange => endpoint_change::run(&bench, options.services.unwrap_or(1000)),
        Bench::Services => services::run(&bench, options.services),
    };
    let cleared = bench.stage.clear();
    result.and(cleared)
}

/// What all benches stand on.
struct Ground {
    stage: Stage,
    images: PathBuf,
}

impl Ground {
    /// An empty network, with the tutorial's images in the content store.
    fn prepare() -> Result<Self> {
        let karve = workspace::build("karve", Profile::Release)?;
        let images = images::make(Profile::Release)?;
        let stage = Stage::new(&karve, CLUSTER)?;
        stage.clear()?;
        stage.set()?;
        let ground = Self { stage, images };
        ground.sh(&format!(
            "karve image load {}/*.tar",
            ground.images.display()
        ))?;
        Ok(ground)
    }

    /// A shell command in the bench's network, silent unless it fails.
    fn sh(&self, line: &str) -> Result<String> {
        self.stage.ask(line)
    }

    fn up(&self, more: &str) -> Result<()> {
        self.sh(&format!("karve up --name {CLUSTER} {more}"))
            .map(drop)
    }

    fn down(&self) -> Result<()> {
        self.sh(&format!("karve down --name {CLUSTER}")).map(drop)
    }

    /// The first node's network namespace.
    fn node_netns(&self) -> String {
        format!("/run/netns/karve-{CLUSTER}-node1")
    }

    /// A load generator, as the cluster's admin; its figures.
    fn measure(&self, tool: &Path, arguments: &[&str]) -> Result<Value> {
        let pki = self.stage.data().join("pki");
        let mut command = self.stage.inside(&tool.display().to_string());
        command.args(["--json", "--server", SERVER]);
        for (flag, file) in [
            ("--ca", "ca.crt"),
            ("--cert", "admin.crt"),
            ("--key", "admin.key"),
        ] {
            command.arg(flag).arg(pki.join(file));
        }
        output(command.args(arguments))
    }
}

/// The JSON that a tool prints.
fn output(command: &mut Command) -> Result<Value> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&output.stdout).context("decode figures")
}

/// Prints a row: what was measured, its figure, what was aimed at.
fn row(what: &str, figure: &str, goal: &str) {
    println!("{what:<48} {figure:>22}   goal {goal}");
}

/// Median of samples, with the extremes.
fn spread(mut samples: Vec<f64>) -> String {
    samples.sort_by(f64::total_cmp);
    match samples.as_slice() {
        [] => "no sample".to_owned(),
        [first, .., last] => format!("{:.3} ({first:.3}–{last:.3})", samples[samples.len() / 2]),
        [one] => format!("{one:.3}"),
    }
}
