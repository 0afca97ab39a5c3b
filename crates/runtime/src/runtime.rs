//! The handle that the kubelet role works with.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::config::{ContainerConfig, SandboxConfig};
use crate::error::RuntimeError;
use crate::images::Store;
use crate::status::{ContainerStatus, Event, PodStatus, SandboxStatus};

/// Where a node's runtime keeps its things.
#[derive(Debug, Clone)]
pub struct Options {
    /// Volatile state of the node (`<run>/NAME/nodes/<node>`): sandboxes, sockets, mounts.
    pub run_dir: PathBuf,
    /// Files of the node that may be large (`<data root>/NAME/nodes/<node>`): writable layers.
    pub data_dir: PathBuf,
    /// The machine's content store, opened for reading layers.
    pub images: Store,
    /// The executable that becomes a shim when called with [`Options::shim_args`].
    pub exe: PathBuf,
    /// Arguments before the shim's own, such as `["shim"]`.
    pub shim_args: Vec<String>,
    /// The cgroup, below the root of each hierarchy, that holds all pods (`karve/NAME/node1`).
    pub cgroup_parent: String,
}

/// A node's sandboxes and containers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {}

impl Runtime {
    /// Opens the runtime on its directories, and takes up every sandbox and container found there.
    /// Must be called inside a tokio runtime.
    pub async fn open(options: Options) -> Result<Self, RuntimeError> {
        let _ = options;
        todo!()
    }
    /// Exits and other changes of containers from now on. When the receiver lags, [`Runtime::list`] again.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        todo!()
    }
    /// Every pod that has a sandbox (ready or stopped, not removed).
    pub async fn list(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        todo!()
    }
    /// One pod; `None` when it has no sandbox.
    pub async fn pod_status(&self, uid: &str) -> Result<Option<PodStatus>, RuntimeError> {
        let _ = uid;
        todo!()
    }
    /// Makes a pod's sandbox and its network; one that is there and ready is returned as it is.
    pub async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        let _ = config;
        todo!()
    }
    /// Kills what still runs in the sandbox and takes its network down. The record stays. Idempotent.
    pub async fn stop_sandbox(&self, uid: &str) -> Result<(), RuntimeError> {
        let _ = uid;
        todo!()
    }
    /// Stops the sandbox and removes it with all its containers. Idempotent.
    pub async fn remove_sandbox(&self, uid: &str) -> Result<(), RuntimeError> {
        let _ = uid;
        todo!()
    }
    /// Prepares a container: root filesystem, spec, record. Returns its ID.
    pub async fn create_container(&self, config: ContainerConfig) -> Result<String, RuntimeError> {
        let _ = config;
        todo!()
    }
    /// Starts a created container. On [`RuntimeError::Start`] the container is Exited with code 128.
    pub async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let _ = id;
        todo!()
    }
    /// Sends the stop signal, waits up to `grace`, then kills. Returns when the container has ended.
    /// A container that does not run is left alone.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let _ = (id, grace);
        todo!()
    }
    /// Kills the container if need be and removes all of it except its log. Idempotent.
    pub async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let _ = id;
        todo!()
    }
    /// A container at the moment.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, RuntimeError> {
        let _ = id;
        todo!()
    }
    /// Gives a running (or created) container new limits.
    pub async fn update_resources(&self, id: &str, resources: crate::config::Resources) -> Result<(), RuntimeError> {
        let _ = (id, resources);
        todo!()
    }
}
