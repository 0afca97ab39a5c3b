//! `karve stop`.

use anyhow::Result;
use clap::Args;

use super::ClusterArg;
use super::progress::Progress;
use crate::cluster::{Cluster, checks, removal};

#[derive(Debug, Args)]
#[command(
    after_help = "Containers are killed; `karve start` makes them anew from the objects that are kept."
)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
}

pub fn run(options: &Options) -> Result<()> {
    let name = &options.cluster.name;
    checks::root("stop", name)?;
    let cluster = Cluster::load(name)?;
    let progress = Progress::new();
    let stopped = removal::stop(name)?;
    if stopped.is_nothing() {
        progress.say(&format!("Cluster \"{name}\" is stopped already."));
    } else {
        progress.done(&format!("Stopped cluster \"{name}\": {stopped}"));
        progress.say(&format!(
            "Its objects are kept: `{}` goes on.",
            cluster.command("start")
        ));
    }
    Ok(())
}
