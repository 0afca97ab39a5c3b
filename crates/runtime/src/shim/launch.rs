//! Brings the container up: root filesystem, pipes, `libcontainer`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use jiff::Timestamp;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sched::{CloneFlags, setns};
use rustix::process::Signal;

use super::executor::{EXEC_ERROR, PathExecutor};
use super::log::LogFile;
use crate::error::error_chain;
use crate::files::{self, Durability};
use crate::layout::Container;
use crate::process::ProcessId;
use crate::record::{Init, Launch, ShimState};
use crate::rooted::Rooted;
use crate::rootfs;

/// A container that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) init: Init,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) log: LogFile,
}

/// Starts the container; on failure nothing of it is left, and the error is containerd's text.
pub(super) fn launch(
    container: &Container,
    launch: &Launch,
    state: &mut ShimState,
) -> Result<Running, String> {
    let log = LogFile::open(&launch.log_path).map_err(|error| {
        format!(
            "failed to open log file \"{}\": {error}",
            launch.log_path.display()
        )
    })?;
    let home = prepare_mounts(container, launch).map_err(|error| {
        format!("failed to create containerd task: failed to mount rootfs component: {error}")
    })?;
    let started = start(container, launch, state).map_err(|cause| {
        format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
             runc create failed: unable to start container process: {cause}: unknown"
        )
    });
    // Our copy of the machine's mounts would keep other pods' namespaces alive.
    let left = setns(home.as_fd(), CloneFlags::CLONE_NEWNS);
    let (init, stdout, stderr) = started?;
    left.map_err(|error| format!("failed to leave mount namespace: {error}"))?;
    Ok(Running {
        init,
        stdout,
        stderr,
        log,
    })
}

/// Gives the machine's mount namespace, to go back to.
fn prepare_mounts(container: &Container, launch: &Launch) -> io::Result<File> {
    let home = File::open("/proc/self/ns/mnt")?;
    rootfs::enter_private_mounts()?;
    let root = container.rootfs();
    launch.rootfs.mount(&root)?;
    Rooted::open(&root)?.make_dirs(&launch.working_dir)?;
    Ok(home)
}

fn start(
    container: &Container,
    launch: &Launch,
    state: &mut ShimState,
) -> Result<(Init, OwnedFd, OwnedFd), String> {
    let text = |error: io::Error| error.to_string();
    let (stdout, stdout_end) = pipe().map_err(text)?;
    let (stderr, stderr_end) = pipe().map_err(text)?;
    let oci_state = container.oci_state();
    files::make_private_dirs(&oci_state).map_err(text)?;
    let executor = PathExecutor::read(&container.spec(), launch.seccomp).map_err(text)?;
    let mut created = ContainerBuilder::new(launch.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_stdout(stdout_end)
        .with_stderr(stderr_end)
        .with_root_path(&oci_state)
        .map_err(|error| cause(&error))?
        .as_init(&container.dir)
        .with_systemd(false)
        .build()
        .map_err(|error| cause(&error))?;
    let pid = created
        .pid()
        .ok_or_else(|| "container has no process".to_owned())?
        .as_raw();
    let result = (|| -> io::Result<Init> {
        let process = ProcessId::of(pid)?;
        if let Some(score) = launch.oom_score_adj {
            set_oom_score(pid, score)?;
        }
        let init = Init {
            process,
            started_at: Timestamp::now(),
        };
        state.init = Some(init.clone());
        files::write_json(&container.state(), state, Durability::Volatile)?;
        created.start().map_err(io::Error::other)?;
        Ok(init)
    })();
    match result {
        Ok(init) => Ok((init, stdout, stderr)),
        Err(error) => {
            abandon(pid);
            Err(cause(&error))
        }
    }
}

/// Kills a process that was created and can't be used, and waits for its end.
fn abandon(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
}

/// What the executor said, if it was the executor; else all that is known.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error_chain(error);
    let text = text
        .split(". error during cleanup")
        .next()
        .unwrap_or_default();
    text.rfind(EXEC_ERROR)
        .map_or(text, |at| &text[at..])
        .to_owned()
}

/// A pipe that blocks the container when it is full, and never us.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(&read)?;
    rustix::fs::fcntl_setfl(&read, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// Without CAP_SYS_RESOURCE the value can't go below our own: then that is as low as it gets.
fn set_oom_score(pid: i32, score: i32) -> io::Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match std::fs::write(&path, score.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let own = std::fs::read_to_string(Path::new("/proc/self/oom_score_adj"))?;
            std::fs::write(&path, own.trim())
        }
        other => other,
    }
}
