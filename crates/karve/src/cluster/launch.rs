//! Starting the server and the agents so that they outlive the command that starts them.
//!
//! A process of ours says that it is ready by one line on its standard output, a pipe, which it then
//! lets go. A process that ends first closes the pipe: nothing is ever polled for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::future::select_all;
use karve_sys::netns::NetNs;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

use super::layout::{Layout, create_private_dir};
use super::name::ClusterName;
use super::process::ProcessId;

/// What a process of ours writes when it serves.
pub const READY: &str = "ready\n";
/// Longest wait for that.
const READY_MAX: Duration = Duration::from_secs(30);

/// Where a process's log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// To its file.
    File,
    /// To our own standard error.
    Inherit,
}

/// A process that was just started.
#[derive(Debug)]
pub struct Launched {
    what: String,
    log: PathBuf,
    child: Child,
    ready: ChildStdout,
}

impl Launched {
    /// Returns when the process serves; fails with its last words when it ends.
    pub async fn ready(&mut self) -> Result<()> {
        let mut line = [0; READY.len()];
        let read = tokio::time::timeout(READY_MAX, self.ready.read_exact(&mut line)).await;
        match read {
            Ok(Ok(_)) if line == READY.as_bytes() => Ok(()),
            Ok(_) => bail!("{} ended: {}", self.what, last_words(&self.log)),
            Err(_) => bail!(
                "{} is not ready after {} s: see {}",
                self.what,
                READY_MAX.as_secs(),
                self.log.display()
            ),
        }
    }

    /// Fails when the process ends.
    async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(_) => anyhow!("{} ended: {}", self.what, last_words(&self.log)),
            Err(error) => anyhow::Error::from(error).context(format!("wait for {}", self.what)),
        }
    }
}

/// Returns, with its last words, when one of the processes ends.
pub async fn any_ended(started: &mut [Launched]) -> anyhow::Error {
    if started.is_empty() {
        return std::future::pending().await;
    }
    select_all(started.iter_mut().map(|process| Box::pin(process.ended())))
        .await
        .0
}

/// Does `work` as long as all processes live.
pub async fn while_alive<T>(
    started: &mut [Launched],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        result = work => result,
        error = any_ended(started) => Err(error),
    }
}

/// Starts `karve server`. It takes the API's listening socket as its standard input, so that clients
/// that connect from now on wait instead of being refused.
pub fn server(name: &ClusterName, layout: &Layout, api: TcpListener, log: Log) -> Result<Launched> {
    create_private_dir(&layout.run)
        .with_context(|| format!("make directory {}", layout.run.display()))?;
    let mut command = command("server", name, &layout.server_log(), log)?;
    command.stdin(Stdio::from(OwnedFd::from(api)));
    launch(
        "the server".to_owned(),
        command,
        &layout.server_pid(),
        layout.server_log(),
        log,
    )
}

/// Starts `karve agent` inside the node's network namespace.
pub fn agent(name: &ClusterName, layout: &Layout, node: &str, log: Log) -> Result<Launched> {
    for dir in [layout.node_run(node), layout.node_data(node)] {
        create_private_dir(&dir).with_context(|| format!("make directory {}", dir.display()))?;
    }
    let mut command = command("agent", name, &layout.agent_log(node), log)?;
    command.args(["--node", node]).stdin(Stdio::null());
    // The API is a neighbour; a proxy for the world's registries is the server's business.
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command
            .env_remove(variable)
            .env_remove(variable.to_lowercase());
    }
    let runtime = tokio::runtime::Handle::current();
    // A child is born in the network namespace of the thread that forks it.
    NetNs::open(&name.netns(node))?.run_in(|| {
        let _entered = runtime.enter();
        launch(
            format!("the agent of {node}"),
            command,
            &layout.agent_pid(node),
            layout.agent_log(node),
            log,
        )
    })?
}

fn command(role: &str, name: &ClusterName, file: &Path, log: Log) -> Result<Command> {
    let exe = std::env::current_exe().context("find our own executable")?;
    let stderr = match log {
        Log::Inherit => Stdio::inherit(),
        Log::File => open_log(file)
            .with_context(|| format!("open {}", file.display()))?
            .into(),
    };
    let mut command = Command::new(exe);
    command
        // By this name it is found again, whatever the executable is called.
        .arg0("karve")
        .args([role, "--name", name.as_str()])
        .current_dir("/")
        .stdout(Stdio::piped())
        .stderr(stderr)
        // Arenas of glibc's malloc cost a megabyte each, and two workers need no more than two.
        .env("MALLOC_ARENA_MAX", "2");
    Ok(command)
}

/// Goes on in the log of before, unless that has become long.
fn open_log(file: &Path) -> io::Result<File> {
    const LENGTH_MAX: u64 = 16 << 20;
    if fs::metadata(file).is_ok_and(|metadata| metadata.len() > LENGTH_MAX) {
        fs::rename(file, file.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)
}

fn launch(
    what: String,
    mut command: Command,
    pid_file: &Path,
    log: PathBuf,
    mode: Log,
) -> Result<Launched> {
    let mut child = command.spawn().with_context(|| format!("start {what}"))?;
    let ready = child.stdout.take().context("standard output is a pipe")?;
    let id = child.id().and_then(|pid| ProcessId::of(pid.cast_signed()));
    if let Some(id) = id {
        id.write(pid_file)?;
    }
    let log = if mode == Log::File {
        log
    } else {
        PathBuf::from("the messages above")
    };
    Ok(Launched {
        what,
        log,
        child,
        ready,
    })
}

/// The last line of a log, which says why a process ended.
fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("{line} (more in {})", log.display()),
        None => format!("see {}", log.display()),
    }
}

/// Keeps files that we inherited (a shell's pipes, an editor's sockets) from our children.
pub fn keep_inherited_files() -> Result<()> {
    for entry in fs::read_dir("/proc/self/fd").context("list open files")? {
        let entry = entry.context("list open files")?;
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|text| text.parse::<i32>().ok())
        else {
            continue;
        };
        if fd > 2 {
            match fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
                // The directory's own file is gone by now.
                Ok(_) | Err(nix::Error::EBADF) => {}
                Err(errno) => {
                    return Err(io::Error::from(errno)).context("keep an open file to ourselves");
                }
            }
        }
    }
    Ok(())
}
