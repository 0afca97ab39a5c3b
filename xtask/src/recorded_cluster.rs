//! `cargo xtask recorded-cluster DIR`: plays what was done to a real one-node cluster once against a fresh karve, and
//! compares what kubelet, controllers and kubectl made of it. The format of the folder is in its README.
//!
//! Invariant: what differs is printed and counts, unless the scenario itself calls it loose. What can't be played here
//! is named in the last line. Absent: retries, and polling; everything is seen by watches.

mod cluster;
mod compare;
mod difference;
mod fits;
mod images;
mod journal;
mod kinds;
mod merge;
mod normal;
mod player;
mod scenario;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt as _, stream};

use self::cluster::{Cluster, NODE};
use self::difference::Difference;
use self::journal::{Journal, Life};
use self::kinds::Kind;
use self::player::{Stage, play};
use self::scenario::Scenario;
use crate::interrupt::Interrupt;
use crate::machine;
use crate::recorded::entries;
use crate::recorded::kubectl::Kubectl;
use crate::workspace::{self, Profile};

/// Scenarios that are played at the same time; most of their time is waiting.
const AT_ONCE: usize = 8;
/// Differences printed of one scenario, unless all are asked for.
const DIFFERENCES_SHOWN: usize = 12;

#[derive(Debug, Args)]
pub struct Options {
    /// The folder of recordings: topics with scenarios.
    folder: PathBuf,
    /// Only this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only scenarios whose `topic/name` contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Print scenarios that agree too, and all differences.
    #[arg(short, long)]
    verbose: bool,
    /// The karve to play against; built from this checkout otherwise.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Upstream's `agnhost`, a static program. Scenarios that run it are not played without it.
    #[arg(long, value_name = "FILE")]
    agnhost: Option<PathBuf>,
    /// Images made earlier, as archives: none are made.
    #[arg(long, value_name = "DIR", conflicts_with = "agnhost")]
    images: Option<PathBuf>,
    /// Where kubectl of several versions lie; where the `kubectl` on PATH lies otherwise.
    #[arg(long, value_name = "DIR")]
    kubectl_dir: Option<PathBuf>,
    /// Give up waiting after so many seconds, even where a scenario allows more.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait_max: u64,
}

/// Plays, prints, and fails when anything differs.
pub fn run(options: &Options) -> Result<()> {
    machine::prepare_for_demo()?;
    let mut interrupt = Interrupt::hold()?;
    let scenarios = scenario::read(
        &options.folder,
        options.topic.as_deref(),
        options.filter.as_deref(),
    )?;
    let kubectl = Kubectl::find(options.kubectl_dir.as_deref())?;
    let karve = match &options.binary {
        Some(path) => std::path::absolute(path).context("find the binary")?,
        None => workspace::build("karve", Profile::Dev)?,
    };
    let archives = match &options.images {
        Some(folder) => entries(folder)?,
        None => images::make(options.agnhost.as_deref())?,
    };
    let agnhost = archives
        .iter()
        .any(|path| path.to_string_lossy().contains("agnhost"));
    let (played, skipped): (Vec<_>, Vec<_>) = scenarios
        .into_iter()
        .partition(|scenario| unplayable(scenario, agnhost).is_none());
    cluster::enter_network()?;
    let cluster = Cluster::up(&karve, &archives)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let mut report = Report {
        verbose: options.verbose,
        passed: 0,
        failed: 0,
    };
    let outcome = runtime.block_on(async {
        let request = |path: &str| cluster.request("GET", path, "", Vec::new());
        let journal = Journal::open(&cluster.client()?, request).await?;
        let node_address = journal.until("", node_address).await?;
        let stage = Stage {
            cluster: &cluster,
            journal: &journal,
            kubectl: &kubectl,
            node_address: &node_address,
            wait_max: Duration::from_secs(options.wait_max),
        };
        let (alone, together): (Vec<_>, Vec<_>) =
            played.iter().partition(|scenario| scenario.alone());
        for (scenarios, at_once) in [(together, AT_ONCE), (alone, 1)] {
            let plays = scenarios
                .into_iter()
                .map(async |scenario| (scenario, play(scenario, &stage).await));
            let mut plays = Box::pin(stream::iter(plays).buffer_unordered(at_once));
            while let Some((scenario, differences)) = plays.next().await {
                interrupt.check()?;
                report.add(
                    scenario,
                    &differences.with_context(|| format!("play {}", scenario.path))?,
                );
            }
        }
        anyhow::Ok(())
    });
    if outcome.is_err() {
        eprintln!("{}", cluster.logs());
    }
    outcome?;
    report.finish(&skipped, agnhost)
}

/// Why a scenario can't be played, if so.
fn unplayable(scenario: &Scenario, agnhost: bool) -> Option<&'static str> {
    if scenario.uses_agnhost() && !agnhost {
        return Some("--agnhost");
    }
    scenario
        .texts("needs")
        .any(|need| need == "static")
        .then_some("a folder of static Pods")
}

fn node_address(lives: &[Life]) -> Option<String> {
    let node = Kind::of("Node")?.name;
    let node = lives
        .iter()
        .find(|life| life.kind == node && life.name == NODE)?;
    let addresses = node.last()["status"]["addresses"].as_array()?;
    let internal = addresses
        .iter()
        .find(|address| address["type"] == "InternalIP")?;
    internal["address"].as_str().map(str::to_owned)
}

/// What was found so far.
struct Report {
    verbose: bool,
    passed: usize,
    failed: usize,
}

impl Report {
    fn add(&mut self, scenario: &Scenario, differences: &[Difference]) {
        match differences.is_empty() {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        if differences.is_empty() {
            if self.verbose {
                println!("ok     {}", scenario.path);
            }
            return;
        }
        println!(
            "FAILED {} ({} differences)",
            scenario.path,
            differences.len()
        );
        let most = if self.verbose {
            usize::MAX
        } else {
            DIFFERENCES_SHOWN
        };
        for Difference { id, text } in differences.iter().take(most) {
            println!("  {id}\n      {text}");
        }
        if differences.len() > most {
            println!("  and {} more", differences.len() - most);
        }
    }

    /// The last line, and what it means for the run.
    fn finish(self, skipped: &[Scenario], agnhost: bool) -> Result<()> {
        for scenario in skipped {
            let lacks = unplayable(scenario, agnhost).unwrap_or_default();
            println!("not played: {} (needs {lacks})", scenario.path);
        }
        let left = match skipped.len() {
            0 => String::new(),
            count => format!(" ({count} not played)"),
        };
        println!("{} passed, {} failed{left}", self.passed, self.failed);
        ensure!(self.passed + self.failed > 0, "no scenario was played");
        ensure!(self.failed == 0, "the cluster behaves differently");
        Ok(())
    }
}
