//! Starts a container by a shim.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::Command;

use super::{Runtime, shim_error};
use crate::error::RuntimeError;
use crate::files::{self, Durability};
use crate::layout::Container;
use crate::record::{Exit, Written};
use crate::shim::Started;
use crate::status::Event;

/// Longest time that a shim takes to say how the start went.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Runtime {
    pub(super) async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        let written = self.blocking({
            let id = id.to_owned();
            move |inner| inner.written(&id)
        });
        let written = written.await?;
        if written.state.is_some() || written.exit.is_some() {
            let message = format!("container {id} was started before");
            return Err(RuntimeError::Config { message });
        }
        let uid = written.record.config.pod_uid.clone();
        let container = self.inner.layout.pod(&uid).container(id);
        self.limit(&written, id).await?;
        match self.run_shim(&container, id).await? {
            Started::Running => self.watch_started(&uid, id).await,
            Started::Failed(message) => {
                self.note_failed_start(&container, &uid, id, &message)
                    .await?;
                Err(RuntimeError::Start { message })
            }
        }
    }

    async fn limit(&self, written: &Written, id: &str) -> Result<(), RuntimeError> {
        let config = &written.record.config;
        let (uid, resources) = (config.pod_uid.clone(), config.resources.clone());
        let (privileged, id) = (config.security.privileged, id.to_owned());
        self.blocking(move |inner| {
            let group = inner.container_cgroup(&uid, &id);
            group
                .create(&resources)
                .and_then(|()| {
                    if privileged {
                        Ok(())
                    } else {
                        group.guard_devices()
                    }
                })
                .map_err(RuntimeError::io("make cgroup of container", Path::new(&id)))
        })
        .await
    }

    /// Runs the shim until it has said how the start went. The process that we start ends at once; the
    /// shim itself is its child and goes on.
    async fn run_shim(&self, container: &Container, id: &str) -> Result<Started, RuntimeError> {
        let stderr_path = container.dir.join("shim.log");
        let stderr =
            File::create(&stderr_path).map_err(RuntimeError::io("create", &stderr_path))?;
        let mut command = Command::new(&self.inner.exe);
        command
            .args(&self.inner.shim_args)
            .arg(&container.dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let output = tokio::time::timeout(START_TIMEOUT, command.output())
            .await
            .map_err(|elapsed| shim_error("wait for", id)(elapsed.into()))?
            .map_err(shim_error("run", id))?;
        serde_json::from_slice(&output.stdout).or_else(|_| {
            let text = std::fs::read_to_string(&stderr_path).unwrap_or_default();
            Ok(Started::Failed(format!(
                "failed to start shim: {}",
                text.trim()
            )))
        })
    }

    async fn watch_started(&self, uid: &str, id: &str) -> Result<(), RuntimeError> {
        let state = self
            .blocking({
                let id = id.to_owned();
                move |inner| inner.written(&id)
            })
            .await?
            .state
            .ok_or_else(|| shim_error("find state of", id)(io::ErrorKind::NotFound.into()))?;
        self.watch(uid, id, state.shim);
        Ok(())
    }

    async fn note_failed_start(
        &self,
        container: &Container,
        uid: &str,
        id: &str,
        message: &str,
    ) -> Result<(), RuntimeError> {
        let (path, exit) = (
            container.exit(),
            Exit::of_start_error(message, Timestamp::now()),
        );
        let (owned_uid, owned_id) = (uid.to_owned(), id.to_owned());
        self.blocking(move |inner| {
            files::write_json(&path, &exit, Durability::Volatile)
                .map_err(RuntimeError::io("write", &path))?;
            inner.remove_cgroup(&owned_uid, &owned_id);
            Ok(())
        })
        .await?;
        // Nobody listens: then nobody has to know.
        let _ = self.inner.events.send(Event {
            pod_uid: uid.to_owned(),
            container_id: id.to_owned(),
        });
        Ok(())
    }
}
