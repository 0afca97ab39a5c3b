//! What is written about a container, by whom, and what its state follows from.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::ContainerConfig;
use crate::files;
use crate::layout::Container;
use crate::process::ProcessId;
use crate::rootfs::RootFs;
use crate::spec::Seccomp;
use crate::status::{ContainerState, ContainerStatus, ContainerUser};

/// `container.json`, written once when the container is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) config: ContainerConfig,
    pub(crate) user: ContainerUser,
    pub(crate) created_at: Timestamp,
}

/// `launch.json`: what the shim needs besides the OCI configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Launch {
    pub(crate) id: String,
    pub(crate) rootfs: RootFs,
    /// Made in the root filesystem if it is not there.
    pub(crate) working_dir: PathBuf,
    pub(crate) log_path: PathBuf,
    /// Relative to the root of each hierarchy.
    pub(crate) cgroup: PathBuf,
    pub(crate) oom_score_adj: Option<i32>,
    /// The filter of system calls.
    pub(crate) seccomp: Seccomp,
}

/// `state.json`, written by the shim: first itself, then the container's process too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShimState {
    pub(crate) shim: ProcessId,
    pub(crate) init: Option<Init>,
}

/// The container's first process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Init {
    pub(crate) process: ProcessId,
    pub(crate) started_at: Timestamp,
}

/// `exit.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
}

impl Exit {
    /// The first process ended by itself or a signal.
    pub(crate) fn of_process(
        code: i32,
        oom_killed: bool,
        started_at: Timestamp,
        finished_at: Timestamp,
    ) -> Self {
        let reason = match (oom_killed, code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let (reason, message) = (reason.to_owned(), String::new());
        Self {
            exit_code: code,
            reason,
            message,
            started_at: Some(started_at),
            finished_at,
        }
    }

    /// It could not be started.
    pub(crate) fn of_start_error(message: &str, now: Timestamp) -> Self {
        let (reason, message) = ("StartError".to_owned(), message.to_owned());
        Self {
            exit_code: 128,
            reason,
            message,
            started_at: None,
            finished_at: now,
        }
    }

    /// Nobody saw it end: its shim was killed.
    pub(crate) fn unseen(started_at: Option<Timestamp>, now: Timestamp) -> Self {
        let reason = "ContainerStatusUnknown".to_owned();
        let message = "The container's shim was killed, and the container with it".to_owned();
        Self {
            exit_code: 137,
            reason,
            message,
            started_at,
            finished_at: now,
        }
    }
}

/// All that is written about a container at the moment.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) record: ContainerRecord,
    pub(crate) state: Option<ShimState>,
    pub(crate) exit: Option<Exit>,
}

impl Written {
    /// `None` when there is no such container.
    pub(crate) fn read(container: &Container) -> io::Result<Option<Self>> {
        let Some(record) = files::read_json(&container.record())? else {
            return Ok(None);
        };
        // The state first: the end is written after it, and never changes.
        let state = files::read_json(&container.state())?;
        let exit = files::read_json(&container.exit())?;
        Ok(Some(Self {
            record,
            state,
            exit,
        }))
    }

    pub(crate) fn status(self) -> ContainerStatus {
        let state = match (self.exit, self.state.and_then(|state| state.init)) {
            (Some(exit), _) => ContainerState::Exited {
                exit_code: exit.exit_code,
                reason: exit.reason,
                message: exit.message,
                started_at: exit.started_at,
                finished_at: exit.finished_at,
            },
            (None, Some(init)) => ContainerState::Running {
                pid: init.process.pid,
                started_at: init.started_at,
            },
            (None, None) => ContainerState::Created,
        };
        let ContainerRecord {
            id,
            config,
            user,
            created_at,
        } = self.record;
        ContainerStatus {
            id,
            pod_uid: config.pod_uid,
            name: config.name,
            attempt: config.attempt,
            image_id: config.image.image_id(),
            image: config.image.reference,
            created_at,
            state,
            log_path: config.log_path,
            user,
            annotations: config.annotations,
        }
    }
}
