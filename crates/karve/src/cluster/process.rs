//! The cluster's processes: starting them so that they outlive us, finding them again, ending them.
//!
//! A process is known by its number and the moment it began, because numbers are used again. A pid
//! file is for people and scripts: we ourselves look into `/proc`, which can't be lost or wrong.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::file::write_private;
use super::name::ClusterName;

/// A process that can't be mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Clock ticks from boot to its beginning (`proc_pid_stat(5)`, field 22).
    pub start: u64,
}

/// What a process of a cluster does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `karve server`.
    Server,
    /// `karve agent` of a node.
    Agent(String),
}

impl ProcessId {
    /// The process `pid`, if it is alive.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start) = parse_stat(&stat)?;
        // A zombie has ended: only its parent has not asked how.
        (state != 'Z' && state != 'X').then_some(Self { pid, start })
    }

    /// Whether it is still this process.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Writes a pid file: `{"pid":…,"start":…}`.
    pub fn write(self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(&self).context("encode a process")?;
        write_private(path, &text).with_context(|| format!("write {}", path.display()))
    }

    /// Asks it to end and waits; kills it when `grace` is over. Returns when it has ended.
    pub fn end(self, grace: Duration) -> Result<()> {
        let Some(handle) = self.open()? else {
            return Ok(());
        };
        if !grace.is_zero() {
            signal(&handle, Signal::TERM).with_context(|| format!("stop process {}", self.pid))?;
            if ended(&handle, Some(grace))? {
                return Ok(());
            }
        }
        signal(&handle, Signal::KILL).with_context(|| format!("kill process {}", self.pid))?;
        // A killed process ends unless the kernel is stuck; that is not waited for for ever.
        const KILLED_MAX: Duration = Duration::from_secs(10);
        anyhow::ensure!(
            ended(&handle, Some(KILLED_MAX))?,
            "process {} does not end",
            self.pid
        );
        Ok(())
    }

    /// A handle that stays with this process even if its number is used again.
    fn open(self) -> Result<Option<OwnedFd>> {
        let pid = Pid::from_raw(self.pid).context("a process number is positive")?;
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno).with_context(|| format!("open process {}", self.pid)),
        };
        // Looked at after the handle exists: the handle is of the process whose start time this is.
        Ok(self.is_alive().then_some(handle))
    }
}

fn signal(handle: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(handle, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn ended(handle: &OwnedFd, within: Option<Duration>) -> Result<bool> {
    let timeout = within.map(|d| Timespec::try_from(d).expect("a grace period fits"));
    let mut handles = [PollFd::new(handle, PollFlags::IN)];
    loop {
        match poll(&mut handles, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context("wait for a process to end"),
        }
    }
}

/// All living processes of a cluster, whether or not their pid files are there.
pub fn find(name: &ClusterName) -> Result<Vec<(Role, ProcessId)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let entry = entry.context("list /proc")?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|text| text.parse().ok())
        else {
            continue;
        };
        // A process that ends meanwhile is not an error.
        let Ok(cmdline) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        if let Some(role) = parse_cmdline(&cmdline, name)
            && let Some(id) = ProcessId::of(pid)
        {
            found.push((role, id));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The role that a command line (`karve agent --name NAME --node NODE`) is of, in cluster `name`.
fn parse_cmdline(cmdline: &[u8], name: &ClusterName) -> Option<Role> {
    let mut words = cmdline
        .split(|byte| *byte == 0)
        .map(|word| str::from_utf8(word).unwrap_or_default());
    let program = words.next()?;
    if Path::new(program).file_name()? != "karve" {
        return None;
    }
    let role = words.next()?;
    if words.next()? != "--name" || words.next()? != name.as_str() {
        return None;
    }
    match role {
        "server" => Some(Role::Server),
        "agent" if words.next()? == "--node" => {
            words.next().map(|node| Role::Agent(node.to_owned()))
        }
        _ => None,
    }
}

/// State and start time of `/proc/PID/stat`. The second field is in parentheses and may hold anything.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_from_command_lines() {
        let name: ClusterName = "karve".parse().expect("a name");
        let cases: [(&str, Option<Role>); 7] = [
            (
                "/usr/bin/karve\0server\0--name\0karve\0",
                Some(Role::Server),
            ),
            (
                "/usr/bin/karve\0agent\0--name\0karve\0--node\0node2\0",
                Some(Role::Agent("node2".to_owned())),
            ),
            ("karve\0server\0--name\0other\0", None),
            ("karve\0up\0--name\0karve\0", None),
            ("vi\0server\0--name\0karve\0", None),
            ("karve\0", None),
            ("", None),
        ];
        for (cmdline, role) in cases {
            assert_eq!(
                parse_cmdline(cmdline.as_bytes(), &name),
                role,
                "{cmdline:?}"
            );
        }
    }

    #[test]
    fn stat_survives_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn a_process_is_ended_by_request_or_by_force() {
        let mut polite = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep");
        let id = ProcessId::of(polite.id().cast_signed()).expect("alive");
        assert!(id.is_alive());
        id.end(Duration::from_secs(10)).expect("ends");
        assert!(!id.is_alive());
        polite.wait().expect("reaped");
        id.end(Duration::ZERO).expect("nothing to do");

        let other = ProcessId {
            start: 1,
            ..ProcessId::of(std::process::id().cast_signed()).expect("us")
        };
        other
            .end(Duration::ZERO)
            .expect("another process of our number is not ended");
    }
}
