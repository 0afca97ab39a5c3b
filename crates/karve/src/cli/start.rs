//! `karve start`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use super::ClusterArg;
use super::progress::Progress;
use crate::cluster::launch::Log;
use crate::cluster::{Cluster, checks, life};

#[derive(Debug, Args)]
#[command(after_help = "Starts just what is missing: what runs is left alone.")]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let begun = Instant::now();
    let name = &options.cluster.name;
    checks::root("start", name)?;
    let cluster = Cluster::load(name)?;
    let progress = Progress::new();
    let up = life::bring_up(&cluster, Log::File, &progress).await?;
    life::add_context(&cluster)?;
    let seconds = begun.elapsed().as_secs_f64();
    match up.started.len() {
        0 => progress.say(&format!("Cluster \"{name}\" is up; nothing was missing.")),
        1 => progress.say(&format!(
            "Cluster \"{name}\" is up in {seconds:.2} s; 1 process was started."
        )),
        n => progress.say(&format!(
            "Cluster \"{name}\" is up in {seconds:.2} s; {n} processes were started."
        )),
    }
    Ok(ExitCode::SUCCESS)
}
