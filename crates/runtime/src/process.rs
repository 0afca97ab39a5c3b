//! Processes that are not our children, told apart from later ones that got the same PID.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Index of the start time among the fields after the command's name in `/proc/PID/stat` (proc(5)).
const START_TIME_FIELD: usize = 19;

/// A process, for as long as the machine runs: no two have the same PID and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
}

impl ProcessId {
    /// The process that has `pid` now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_time: start_time(pid)?,
        })
    }

    /// The calling process.
    pub(crate) fn current() -> io::Result<Self> {
        Self::of(std::process::id().cast_signed())
    }

    /// A handle on the process; `None` when it has ended.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::InvalidInput)?;
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Only now: the handle keeps the PID from being taken by another process.
        match start_time(self.pid) {
            Ok(time) if time == self.start_time => Ok(Some(handle)),
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the signal; false when the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(handle) = self.open()? else {
            return Ok(false);
        };
        match pidfd_send_signal(handle, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn start_time(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name is in parentheses and may hold any of them itself.
    stat.rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(START_TIME_FIELD))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in stat"))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// The signal of an image's `StopSignal`: a name with or without `SIG`, or a number.
pub(crate) fn parse_signal(text: &str) -> Option<Signal> {
    let number = match text.parse::<i32>() {
        Ok(number) => number,
        Err(_) => {
            let upper = text.to_uppercase();
            let name = upper.strip_prefix("SIG").unwrap_or(&upper);
            format!("SIG{name}")
                .parse::<nix::sys::signal::Signal>()
                .ok()? as i32
        }
    };
    Signal::from_named_raw(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = ProcessId::current().expect("identify self");
        assert!(own.open().expect("open").is_some());
        let other = ProcessId {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(other.open().expect("open").is_none());
        assert!(!other.signal(Signal::KILL).expect("signal"));
    }

    #[test]
    fn stop_signals_are_names_or_numbers() {
        for (text, signal) in [
            ("SIGQUIT", Some(Signal::QUIT)),
            ("term", Some(Signal::TERM)),
            ("9", Some(Signal::KILL)),
            ("SIGX", None),
        ] {
            assert_eq!(parse_signal(text), signal, "{text}");
        }
    }
}
