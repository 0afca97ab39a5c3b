//! `karve down`.

use anyhow::Result;
use clap::Args;

use super::ClusterArg;
use super::progress::Progress;
use crate::cluster::{checks, removal};

#[derive(Debug, Args)]
#[command(
    after_help = "Works on half made and half removed clusters too. Images stay: `karve image rm`."
)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
}

pub fn run(options: &Options) -> Result<()> {
    let name = &options.cluster.name;
    checks::root("down", name)?;
    let progress = Progress::new();
    let removed = removal::remove(name)?;
    if removed.is_nothing() {
        progress.say(&format!("There is nothing of a cluster \"{name}\"."));
    } else {
        progress.done(&format!("Removed cluster \"{name}\": {removed}"));
    }
    Ok(())
}
