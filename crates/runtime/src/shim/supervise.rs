//! Waits for the container's end, and keeps its log meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::launch::Running;
use super::log::{LogFile, Stream};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::record::{Exit, Launch};

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

/// One of the container's output pipes; closed when its last writer is gone.
struct Output {
    pipe: Option<OwnedFd>,
    stream: Stream,
}

/// Returns when the container's first process has ended and all that it wrote is logged.
pub(super) fn until_exit(running: Running, launch: &Launch) -> io::Result<Exit> {
    let Running {
        init,
        stdout,
        stderr,
        mut log,
    } = running;
    let Some(process) = init.process.open()? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut outputs = [
        Output {
            pipe: Some(stdout),
            stream: Stream::new("stdout"),
        },
        Output {
            pipe: Some(stderr),
            stream: Stream::new("stderr"),
        },
    ];
    while !wait(&process, &outputs)? {
        for output in &mut outputs {
            output.drain(&mut log, 1)?;
        }
    }
    let finished_at = Timestamp::now();
    let code = reap(&process)?;
    // The end of its PID namespace's first process ends all others, so the pipes fill no more.
    for output in &mut outputs {
        output.drain(&mut log, usize::MAX)?;
        let _ = output.stream.finish(Timestamp::now(), &mut log);
    }
    let oom_killed = Cgroup::new(Hierarchies::detect()?, &launch.cgroup).oom_kills() > 0;
    Ok(Exit::of_process(
        code,
        oom_killed,
        init.started_at,
        finished_at,
    ))
}

/// Waits for something to do; true when the process has ended.
fn wait(process: &OwnedFd, outputs: &[Output]) -> io::Result<bool> {
    let mut waiting = vec![PollFd::new(process, PollFlags::IN)];
    let open = outputs.iter().filter_map(|output| output.pipe.as_ref());
    waiting.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    loop {
        match poll(&mut waiting, None) {
            Ok(_) => return Ok(!waiting[0].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Output {
    /// Logs up to `chunks` pieces of what is in the pipe.
    fn drain(&mut self, log: &mut LogFile, chunks: usize) -> io::Result<()> {
        let mut buffer = [0; CHUNK];
        for _ in 0..chunks {
            let Some(pipe) = &self.pipe else {
                return Ok(());
            };
            match rustix::io::read(pipe.as_fd(), &mut buffer) {
                Ok(0) => self.pipe = None,
                // A full disk costs lines of the log, not the container.
                Ok(count) => drop(self.stream.feed(&buffer[..count], Timestamp::now(), log)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The exit code as shells count: 128 and the signal's number for a signal.
fn reap(process: &OwnedFd) -> io::Result<i32> {
    loop {
        match waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => 255,
                });
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
