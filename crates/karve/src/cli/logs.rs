//! `karve logs`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::ClusterArg;
use crate::cluster::Cluster;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  karve logs                the server\n  karve logs --node node2   an agent\n  karve logs -f"
)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The agent of this node instead of the server.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Go on with what is said from now on.
    #[arg(short, long)]
    follow: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let cluster = Cluster::load(&options.cluster.name)?;
    let path = match &options.node {
        None => cluster.layout.server_log(),
        Some(node) => {
            let known = cluster
                .config
                .local_nodes()
                .iter()
                .any(|known| known.name == *node);
            ensure!(
                known,
                "there is no node \"{node}\": the last is node{}",
                cluster.config.nodes
            );
            cluster.layout.agent_log(node)
        }
    };
    match print(&path, options.follow) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.with_context(|| format!("print {}", path.display())),
    }
}

fn print(path: &Path, follow: bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut stdout = io::stdout();
    if !follow {
        return io::copy(&mut file, &mut stdout).map(drop);
    }
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
    loop {
        // A log that got shorter was begun anew.
        if file.metadata()?.len() < file.stream_position()? {
            file.rewind()?;
        }
        io::copy(&mut (&mut file).take(u64::MAX), &mut stdout)?;
        inotify.read_events()?;
    }
}
