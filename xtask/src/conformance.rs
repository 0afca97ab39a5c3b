//! `cargo xtask conformance`: upstream's end-to-end tests on a fresh cluster, in a network with no way out.

mod images;
mod report;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::machine;
use crate::stage::Stage;
use crate::workspace::{self, Profile};

/// The cluster.
const CLUSTER: &str = "conformance";

#[derive(Debug, Args)]
pub struct Options {
    /// Upstream's `e2e.test`, of the version that karve is.
    #[arg(long, value_name = "FILE")]
    e2e_test: PathBuf,
    /// Only tests whose names this regular expression finds.
    #[arg(long, value_name = "RE")]
    focus: String,
    /// No tests whose names this regular expression finds.
    #[arg(long, value_name = "RE")]
    skip: Option<String>,
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// Upstream's `agnhost`, for the tests' images: the program, or the folder of its source. Without it, only what
    /// needs no Pods can pass.
    #[arg(long, value_name = "PATH")]
    agnhost: Option<PathBuf>,
    /// Upstream's `sample-apiserver`, for the test of the aggregator.
    #[arg(long, value_name = "FILE", requires = "agnhost")]
    sample_apiserver: Option<PathBuf>,
    /// Upstream's `etcd`, for the same.
    #[arg(long, value_name = "FILE", requires = "agnhost")]
    etcd: Option<PathBuf>,
    /// Images made earlier, as archives: none are made.
    #[arg(long, value_name = "DIR", conflicts_with = "agnhost")]
    images: Option<PathBuf>,
    /// The karve to test; built from this checkout otherwise.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The kubectl that tests call; the one on PATH otherwise.
    #[arg(long, value_name = "FILE")]
    kubectl: Option<PathBuf>,
    /// Leave the cluster up and say how to go on by hand.
    #[arg(long)]
    keep: bool,
}

/// Runs the tests; whatever happens, only `--keep` leaves something behind.
pub fn run(options: &Options) -> Result<()> {
    machine::prepare_for_demo()?;
    let mut interrupt = Interrupt::hold()?;
    let karve = match &options.binary {
        Some(path) => {
            // Commands are typed as a person would.
            ensure!(
                path.file_name().is_some_and(|name| name == "karve"),
                "--binary is a file called karve"
            );
            std::path::absolute(path).context("find the binary")?
        }
        None => workspace::build("karve", Profile::Dev)?,
    };
    let e2e = std::path::absolute(&options.e2e_test).context("find e2e.test")?;
    let archives = match &options.images {
        Some(folder) => folder.clone(),
        None => images::make(&e2e, options)?,
    };
    let stage = Stage::new(&karve, CLUSTER)?;
    stage.clear()?;
    let report = workspace::target()?.join("conformance-report.json");
    let tested = stage
        .set()
        .and_then(|()| up(&stage, &archives, options.nodes))
        .and_then(|()| interrupt.check())
        .and_then(|()| test(&stage, options, &e2e, &report));
    if options.keep {
        stage.hand_over()?;
    } else {
        stage.clear()?;
    }
    tested?;
    report::print(&report)
}

/// Makes the cluster, with the images on its nodes.
fn up(stage: &Stage, archives: &Path, nodes: u8) -> Result<()> {
    if archives.exists() {
        stage.play(&format!("karve image load {}/*.tar", archives.display()))?;
    }
    stage.play(&format!("karve up --name {CLUSTER} --nodes {nodes}"))?;
    Ok(())
}

/// Runs the test program. What it prints goes into a log; of that, what has ended is shown.
fn test(stage: &Stage, options: &Options, e2e: &Path, report: &Path) -> Result<()> {
    let log = report.with_extension("log");
    let mut file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
    eprintln!("xtask: the log of the tests is {}", log.display());
    if report.exists() {
        std::fs::remove_file(report).with_context(|| format!("remove {}", report.display()))?;
    }
    let mut command = stage.inside(&e2e.display().to_string());
    command
        .arg("--ginkgo.v")
        .arg("--ginkgo.no-color")
        .arg("--ginkgo.timeout=12h")
        .arg(format!("--ginkgo.focus={}", options.focus))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg("--provider=skeleton")
        .arg("--disable-log-dump")
        .arg(format!("--num-nodes={}", options.nodes));
    if let Some(skip) = &options.skip {
        command.arg(format!("--ginkgo.skip={skip}"));
    }
    if let Some(kubectl) = &options.kubectl {
        command.arg(format!("--kubectl-path={}", kubectl.display()));
    }
    let kubeconfig = command
        .get_envs()
        .find_map(|(name, value)| value.filter(|_| name == "KUBECONFIG"))
        .context("the stage has a kubeconfig")?
        .to_owned();
    command.arg("--kubeconfig").arg(kubeconfig);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().context("start e2e.test")?;
    let output = BufReader::new(child.stdout.take().context("output is a pipe")?);
    let mut name = String::new();
    for line in output.lines() {
        let line = line.context("read what e2e.test prints")?;
        writeln!(file, "{line}").with_context(|| format!("write {}", log.display()))?;
        if line.starts_with("[sig-") {
            name.clone_from(&line);
        } else if line.starts_with("• [") {
            eprintln!("{line} {name}");
        }
    }
    // Its code says whether all passed, which the report says too.
    child.wait().context("wait for e2e.test")?;
    ensure!(
        report.exists(),
        "e2e.test made no report; see {}",
        log.display()
    );
    Ok(())
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("read what {program} prints"))
}
