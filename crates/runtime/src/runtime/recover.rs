//! Takes up what an earlier runtime on the same directories left: running containers, and half-done work.

use rustix::process::Signal;
use tokio::sync::watch;

use super::{Inner, Known, Runtime, names_in};
use crate::error::RuntimeError;
use crate::files;
use crate::process::ProcessId;
use crate::record::Written;
use crate::sandbox;

/// What to do about a container that was found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It has a shim, which may have ended meanwhile.
    Started(ProcessId),
    /// It was never started, or has ended.
    AtRest,
    /// It was about to start: the shim had not said yet how that went.
    Starting(ProcessId),
}

fn classify(written: &Written) -> Found {
    match (&written.exit, &written.state) {
        (None, Some(state)) if state.init.is_some() => Found::Started(state.shim),
        (None, Some(state)) => Found::Starting(state.shim),
        (Some(_), _) | (None, None) => Found::AtRest,
    }
}

impl Runtime {
    pub(super) async fn recover(&self) -> Result<(), RuntimeError> {
        let started = self.blocking(Inner::recover).await?;
        for (uid, id, shim) in started {
            self.watch(&uid, &id, shim);
        }
        Ok(())
    }
}

impl Inner {
    /// Gives the containers to watch.
    fn recover(&self) -> Result<Vec<(String, String, ProcessId)>, RuntimeError> {
        let mut started = Vec::new();
        for uid in self.pods()? {
            let pod = self.layout.pod(&uid);
            if sandbox::read(&pod)?.is_none() {
                // Cut short before its record was written.
                sandbox::remove(&pod)?;
                continue;
            }
            for id in names_in(&pod.containers())? {
                let container = pod.container(&id);
                let read =
                    Written::read(&container).map_err(RuntimeError::io("read", &container.dir))?;
                let Some(written) = read else {
                    self.discard(&uid, &id)?;
                    continue;
                };
                let (_, ended) = watch::channel(written.exit.is_some());
                self.known.lock().insert(
                    id.clone(),
                    Known {
                        pod_uid: uid.clone(),
                        ended,
                    },
                );
                match classify(&written) {
                    Found::Started(shim) => started.push((uid.clone(), id, shim)),
                    Found::Starting(shim) => self.undo_start(&uid, &id, shim)?,
                    Found::AtRest => {}
                }
            }
        }
        self.remove_stale_layers()?;
        Ok(started)
    }

    /// A reboot ends pods without anybody there to take their writable layers away.
    fn remove_stale_layers(&self) -> Result<(), RuntimeError> {
        let (layers, pods) = (self.layout.writable_layers(), self.pods()?);
        for uid in names_in(&layers)?.iter().filter(|uid| !pods.contains(uid)) {
            let path = layers.join(uid);
            files::allow_absent(std::fs::remove_dir_all(&path))
                .map_err(RuntimeError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Back to "created": whoever wanted the start has no answer, and will ask again.
    fn undo_start(&self, uid: &str, id: &str, shim: ProcessId) -> Result<(), RuntimeError> {
        let container = self.layout.pod(uid).container(id);
        let at = || RuntimeError::io("undo start of", &container.dir);
        shim.signal(Signal::KILL).map_err(at())?;
        let group = self.container_cgroup(uid, id);
        group.kill().and_then(|()| group.remove()).map_err(at())?;
        files::allow_absent(std::fs::remove_dir_all(container.oci_state())).map_err(at())?;
        files::allow_absent(std::fs::remove_file(container.state())).map_err(at())
    }
}
