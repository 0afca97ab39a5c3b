//! `karve ip`, as `minikube ip`.

use anyhow::{Context, Result};
use clap::Args;

use super::{ClusterArg, output};
use crate::cluster::Cluster;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  curl http://$(karve ip):31000")]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Another node than the first.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let cluster = Cluster::load(&options.cluster.name)?;
    let nodes = cluster.config.local_nodes();
    let node = match &options.node {
        None => nodes.first().context("a cluster has a node")?,
        Some(wanted) => nodes
            .iter()
            .find(|node| node.name == *wanted)
            .with_context(|| {
                format!(
                    "there is no node \"{wanted}\": the last is node{}",
                    nodes.len()
                )
            })?,
    };
    output::line(&node.ip.to_string())
}
