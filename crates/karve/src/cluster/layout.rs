//! Where a cluster's files are.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::name::ClusterName;

/// Where data lives that survives a reboot. Overridden by tests.
const DATA_ROOT: (&str, &str) = ("KARVE_DATA_ROOT", "/var/lib/karve");
/// Where sockets, pids and logs live. Overridden by tests.
const RUN_ROOT: (&str, &str) = ("KARVE_RUN_ROOT", "/run/karve");

/// A cluster's directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `/var/lib/karve/NAME`: state, certificates, configuration.
    pub data: PathBuf,
    /// `/run/karve/NAME`: pids, sockets, logs.
    pub run: PathBuf,
    /// `/var/lib/karve/images`: the content store of all clusters of this machine.
    pub images: PathBuf,
}

impl Layout {
    /// The directories of the cluster `name` on this machine.
    pub fn of(name: &ClusterName) -> Self {
        let root = |(variable, default)| {
            env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        let data_root = root(DATA_ROOT);
        Self {
            data: data_root.join(name.as_str()),
            run: root(RUN_ROOT).join(name.as_str()),
            images: data_root.join("images"),
        }
    }

    /// What the cluster is made of.
    pub fn config(&self) -> PathBuf {
        self.data.join("cluster.json")
    }

    /// The store of API objects.
    pub fn state(&self) -> PathBuf {
        self.data.join("state.db")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// The image service's socket.
    pub fn images_socket(&self) -> PathBuf {
        self.run.join("images.sock")
    }

    /// Which process is the server.
    pub fn server_pid(&self) -> PathBuf {
        self.run.join("server.pid")
    }

    /// What the server says.
    pub fn server_log(&self) -> PathBuf {
        self.run.join("server.log")
    }

    /// A node's files that a reboot may take.
    pub fn node_run(&self, node: &str) -> PathBuf {
        self.run.join("nodes").join(node)
    }

    /// A node's files that a reboot may not take.
    pub fn node_data(&self, node: &str) -> PathBuf {
        self.data.join("nodes").join(node)
    }

    /// Which way connections to Services take on the node: `bpf`, or `nf_tables: REASON`.
    pub fn service_path(&self, node: &str) -> PathBuf {
        self.node_run(node).join("service-path")
    }

    /// Which process is the node's agent.
    pub fn agent_pid(&self, node: &str) -> PathBuf {
        self.node_run(node).join("agent.pid")
    }

    /// What the node's agent says.
    pub fn agent_log(&self, node: &str) -> PathBuf {
        self.node_run(node).join("agent.log")
    }
}

/// Makes a directory, and those above it, that only root enters.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
