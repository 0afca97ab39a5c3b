//! `cargo xtask recorded DIR`: plays scenarios that a kube-apiserver answered once against a fresh karve, over TLS,
//! and compares every answer. The format of the folder is in its README.
//!
//! Invariant: what differs is printed, counts, and fails the run, unless `recorded-allowed.txt` names it; what that
//! file names must differ. Absent: retries. A scenario is played once, as it was recorded.

mod allowed;
mod answer;
pub mod client;
mod documents;
pub mod kubectl;
pub mod matcher;
mod player;
mod request;
mod scenario;
mod server;
mod watch;
mod yaml;

use std::path::PathBuf;
use std::pin::pin;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::{StreamExt as _, stream};

use self::allowed::Allowed;
use self::kubectl::Kubectl;
use self::player::Played;
pub use self::scenario::entries;
use self::server::Server;
use crate::interrupt::Interrupt;
use crate::workspace::{self, Profile};

/// Scenarios that are played at the same time.
const AT_ONCE: usize = 6;
/// Differences printed of one step, unless all are asked for.
const DIFFERENCES_SHOWN: usize = 8;

#[derive(Debug, Args)]
pub struct Options {
    /// The folder of recordings: topics with scenarios.
    folder: PathBuf,
    /// Only scenarios whose `topic/name` contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Print scenarios that agree too, and all differences of a step.
    #[arg(short, long)]
    verbose: bool,
    /// The karve to play against; built from this checkout otherwise.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where kubectl of several versions lie, such as `kubectl.1.33`; where the `kubectl` on PATH lies otherwise.
    #[arg(long)]
    kubectl_dir: Option<PathBuf>,
}

/// Plays, prints, and fails when anything differs.
pub fn run(options: &Options) -> Result<()> {
    let mut interrupt = Interrupt::hold()?;
    let scenarios = scenario::read(&options.folder, options.filter.as_deref())?;
    let documents = documents::read(&options.folder, options.filter.as_deref())?;
    let allowed = Allowed::read(&workspace::root().join("xtask/recorded-allowed.txt"))?;
    let kubectl = Kubectl::find(options.kubectl_dir.as_deref())?;
    let karve = match &options.binary {
        Some(path) => path.clone(),
        None => workspace::build("karve", Profile::Dev)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let mut report = Report::new(options.verbose, allowed);
    runtime.block_on(async {
        let server = Server::start(&karve).await?;
        for document in &documents {
            report.add(&document.name, document.check(&server).await?);
        }
        // What admission is told to do concerns everybody's objects; most of the others' time is waiting.
        let (alone, others): (Vec<_>, Vec<_>) = scenarios
            .iter()
            .partition(|scenario| scenario.path.starts_with("admission/"));
        for (scenarios, at_once) in [(alone, 1), (others, AT_ONCE)] {
            let plays = scenarios
                .iter()
                .map(|scenario| player::play(scenario, &server, &kubectl));
            let mut plays = pin!(stream::iter(plays).buffered(at_once).enumerate());
            while let Some((at, played)) = plays.next().await {
                interrupt.check()?;
                let path = &scenarios[at].path;
                if let Err(error) = &played
                    && let Some(obituary) = server.obituary()
                {
                    bail!("{path}: {error:#}: {obituary}");
                }
                report.add(path, played?);
            }
        }
        anyhow::Ok(())
    })?;
    report.finish(options.filter.is_none())
}

/// What was found so far.
struct Report {
    verbose: bool,
    allowed: Allowed,
    passed: usize,
    failed: usize,
    steps: usize,
    agreed: usize,
}

impl Report {
    fn new(verbose: bool, allowed: Allowed) -> Self {
        Self {
            verbose,
            allowed,
            passed: 0,
            failed: 0,
            steps: 0,
            agreed: 0,
        }
    }

    /// Prints what one scenario came to.
    fn add(&mut self, name: &str, played: Played) {
        let mut differing = 0;
        let mut lines = Vec::new();
        for step in &played.differing {
            let reason = self.allowed.reason(name, step.index);
            if reason.is_none() {
                differing += 1;
            }
            if reason.is_none() || self.verbose {
                let allowed = reason.map(|r| format!(" (allowed: {r})"));
                lines.push(format!(
                    "  [{}] {}{}",
                    step.index,
                    step.what,
                    allowed.unwrap_or_default()
                ));
                lines.extend(self.shown(&step.differences));
            }
        }
        self.steps += played.steps;
        self.agreed += played.steps - differing;
        match differing {
            0 => self.passed += 1,
            _ => self.failed += 1,
        }
        if differing > 0 || self.verbose {
            let verdict = if differing > 0 { "FAILED" } else { "ok    " };
            println!(
                "{verdict} {name} ({differing} of {} steps differ)",
                played.steps
            );
        }
        lines.iter().for_each(|line| println!("{line}"));
    }

    fn shown(&self, differences: &[String]) -> Vec<String> {
        let most = if self.verbose {
            usize::MAX
        } else {
            DIFFERENCES_SHOWN
        };
        let mut lines: Vec<String> = differences
            .iter()
            .take(most)
            .map(|d| format!("      {d}"))
            .collect();
        if differences.len() > most {
            lines.push(format!("      and {} more", differences.len() - most));
        }
        lines
    }

    /// The last line, and what it means for the run. `all` were played.
    fn finish(self, all: bool) -> Result<()> {
        let stale = if all {
            self.allowed.unused()
        } else {
            Vec::new()
        };
        for entry in &stale {
            println!("recorded-allowed.txt: {entry} does not differ any more: remove it");
        }
        println!("{} of {} steps agree", self.agreed, self.steps);
        println!("{} passed, {} failed", self.passed, self.failed);
        ensure!(self.passed + self.failed > 0, "no scenario was played");
        ensure!(self.failed == 0, "answers differ from the recorded ones");
        ensure!(
            stale.is_empty(),
            "the list of allowed differences is too long"
        );
        Ok(())
    }
}
