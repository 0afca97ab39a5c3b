//! A cluster's cgroups, in every hierarchy that there is (v1, hybrid or v2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::mounts;
use super::name::ClusterName;
use super::process::ProcessId;

/// The cluster's cgroups that are there, one for each hierarchy.
pub fn traces(name: &ClusterName) -> Result<Vec<PathBuf>> {
    let hierarchies = mounts::list()?
        .into_iter()
        .filter(|mount| mount.kind == "cgroup" || mount.kind == "cgroup2");
    Ok(hierarchies
        .map(|mount| mount.point.join(name.cgroup()))
        .filter(|path| path.is_dir())
        .collect())
}

/// Puts this process into the node's cgroup of version 2, beside the node's Pods. Returns the node's cgroup.
///
/// What it starts is born there, so that the group holds all of the node's sockets.
pub fn join(name: &ClusterName, node: &str) -> Result<PathBuf> {
    let unified = mounts::list()?
        .into_iter()
        .find(|mount| mount.kind == "cgroup2")
        .context("no cgroup hierarchy of version 2 is mounted")?;
    let group = unified.point.join(name.cgroup()).join(node);
    // A group with groups below it may hold no processes itself.
    let own = group.join("agent");
    fs::create_dir_all(&own).with_context(|| format!("make cgroup {}", own.display()))?;
    fs::write(own.join("cgroup.procs"), "0")
        .with_context(|| format!("enter cgroup {}", own.display()))?;
    Ok(group)
}

/// Kills what runs in the cgroup and removes it, and the one above when it was the last in it.
pub fn remove(cgroup: &Path) -> Result<()> {
    remove_tree(cgroup)?;
    if let Some(parent) = cgroup.parent() {
        // Another cluster may be in it.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

fn remove_tree(cgroup: &Path) -> Result<()> {
    let children = match fs::read_dir(cgroup) {
        Ok(children) => children,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("list {}", cgroup.display())),
    };
    for child in children {
        let child = child.with_context(|| format!("list {}", cgroup.display()))?;
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&child.path())?;
        }
    }
    kill_members(cgroup)?;
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove cgroup {}", cgroup.display()))
        }
        _ => Ok(()),
    }
}

/// Kills until nothing is left: what is killed may have forked in between.
fn kill_members(cgroup: &Path) -> Result<()> {
    /// A process that forks faster than this is not of ours.
    const ROUNDS_MAX: usize = 100;
    for _ in 0..ROUNDS_MAX {
        let Ok(members) = fs::read_to_string(cgroup.join("cgroup.procs")) else {
            return Ok(());
        };
        let mut members = members
            .lines()
            .filter_map(|line| line.parse().ok())
            .peekable();
        if members.peek().is_none() {
            return Ok(());
        }
        for process in members.filter_map(ProcessId::of) {
            process.end(Duration::ZERO)?;
        }
    }
    anyhow::bail!("cgroup {} does not get empty", cgroup.display())
}
