//! Memory, CPU time and disk writes of processes, from `/proc`.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// One reading of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub rss_kb: u64,
    /// Resident memory with shared pages divided by their users, in KiB.
    pub pss_kb: u64,
    /// CPU time of the process and its waited-for children, in s.
    pub cpu_s: f64,
    /// Bytes that the process caused to be sent to storage.
    pub write_bytes: u64,
}

/// A named process: `apiserver=1234`.
#[derive(Clone, Debug)]
pub struct Pid {
    /// The name it is reported under.
    pub name: String,
    /// The process.
    pub pid: u32,
}

impl std::str::FromStr for Pid {
    type Err = anyhow::Error;

    fn from_str(s: &str) -> Result<Self> {
        let Some((name, pid)) = s.split_once('=') else {
            bail!("want NAME=PID, got {s}")
        };
        Ok(Pid {
            name: name.to_owned(),
            pid: pid.parse()?,
        })
    }
}

fn field(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// Reads one process.
pub fn usage(pid: u32) -> Result<Usage> {
    let dir = format!("/proc/{pid}");
    let status = fs::read_to_string(format!("{dir}/status"))
        .with_context(|| format!("read process {pid}"))?;
    let smaps = fs::read_to_string(format!("{dir}/smaps_rollup")).unwrap_or_default();
    let io = fs::read_to_string(format!("{dir}/io")).unwrap_or_default();
    let stat = fs::read_to_string(format!("{dir}/stat"))?;
    // Fields after the command name, which may hold spaces: utime is field 14, then stime, and both of
    // children that were waited for (kube-proxy works through `nft` and `iptables-restore`).
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Ok(Usage {
        rss_kb: field(&status, "VmRSS:"),
        pss_kb: field(&smaps, "Pss:"),
        cpu_s: ticks as f64 / 100.0,
        write_bytes: field(&io, "write_bytes:"),
    })
}

/// Reads all; a process that has gone reads as zero.
pub fn read(pids: &[Pid]) -> Vec<Usage> {
    pids.iter()
        .map(|p| usage(p.pid).unwrap_or_default())
        .collect()
}

/// What each process used between two readings.
pub fn delta(pids: &[Pid], before: &[Usage], after: &[Usage]) -> Value {
    let mut out = serde_json::Map::new();
    for (i, pid) in pids.iter().enumerate() {
        let (a, b) = (before[i], after[i]);
        out.insert(
            pid.name.clone(),
            json!({
                "rss_mb_before": a.rss_kb / 1024,
                "rss_mb_after": b.rss_kb / 1024,
                "pss_mb_after": b.pss_kb / 1024,
                "cpu_s": crate::stats::round(b.cpu_s - a.cpu_s),
                "write_kb": (b.write_bytes.saturating_sub(a.write_bytes)) >> 10,
            }),
        );
    }
    Value::Object(out)
}

/// CPU time of this process, threads included.
pub fn own_cpu() -> f64 {
    usage(std::process::id()).map(|u| u.cpu_s).unwrap_or(0.0)
}

/// Busy CPU seconds of the whole machine, and bytes written to all its disks.
pub fn machine() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpu: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    // All but idle and iowait; guest time is already part of user time.
    let busy: u64 = cpu
        .iter()
        .take(8)
        .enumerate()
        .filter(|(i, _)| *i != 3 && *i != 4)
        .map(|(_, n)| n)
        .sum();
    let disks = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let sectors: u64 = disks
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9))
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    (busy as f64 / 100.0, sectors * 512)
}
