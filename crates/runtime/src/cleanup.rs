//! Takes away all that the runtimes of a cluster made, also when nothing of the cluster is alive.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use karve_sys::netns;

use crate::cgroup::{Cgroup, Hierarchies};
use crate::error::RuntimeError;
use crate::files;
use crate::layout::Layout;
use crate::mounts;
use crate::record::ShimState;

/// Longest wait for killed processes.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Kills every container and shim of the nodes in `nodes_dir` (`<run>/NAME/nodes`), and removes their
/// mounts, namespaces, links, cgroups (all below `cgroup`, such as `karve/NAME`) and volatile files.
///
/// Idempotent. The agents should be dead already: a live one would only see its containers vanish.
/// Writable layers and logs in the data directory are the caller's.
pub fn cleanup(nodes_dir: &Path, cgroup: &str) -> Result<(), RuntimeError> {
    let pods = pods(nodes_dir)?;
    let mut dying = Vec::new();
    for pod in &pods {
        dying.extend(kill_containers(pod)?);
    }
    let table = Path::new("/proc/thread-self/mountinfo");
    let hierarchies = Hierarchies::detect().map_err(RuntimeError::io("read", table))?;
    let group = Cgroup::new(hierarchies, cgroup.trim_matches('/'));
    let group_path = Path::new(cgroup);
    group
        .kill()
        .map_err(RuntimeError::io("kill processes of cgroup", group_path))?;
    wait_for(dying).map_err(RuntimeError::io("wait for containers of", nodes_dir))?;
    for pod in &pods {
        let namespaces = pod.join("ns");
        netns::remove_sandbox(&namespaces).map_err(|error| {
            RuntimeError::io("unpin namespaces in", &namespaces)(io::Error::other(error))
        })?;
    }
    mounts::unmount_below(nodes_dir).map_err(RuntimeError::io("unmount", nodes_dir))?;
    group
        .remove()
        .map_err(RuntimeError::io("remove cgroup", group_path))?;
    group.remove_empty_parents(Path::new(""));
    for pod in pods {
        files::allow_absent(fs::remove_dir_all(&pod)).map_err(RuntimeError::io("remove", &pod))?;
    }
    Ok(())
}

/// Directories of all pods of all nodes.
fn pods(nodes_dir: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    let mut pods = Vec::new();
    for node in entries(nodes_dir)? {
        let layout = Layout {
            run: node,
            data: PathBuf::new(),
        };
        pods.extend(entries(&layout.pods())?);
    }
    Ok(pods)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| {
                entry
                    .map(|entry| entry.path())
                    .map_err(RuntimeError::io("list", dir))
            })
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(RuntimeError::io("list", dir)(error)),
    }
}

/// Kills the pod's containers; handles on what is dying.
fn kill_containers(pod: &Path) -> Result<Vec<OwnedFd>, RuntimeError> {
    let mut dying = Vec::new();
    for container in entries(&pod.join("containers"))? {
        let path = container.join("state.json");
        // One that can't be read was being written by a shim that the cgroup's end takes along.
        let Ok(Some(state)) = files::read_json::<ShimState>(&path) else {
            continue;
        };
        for process in std::iter::once(state.shim).chain(state.init.map(|init| init.process)) {
            let at = RuntimeError::io("kill processes of", &container);
            match process
                .open()
                .and_then(|handle| process.signal(Signal::KILL).map(|_| handle))
            {
                Ok(handle) => dying.extend(handle),
                Err(error) => return Err(at(error)),
            }
        }
    }
    Ok(dying)
}

fn wait_for(handles: Vec<OwnedFd>) -> io::Result<()> {
    let deadline = Instant::now() + KILL_TIMEOUT;
    for handle in handles {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut waiting = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
