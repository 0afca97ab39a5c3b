//! `karve server`: a cluster's control plane in one process, in the host's network.

use anyhow::Result;
use clap::Args;

use crate::cli::ClusterArg;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
}

pub fn run(options: &Options) -> Result<()> {
    super::process::detach();
    let cluster = crate::cluster::Cluster::load(&options.cluster.name)?;
    super::process::block_on(async move {
        let shutdown = super::process::stop_on_signal()?;
        super::process::say_ready()?;
        let _ = cluster;
        shutdown.cancelled().await;
        Ok(())
    })
}
