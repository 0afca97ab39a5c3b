//! `karve agent`: one node, in its own network namespace from the first instruction.

use anyhow::Result;
use clap::Args;

use crate::cli::ClusterArg;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The node's name.
    #[arg(long)]
    node: String,
}

pub fn run(options: &Options) -> Result<()> {
    super::process::detach();
    let cluster = crate::cluster::Cluster::load(&options.cluster.name)?;
    let _ = (&cluster, &options.node);
    super::process::block_on(async move {
        let shutdown = super::process::stop_on_signal()?;
        super::process::say_ready()?;
        shutdown.cancelled().await;
        Ok(())
    })
}
