//! Waits for the container's end, and keeps its log meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::launch::Running;
use super::log::{LogFile, Stream};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::record::{Exit, Launch};

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

/// What events of the container's process are known by; those of outputs by their place.
const PROCESS: u64 = u64::MAX;

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
    let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &events,
        &process,
        epoll::EventData::new_u64(PROCESS),
        epoll::EventFlags::IN,
    )?;
    let mut outputs = [(stdout, "stdout"), (stderr, "stderr")].map(|(pipe, name)| Output {
        pipe: Some(pipe),
        stream: Stream::new(name),
    });
    for (place, output) in (0..).zip(&outputs) {
        let pipe = output.pipe.as_ref().expect("opened above");
        epoll::add(
            &events,
            pipe,
            epoll::EventData::new_u64(place),
            epoll::EventFlags::IN,
        )?;
    }
    let mut ended = false;
    while !ended {
        for ready in wait(&events)? {
            match usize::try_from(ready)
                .ok()
                .and_then(|place| outputs.get_mut(place))
            {
                Some(output) => output.drain(&mut log, 1)?,
                None => ended = true,
            }
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

/// What is ready, in the order in which it became so: lines of the two outputs are logged in the order
/// in which they were written as far as the kernel can tell.
fn wait(events: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut ready = Vec::with_capacity(3);
    loop {
        match epoll::wait(events, spare_capacity(&mut ready), None) {
            Ok(_) => {
                return Ok(ready
                    .iter()
                    .map(|event: &epoll::Event| event.data.u64())
                    .collect());
            }
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
                // Closing it takes it out of the events.
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
