//! What a cluster costs that does nothing.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{CLUSTER, Ground, row};

/// Time to come to rest, and time that is measured.
const REST: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(60);

/// One node, one Pod.
pub fn run(ground: &Ground) -> Result<()> {
    ground.up("")?;
    ground
        .sh("kubectl run idle --image=busybox --image-pull-policy=IfNotPresent -- sleep 1000000")?;
    ground.sh("kubectl wait pod/idle --for=condition=Ready --timeout=30s")?;
    thread::sleep(REST);
    let before = reading(ground)?;
    thread::sleep(MEASURED);
    let after = reading(ground)?;
    println!(
        "idle: one node, one Pod, {} s after a rest of {} s",
        MEASURED.as_secs(),
        REST.as_secs()
    );
    for process in &after {
        let pss = format!("{:.1} MiB", process.pss_kib as f64 / 1024.0);
        row(
            &format!("  memory (PSS) of {} (pid {})", process.role, process.pid),
            &pss,
            "",
        );
    }
    let sum =
        |processes: &[Process], of: fn(&Process) -> u64| processes.iter().map(of).sum::<u64>();
    let pss = sum(&after, |process| process.pss_kib) as f64 / 1024.0;
    let ticks = sum(&after, |process| process.ticks) - sum(&before, |process| process.ticks);
    let written = sum(&after, |process| process.written) - sum(&before, |process| process.written);
    let cpu = ticks as f64 / 100.0 / MEASURED.as_secs_f64() * 100.0;
    row("memory (PSS) of all", &format!("{pss:.1} MiB"), "64 MiB");
    row("CPU", &format!("{cpu:.2} % of a core"), "0.2 %");
    row(
        "written in a minute",
        &format!("{} kB", written / 1000),
        "100 kB",
    );
    Ok(())
}

/// One process of the cluster.
struct Process {
    pid: u32,
    role: String,
    pss_kib: u64,
    /// CPU time in hundredths of a second.
    ticks: u64,
    /// Bytes sent to storage.
    written: u64,
}

/// Every process that runs our program for this cluster: server, agents, shims.
fn reading(ground: &Ground) -> Result<Vec<Process>> {
    let ours = fs::canonicalize(ground.sh("command -v karve")?).context("find karve")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let path = entry.context("list processes")?.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
        else {
            continue;
        };
        if fs::read_link(path.join("exe")).is_ok_and(|exe| exe == ours)
            && let Some(process) = read(pid, &path)
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// `None` for a process that has just gone, or is another cluster's.
fn read(pid: u32, path: &Path) -> Option<Process> {
    let text = |name: &str| fs::read_to_string(path.join(name)).ok();
    let command = text("cmdline")?;
    let mut words = command.split('\0').skip(1);
    let role = words.next().unwrap_or_default().to_owned();
    if !command.contains(CLUSTER) {
        return None;
    }
    let field = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    let stat = text("stat")?;
    let after_name = stat.rsplit_once(')')?.1;
    Some(Process {
        pid,
        role,
        pss_kib: field(&text("smaps_rollup")?, "Pss:"),
        ticks: after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|n| n.parse::<u64>().ok())
            .sum(),
        written: field(&text("io")?, "write_bytes:"),
    })
}
