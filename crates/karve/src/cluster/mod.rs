//! A cluster on this machine: its names, files, links and processes, and its life from `up` to `down`.
//!
//! Invariant: everything that a cluster makes carries its name, and every step of making or removing it
//! can be repeated. Absent on purpose: a supervisor. Once the processes run, they are peers, and what
//! they do is decided by API objects alone.

pub mod addresses;
pub mod cgroup;
pub mod checks;
pub mod client;
pub mod config;
pub mod file;
pub mod kubeconfig;
pub mod launch;
pub mod layout;
pub mod life;
pub mod mounts;
pub mod name;
pub mod network;
pub mod pki;
pub mod pods;
pub mod process;
pub mod ready;
pub mod removal;
pub mod subnet;

use anyhow::{Context, Result};

use config::ClusterConfig;
use layout::Layout;
use name::ClusterName;
use pki::Pki;

/// A cluster that is, or is about to be, on this machine.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Its directories.
    pub layout: Layout,
    /// What it is made of.
    pub config: ClusterConfig,
}

impl Cluster {
    /// The cluster `name`, which must have been made.
    pub fn load(name: &ClusterName) -> Result<Self> {
        let layout = Layout::of(name);
        // Elsewhere a missing cluster and one that may not be seen would look alike.
        checks::root_owns(name)?;
        let config = ClusterConfig::read(&layout.config())?.with_context(|| {
            format!(
                "there is no cluster \"{name}\": make it with `{}`",
                command("up", name)
            )
        })?;
        Ok(Self {
            name: name.clone(),
            layout,
            config,
        })
    }

    /// Its certificates.
    pub fn pki(&self) -> Pki {
        Pki::new(self.layout.pki())
    }

    /// The command line of `karve VERB` for this cluster.
    pub fn command(&self, verb: &str) -> String {
        command(verb, &self.name)
    }
}

/// What to type for `karve VERB` of the cluster `name`.
pub fn command(verb: &str, name: &ClusterName) -> String {
    if name.as_str() == name::DEFAULT {
        format!("karve {verb}")
    } else {
        format!("karve {verb} --name {name}")
    }
}
