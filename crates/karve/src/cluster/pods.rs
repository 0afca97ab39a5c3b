//! Pods whose agent is gone: containers, their parents, their namespaces and root file systems.

use anyhow::Result;

use super::layout::Layout;
use super::name::ClusterName;

/// Ends and removes the pods of all nodes of the cluster. Returns how many containers there were.
pub fn remove(_name: &ClusterName, _layout: &Layout) -> Result<usize> {
    Ok(0)
}
