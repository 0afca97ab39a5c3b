//! The handle that the kubelet role works with.

mod create;
mod recover;
mod start;
mod watch;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::{broadcast, watch as watch_channel};

use crate::cgroup::{Cgroup, Hierarchies};
use crate::config::{ContainerConfig, Resources, SandboxConfig};
use crate::error::RuntimeError;
use crate::files;
use crate::images::Store;
use crate::layout::{Container, Layout};
use crate::process::{ProcessId, parse_signal};
use crate::record::Written;
use crate::sandbox::{self, Addresses};
use crate::spec::Capabilities;
use crate::status::{ContainerStatus, Event, PodStatus, SandboxStatus};

/// Events that wait for a slow subscriber; then it has to list again.
const EVENTS_MAX: usize = 1024;
/// Longest time that a killed container takes to end. Only a process stuck in the kernel takes longer.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

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
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    images: Store,
    exe: PathBuf,
    shim_args: Vec<String>,
    cgroup_parent: PathBuf,
    hierarchies: Hierarchies,
    bounding: Capabilities,
    addresses: Addresses,
    events: broadcast::Sender<Event>,
    /// Containers by ID: where they are, and whether they have ended. Everything else is on disk.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    pod_uid: String,
    /// True once the container has ended. Closed when nobody watches it: then it does not run.
    ended: watch_channel::Receiver<bool>,
}

impl Runtime {
    /// Opens the runtime on its directories, and takes up every sandbox and container found there.
    /// Must be called inside a tokio runtime, and in the network namespace of the node.
    pub async fn open(options: Options) -> Result<Self, RuntimeError> {
        let inner = tokio::task::spawn_blocking(|| Inner::open(options)).await??;
        let runtime = Self {
            inner: Arc::new(inner),
        };
        runtime.recover().await?;
        Ok(runtime)
    }

    /// Exits and other changes of containers from now on. When the receiver lags, [`Runtime::list`] again.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Every pod that has a sandbox (ready or stopped, not removed).
    pub async fn list(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        self.blocking(|inner| {
            inner
                .pods()?
                .iter()
                .filter_map(|uid| inner.pod(uid).transpose())
                .collect()
        })
        .await
    }

    /// One pod; `None` when it has no sandbox.
    pub async fn pod_status(&self, uid: &str) -> Result<Option<PodStatus>, RuntimeError> {
        let uid = uid.to_owned();
        self.blocking(move |inner| inner.pod(&uid)).await
    }

    /// Makes a pod's sandbox and its network; one that is there and ready is returned as it is.
    pub async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        let pod = self.inner.layout.pod(&config.uid);
        if let Some(status) = sandbox::read(&pod)? {
            if status.ready {
                return Ok(status);
            }
            self.remove_sandbox(&config.uid).await?;
        }
        self.blocking(move |inner| sandbox::create(&inner.layout, &inner.addresses, config))
            .await
    }

    /// Kills what still runs in the sandbox and takes its network down. The record stays. Idempotent.
    pub async fn stop_sandbox(&self, uid: &str) -> Result<(), RuntimeError> {
        for id in self.containers_of(uid) {
            self.stop_container(&id, Duration::ZERO).await?;
        }
        let pod = self.inner.layout.pod(uid);
        self.blocking(move |_| match sandbox::read(&pod)? {
            Some(mut status) => sandbox::stop(&pod, &mut status),
            None => Ok(()),
        })
        .await
    }

    /// Stops the sandbox and removes it with all its containers. Idempotent.
    pub async fn remove_sandbox(&self, uid: &str) -> Result<(), RuntimeError> {
        for id in self.containers_of(uid) {
            self.remove_container(&id).await?;
        }
        let uid = uid.to_owned();
        self.blocking(move |inner| {
            let group = inner.pod_cgroup(&uid);
            group
                .remove()
                .map_err(RuntimeError::io("remove cgroups of pod", Path::new(&uid)))?;
            sandbox::remove(&inner.layout.pod(&uid))
        })
        .await
    }

    /// Prepares a container: root filesystem, spec, record. Returns its ID.
    pub async fn create_container(&self, config: ContainerConfig) -> Result<String, RuntimeError> {
        self.blocking(move |inner| inner.create(config)).await
    }

    /// Starts a created container. On [`RuntimeError::Start`] the container is Exited with code 128.
    pub async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        // A task of its own: a caller that stops waiting must not leave a container that nobody watches.
        let (runtime, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move { runtime.start(&id).await }).await?
    }

    /// Sends the stop signal, waits up to `grace`, then kills. Returns when the container has ended.
    /// A container that does not run is left alone. Several calls may overlap; the shortest grace wins.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let Some(mut known) = self.known(id) else {
            return Ok(());
        };
        let container = self.inner.layout.pod(&known.pod_uid).container(id);
        let Some((process, signal)) = self.blocking(move |_| stop_target(&container)).await? else {
            return Ok(());
        };
        let send = |signal| {
            process
                .signal(signal)
                .map(drop)
                .map_err(shim_error("signal process of", id))
        };
        if !grace.is_zero() {
            send(signal)?;
            if tokio::time::timeout(grace, has_ended(&mut known.ended))
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        send(Signal::KILL)?;
        tokio::time::timeout(KILL_TIMEOUT, has_ended(&mut known.ended))
            .await
            .map_err(|elapsed| shim_error("wait for", id)(elapsed.into()))
    }

    /// Kills the container if need be and removes all of it except its log. Idempotent.
    pub async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_container(id, Duration::ZERO).await?;
        let Some(known) = self.known(id) else {
            return Ok(());
        };
        let id = id.to_owned();
        self.blocking(move |inner| inner.discard(&known.pod_uid, &id))
            .await
    }

    /// A container at the moment.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, RuntimeError> {
        let id = id.to_owned();
        self.blocking(move |inner| Ok(inner.written(&id)?.status()))
            .await
    }

    /// Gives a running container new limits.
    pub async fn update_resources(
        &self,
        id: &str,
        resources: Resources,
    ) -> Result<(), RuntimeError> {
        let id = id.to_owned();
        self.blocking(move |inner| {
            let mut record = inner.written(&id)?.record;
            let group = inner.container_cgroup(&record.config.pod_uid, &id);
            group
                .set(&resources)
                .map_err(RuntimeError::io("set limits of", Path::new(&id)))?;
            record.config.resources = resources;
            let path = inner
                .layout
                .pod(&record.config.pod_uid)
                .container(&id)
                .record();
            files::write_json(&path, &record, files::Durability::Volatile)
                .map_err(RuntimeError::io("write", &path))
        })
        .await
    }

    fn known(&self, id: &str) -> Option<Known> {
        self.inner.known.lock().get(id).cloned()
    }

    fn containers_of(&self, uid: &str) -> Vec<String> {
        let known = self.inner.known.lock();
        known
            .iter()
            .filter(|(_, known)| known.pod_uid == uid)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Runs file and kernel work beside the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }
}

impl Inner {
    fn open(options: Options) -> Result<Self, RuntimeError> {
        let layout = Layout {
            run: options.run_dir,
            data: options.data_dir,
        };
        for dir in [layout.pods(), layout.writable_layers()] {
            files::make_private_dirs(&dir).map_err(RuntimeError::io("make directory", &dir))?;
        }
        let table = Path::new("/proc/thread-self/mountinfo");
        let status = Path::new("/proc/self/status");
        Ok(Self {
            layout,
            images: options.images,
            exe: options.exe,
            shim_args: options.shim_args,
            cgroup_parent: PathBuf::from(options.cgroup_parent.trim_matches('/')),
            hierarchies: Hierarchies::detect().map_err(RuntimeError::io("read", table))?,
            bounding: Capabilities::bounding(
                &fs::read_to_string(status).map_err(RuntimeError::io("read", status))?,
            ),
            addresses: Addresses::default(),
            events: broadcast::channel(EVENTS_MAX).0,
            known: Mutex::default(),
        })
    }

    /// UIDs of all pods that have a directory.
    fn pods(&self) -> Result<Vec<String>, RuntimeError> {
        names_in(&self.layout.pods())
    }

    fn pod(&self, uid: &str) -> Result<Option<PodStatus>, RuntimeError> {
        let pod = self.layout.pod(uid);
        let Some(sandbox) = sandbox::read(&pod)? else {
            return Ok(None);
        };
        let mut containers = Vec::new();
        for id in names_in(&pod.containers())? {
            let container = pod.container(&id);
            let read =
                Written::read(&container).map_err(RuntimeError::io("read", &container.dir))?;
            containers.extend(read.map(Written::status));
        }
        containers.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(Some(PodStatus {
            sandbox,
            containers,
        }))
    }

    fn written(&self, id: &str) -> Result<Written, RuntimeError> {
        let not_found = || RuntimeError::NotFound {
            kind: "container",
            id: id.to_owned(),
        };
        let known = self.known.lock().get(id).cloned().ok_or_else(not_found)?;
        let container = self.layout.pod(&known.pod_uid).container(id);
        Written::read(&container)
            .map_err(RuntimeError::io("read", &container.dir))?
            .ok_or_else(not_found)
    }

    fn pod_cgroup(&self, uid: &str) -> Cgroup {
        Cgroup::new(
            self.hierarchies.clone(),
            self.cgroup_parent.join(format!("pod{uid}")),
        )
    }

    fn container_cgroup(&self, uid: &str, id: &str) -> Cgroup {
        Cgroup::new(
            self.hierarchies.clone(),
            self.container_cgroup_path(uid, id),
        )
    }

    fn container_cgroup_path(&self, uid: &str, id: &str) -> PathBuf {
        self.cgroup_parent.join(format!("pod{uid}")).join(id)
    }

    /// Removes all that there is of a container which does not run.
    fn discard(&self, uid: &str, id: &str) -> Result<(), RuntimeError> {
        let container = self.layout.pod(uid).container(id);
        let group = self.container_cgroup(uid, id);
        group
            .kill()
            .and_then(|()| group.remove())
            .map_err(RuntimeError::io(
                "remove cgroup of container",
                Path::new(id),
            ))?;
        for dir in [&container.data, &container.dir] {
            files::allow_absent(fs::remove_dir_all(dir))
                .map_err(RuntimeError::io("remove", dir))?;
        }
        self.images.release(id)?;
        self.known.lock().remove(id);
        Ok(())
    }
}

/// Names of the entries of a directory; none when it is not there.
fn names_in(dir: &Path) -> Result<Vec<String>, RuntimeError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RuntimeError::io("list", dir)(error)),
    };
    entries
        .map(|entry| {
            Ok(entry
                .map_err(RuntimeError::io("list", dir))?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

/// The process to signal and the signal that its image asks for; `None` when it does not run.
fn stop_target(container: &Container) -> Result<Option<(ProcessId, Signal)>, RuntimeError> {
    let read = Written::read(container).map_err(RuntimeError::io("read", &container.dir))?;
    Ok(
        read.and_then(|written| match (written.exit, written.state?.init) {
            (None, Some(init)) => {
                let asked = written.record.config.image.config.stop_signal.as_deref();
                Some((
                    init.process,
                    asked.and_then(parse_signal).unwrap_or(Signal::TERM),
                ))
            }
            _ => None,
        }),
    )
}

async fn has_ended(ended: &mut watch_channel::Receiver<bool>) {
    // Closed: nobody watches any more, so it does not run.
    let _ = ended.wait_for(|ended| *ended).await;
}

fn shim_error<'a>(
    action: &'static str,
    id: &'a str,
) -> impl FnOnce(std::io::Error) -> RuntimeError + 'a {
    move |source| RuntimeError::Shim {
        action,
        id: id.to_owned(),
        source,
    }
}
