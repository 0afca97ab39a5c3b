//! The shim: one small process per container, which is the container's parent.
//!
//! It is the program itself, executed again: single-threaded, without an async runtime. It outlives
//! whoever started it, keeps the container's log, and writes down how the container ended. The
//! protocol is two files and a pipe: `launch.json` and the OCI configuration go in; one line about the
//! start comes out on standard output; `state.json` and `exit.json` are left on disk. A watcher holds a
//! pidfd of the shim, which ends right after `exit.json` is written.
//!
//! Invariant: `libcontainer` runs here only (it forks, changes directory, and counts on having one
//! thread). Absent on purpose: a control socket. Signals go to the container's process directly, by
//! pidfd.

mod executor;
mod launch;
mod log;
mod seccomp;
mod supervise;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use karve_sys::process::{Forked, fork_single_threaded};
use serde::{Deserialize, Serialize};

use crate::files::{self, Durability};
use crate::layout::Container;
use crate::process::ProcessId;
use crate::record::{Launch, ShimState};

/// The line that a shim says about the start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Started {
    /// The container's program runs.
    Running,
    /// It does not, for this reason; nothing is left of it.
    Failed(String),
}

/// Runs the shim. `args` are the arguments after those that chose the shim: the container's directory.
///
/// To be called before the process has any other thread. The calling process returns at once; the
/// container's shim is its child and goes on by itself.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(dir) = args.into_iter().next() else {
        eprintln!("usage: shim CONTAINER_DIRECTORY");
        return ExitCode::from(2);
    };
    match run(Path::new(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim of {}: {error}", Path::new(&dir).display());
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> io::Result<()> {
    if fork_single_threaded()? == Forked::Parent {
        return Ok(());
    }
    nix::unistd::setsid()?;
    let container = Container::at(dir);
    let mut state = ShimState {
        shim: ProcessId::current()?,
        init: None,
    };
    files::write_json(&container.state(), &state, Durability::Volatile)?;
    let launch: Launch = files::read_json(&container.launch())?.ok_or(io::ErrorKind::NotFound)?;
    let running = match launch::launch(&container, &launch, &mut state) {
        Ok(running) => running,
        Err(text) => {
            files::allow_absent(std::fs::remove_file(container.state()))?;
            return tell(&Started::Failed(text));
        }
    };
    tell(&Started::Running)?;
    close_output()?;
    karve_sys::process::trim_heap();
    let exit = supervise::until_exit(running, &launch)?;
    files::write_json(&container.exit(), &exit, Durability::Volatile)
}

/// Whoever started us may be gone; the container runs all the same.
fn tell(started: &Started) -> io::Result<()> {
    let mut line = serde_json::to_vec(started)?;
    line.push(b'\n');
    match io::stdout()
        .write_all(&line)
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Ends the line to whoever started us: end of file means that nothing more is to be said.
fn close_output() -> io::Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/")
}
