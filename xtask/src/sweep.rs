//! What tests that were killed have left on the machine, found by the folder and the names they use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::workspace;

/// Removes what is left of tests whose temporary folder was `folder`, and the folder.
pub fn sweep(karve: &Path, folder: &Path) -> Result<()> {
    clusters(karve, folder)?;
    for pid in processes_with(folder)? {
        // It may have ended meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    cgroups()?;
    namespaces()?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Each end-to-end test has a folder with its clusters' roots in it.
fn clusters(karve: &Path, folder: &Path) -> Result<()> {
    for host in folders(folder)? {
        let data = host.join("data");
        for cluster in folders(&data)? {
            let Some(name) = cluster.file_name().filter(|name| *name != "images") else {
                continue;
            };
            let mut down = Command::new(karve);
            down.args(["down", "--name"])
                .arg(name)
                .env("KARVE_DATA_ROOT", &data)
                .env("KARVE_RUN_ROOT", host.join("run"));
            workspace::run(&mut down)?;
        }
    }
    Ok(())
}

/// Processes with the folder in their command line: containers' shims, servers of tests.
fn processes_with(folder: &Path) -> Result<Vec<i32>> {
    let mark = folder.display().to_string();
    let mut found = Vec::new();
    for process in folders(Path::new("/proc"))? {
        let pid = process
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        if let Some(pid) = pid
            && String::from_utf8_lossy(&line).contains(&mark)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Tests of containers use `karve-test/PID-NUMBER`, with the number of the test's process.
fn cgroups() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let hierarchies = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")))
        .filter_map(|fields| fields.get(1).map(|point| PathBuf::from(*point)));
    for hierarchy in hierarchies {
        let tests = hierarchy.join("karve-test");
        for test in folders(&tests)? {
            let name = test.file_name().and_then(|name| name.to_str());
            if is_dead(name.and_then(|name| name.split('-').next())) {
                remove_cgroup(&test)?;
            }
        }
        // Another run of the tests may use it.
        let _ = fs::remove_dir(&tests);
    }
    Ok(())
}

/// Kills what is in the cgroup and below, then removes it. A killed process may take a moment to be
/// gone, in which its cgroup is busy: what is left then goes with the next run.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    for child in folders(cgroup)? {
        remove_cgroup(&child)?;
    }
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = fs::remove_dir(cgroup);
    Ok(())
}

/// Tests of namespaces call them `karve-test-LABEL-PID`.
fn namespaces() -> Result<()> {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return Ok(());
    };
    for entry in entries {
        let name = entry.context("list /run/netns")?.file_name();
        let ours = name
            .to_str()
            .and_then(|name| name.strip_prefix("karve-test-"));
        if is_dead(ours.and_then(|rest| rest.rsplit('-').next())) {
            workspace::run(Command::new("ip").args(["netns", "delete"]).arg(&name))?;
        }
    }
    Ok(())
}

/// Whether this is the number of a process that is gone.
fn is_dead(pid: Option<&str>) -> bool {
    let pid: Option<u32> = pid.and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", dir.display()))?
            .path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}
