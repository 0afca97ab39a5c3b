//! What a sandbox and a container are at the moment: the runtime's output.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::SandboxConfig;

/// A pod as the runtime knows it: its sandbox and every container not yet removed.
#[derive(Debug, Clone)]
pub struct PodStatus {
    /// The sandbox.
    pub sandbox: SandboxStatus,
    /// The containers, oldest first.
    pub containers: Vec<ContainerStatus>,
}

/// A sandbox at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// What it was made from.
    pub config: SandboxConfig,
    /// Its address; `None` for `hostNetwork` pods.
    pub ip: Option<Ipv4Addr>,
    /// The node's end of the veth pair; `None` for `hostNetwork` pods and stopped sandboxes.
    pub interface: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// False after [`crate::Runtime::stop_sandbox`].
    pub ready: bool,
}

/// A container at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The pod it belongs to.
    pub pod_uid: String,
    /// Its name in the pod.
    pub name: String,
    /// [`crate::ContainerConfig::attempt`].
    pub attempt: u32,
    /// The image's reference in full, such as `docker.io/library/redis:latest`.
    pub image: String,
    /// For `status.imageID`: `repository@sha256:…` when the image came from a registry, else `sha256:…`.
    pub image_id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// What it does.
    pub state: ContainerState,
    /// The log file.
    pub log_path: PathBuf,
    /// The user that the container runs as.
    pub user: ContainerUser,
    /// [`crate::ContainerConfig::annotations`].
    pub annotations: BTreeMap<String, String>,
}

/// The user of a container's first process (`status.user.linux`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUser {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// Its first process runs.
    Running {
        /// Host PID of the first process.
        pid: i32,
        /// When it started.
        started_at: Timestamp,
    },
    /// It ended, or could not be started.
    Exited {
        /// The process's own code, 128 + n when signal n ended it, 128 when it could not be started.
        exit_code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
        reason: String,
        /// More words, mostly empty; the error of a failed start.
        message: String,
        /// When it started; `None` when it never did.
        started_at: Option<Timestamp>,
        /// When it ended.
        finished_at: Timestamp,
    },
}

impl ContainerState {
    /// True while the container's first process runs.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// Something about a pod's containers changed: ask for the pod's status again.
///
/// An event carries no state on purpose: the status on disk is the truth, so a lost or doubled event
/// changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The pod.
    pub pod_uid: String,
    /// The container.
    pub container_id: String,
}
