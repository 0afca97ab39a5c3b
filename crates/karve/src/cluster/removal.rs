//! Taking a cluster away: from its processes down to its files, by its name alone.
//!
//! Every step looks for what is there, so removal works on a cluster that is whole, half made or half
//! removed, and doing it twice is no error. A step that fails does not keep the others from being tried.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::config::ClusterConfig;
use super::layout::Layout;
use super::name::ClusterName;
use super::process::{self, ProcessId, Role};
use super::{cgroup, kubeconfig, mounts, network, pods};

/// How long the server may take to finish what it has begun.
const SERVER_GRACE: Duration = Duration::from_secs(10);

/// What was taken away.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Server and agents.
    pub processes: usize,
    /// Pods with their containers.
    pub pods: usize,
    /// The host's link to the nodes.
    pub links: usize,
    /// Network namespaces of the nodes and of the bridge between them.
    pub namespaces: usize,
    /// Mounts.
    pub mounts: usize,
    /// Cgroups, one a hierarchy.
    pub cgroups: usize,
    /// Directories of state.
    pub directories: usize,
    /// The context in the kubeconfig.
    pub context: bool,
}

impl Removed {
    /// There was nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [
            (self.processes, "process", "processes"),
            (self.pods, "pod", "pods"),
            (self.links, "link", "links"),
            (self.namespaces, "network namespace", "network namespaces"),
            (self.mounts, "mount", "mounts"),
            (self.cgroups, "cgroup", "cgroups"),
            (self.directories, "directory", "directories"),
            (self.context.into(), "kubectl context", "kubectl contexts"),
        ];
        let parts: Vec<String> = counted
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// Ends everything that runs, keeping state, certificates, logs and the kubeconfig.
pub fn stop(name: &ClusterName) -> Result<Removed> {
    let mut removed = Removed::default();
    end_running(name, SERVER_GRACE, &mut removed)?;
    Ok(removed)
}

/// Removes the cluster with all that it made.
pub fn remove(name: &ClusterName) -> Result<Removed> {
    let mut removed = Removed::default();
    let layout = Layout::of(name);
    // State is thrown away: nothing has to be finished.
    let running = end_running(name, Duration::ZERO, &mut removed);
    // What still runs must be found again: its files stay.
    running?;
    if let Some(config) = ClusterConfig::read(&layout.config()).unwrap_or_default() {
        removed.context = kubeconfig::remove(&config.kubeconfig, name.as_str())?;
    }
    for dir in [&layout.run, &layout.data] {
        removed.directories += usize::from(remove_dir(dir)?);
        if let Some(parent) = dir.parent() {
            // Other clusters, or images, may be in it.
            let _ = fs::remove_dir(parent);
        }
    }
    Ok(removed)
}

/// Ends processes, then containers, then what they lived in. Goes on after a failure; the first is told.
fn end_running(name: &ClusterName, server_grace: Duration, removed: &mut Removed) -> Result<()> {
    let layout = Layout::of(name);
    let mut first_failure = Ok(());
    let mut step = |result: Result<()>| {
        if first_failure.is_ok() {
            first_failure = result;
        }
    };
    step(end_processes(name, server_grace).map(|count| removed.processes = count));
    step(pods::remove(name, &layout).map(|count| removed.pods = count));
    step(network::traces(name).and_then(|traces| {
        traces.remove()?;
        removed.links = usize::from(traces.link.is_some());
        removed.namespaces = traces.namespaces.len();
        Ok(())
    }));
    for dir in [&layout.run, &layout.data] {
        step(mounts::unmount_below(dir).map(|count| removed.mounts += count));
    }
    step(cgroup::traces(name).and_then(|cgroups| {
        removed.cgroups = cgroups.len();
        cgroups.iter().try_for_each(|path| cgroup::remove(path))
    }));
    first_failure
}

/// Ends the agents, which would start again what is taken away, then the server.
fn end_processes(name: &ClusterName, server_grace: Duration) -> Result<usize> {
    let found = process::find(name)?;
    let (servers, agents): (Vec<_>, Vec<_>) =
        found.iter().partition(|(role, _)| *role == Role::Server);
    end_all(&agents, Duration::ZERO)?;
    end_all(&servers, server_grace)?;
    Ok(found.len())
}

fn end_all(processes: &[&(Role, ProcessId)], grace: Duration) -> Result<()> {
    thread::scope(|scope| {
        let ends: Vec<_> = processes
            .iter()
            .map(|(_, id)| scope.spawn(move || id.end(grace)))
            .collect();
        ends.into_iter().try_for_each(|end| {
            end.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

fn remove_dir(dir: &Path) -> Result<bool> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_said_in_words() {
        let removed = Removed {
            processes: 3,
            links: 1,
            context: true,
            ..Removed::default()
        };
        assert_eq!(
            removed.to_string(),
            "3 processes, 1 link, 1 kubectl context"
        );
        assert!(Removed::default().is_nothing());
    }
}
