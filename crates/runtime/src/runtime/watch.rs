//! Learns of a container's end: the shim's pidfd becomes readable when the shim has ended.

use std::io;

use jiff::Timestamp;
use karve_sys::readiness;
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::sync::watch;

use super::{Inner, Known, Runtime};
use crate::error::RuntimeError;
use crate::files::{self, Durability};
use crate::process::ProcessId;
use crate::record::{Exit, Written};
use crate::status::Event;

impl Runtime {
    /// Watches the shim from now on.
    pub(super) fn watch(&self, uid: &str, id: &str, shim: ProcessId) {
        let (sender, ended) = watch::channel(false);
        let known = Known {
            pod_uid: uid.to_owned(),
            ended,
        };
        self.inner.known.lock().insert(id.to_owned(), known);
        let (runtime, uid, id) = (self.clone(), uid.to_owned(), id.to_owned());
        tokio::spawn(async move {
            if let Err(error) = wait(shim).await {
                tracing::error!(container = id, %error, "container's shim can't be watched");
                return;
            }
            let settle = {
                let (uid, id) = (uid.clone(), id.clone());
                runtime.blocking(move |inner| inner.settle(&uid, &id))
            };
            if let Err(error) = settle.await {
                tracing::error!(container = id, error = %error.chain(), "container's end can't be recorded");
            }
            sender.send_replace(true);
            let _ = runtime.inner.events.send(Event {
                pod_uid: uid,
                container_id: id,
            });
        });
    }
}

/// Returns when the process has ended.
async fn wait(process: ProcessId) -> io::Result<()> {
    match process.open()? {
        Some(handle) => readiness::register(handle, Interest::READABLE)?
            .readable()
            .await
            .map(drop),
        None => Ok(()),
    }
}

impl Inner {
    /// After the shim's end: writes down an end that the shim did not see, and takes the cgroup away.
    pub(super) fn settle(&self, uid: &str, id: &str) -> Result<(), RuntimeError> {
        let container = self.layout.pod(uid).container(id);
        let at = || RuntimeError::io("settle", &container.dir);
        let Some(written) = Written::read(&container).map_err(at())? else {
            return Ok(());
        };
        if written.exit.is_none() {
            // Somebody killed the shim. What it was the parent of has no log and no witness any more.
            let init = written.state.and_then(|state| state.init);
            if let Some(init) = &init {
                init.process.signal(Signal::KILL).map_err(at())?;
            }
            self.container_cgroup(uid, id).kill().map_err(at())?;
            let exit = Exit::unseen(init.map(|init| init.started_at), Timestamp::now());
            files::write_json(&container.exit(), &exit, Durability::Volatile).map_err(at())?;
        }
        self.remove_cgroup(uid, id);
        Ok(())
    }

    /// One that stays is taken away with the container.
    pub(super) fn remove_cgroup(&self, uid: &str, id: &str) {
        if let Err(error) = self.container_cgroup(uid, id).remove() {
            tracing::warn!(container = id, %error, "cgroup stays behind");
        }
    }
}
