//! Pods whose agent is gone: containers, their parents, their namespaces and root file systems.

use std::fs;

use anyhow::{Context, Result};

use super::layout::Layout;
use super::name::ClusterName;

/// Ends and removes the pods of all nodes of the cluster. Returns how many there were.
pub fn remove(name: &ClusterName, layout: &Layout) -> Result<usize> {
    let nodes = layout.run.join("nodes");
    let count = fs::read_dir(&nodes)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|node| fs::read_dir(node.path().join("pods")).ok())
        .map(Iterator::count)
        .sum();
    let cgroup = name.cgroup().display().to_string();
    karve_runtime::cleanup(&nodes, &cgroup)
        .with_context(|| format!("remove the pods of {name}"))?;
    Ok(count)
}
