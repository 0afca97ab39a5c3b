//! Which files carry a limit, and in which words (`Documentation/admin-guide/cgroup-v1`, `cgroup-v2`).

use super::Version;
use crate::config::Resources;

/// The period that the kubelet uses, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// A file of a group and what to write into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Kernels may be built without it.
    pub(crate) optional: bool,
}

fn file(name: &'static str, value: impl ToString) -> File {
    File {
        name,
        value: value.to_string(),
        optional: false,
    }
}

/// The files of one controller for the limits that are given.
pub(crate) fn plan(controller: &str, version: Version, resources: &Resources) -> Vec<File> {
    match (controller, version) {
        ("cpu", Version::V1) => cpu_v1(resources),
        ("cpu", Version::V2) => cpu_v2(resources),
        ("memory", Version::V1) => resources
            .memory_limit
            .map(|limit| file("memory.limit_in_bytes", limit))
            .into_iter()
            .collect(),
        ("memory", Version::V2) => memory_v2(resources),
        ("pids", _) => resources
            .pids_limit
            .map(|limit| file("pids.max", max(limit)))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

fn cpu_v1(resources: &Resources) -> Vec<File> {
    let mut files = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        files.push(file("cpu.shares", shares));
    }
    if let Some(quota) = resources.cpu_quota {
        let period = resources.cpu_period.unwrap_or(DEFAULT_PERIOD);
        files.push(File {
            optional: quota <= 0,
            ..file("cpu.cfs_period_us", period)
        });
        files.push(File {
            optional: quota <= 0,
            ..file("cpu.cfs_quota_us", if quota > 0 { quota } else { -1 })
        });
    }
    files
}

fn cpu_v2(resources: &Resources) -> Vec<File> {
    let mut files = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        files.push(file("cpu.weight", weight(shares)));
    }
    if let Some(quota) = resources.cpu_quota {
        let period = resources.cpu_period.unwrap_or(DEFAULT_PERIOD);
        files.push(file("cpu.max", format!("{} {period}", max(quota))));
    }
    files
}

/// Swap would let a container have more memory than its limit (KEP-2400, `NoSwap`).
fn memory_v2(resources: &Resources) -> Vec<File> {
    let Some(limit) = resources.memory_limit else {
        return Vec::new();
    };
    vec![
        file("memory.max", max(limit)),
        File {
            optional: true,
            ..file("memory.swap.max", 0)
        },
    ]
}

fn max(limit: i64) -> String {
    if limit > 0 {
        limit.to_string()
    } else {
        "max".to_owned()
    }
}

/// From the range 2 to 262144 to 1 to 10000 (KEP-2254).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(controller: &str, version: Version, resources: &Resources) -> Vec<String> {
        plan(controller, version, resources)
            .iter()
            .map(|f| format!("{}={}", f.name, f.value))
            .collect()
    }

    #[test]
    fn limits_are_written_in_each_versions_words() {
        let all = Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory_limit: Some(64 << 20),
            pids_limit: Some(100),
            ..Resources::default()
        };
        let unlimited = Resources {
            cpu_quota: Some(-1),
            memory_limit: Some(-1),
            ..Resources::default()
        };
        for (controller, version, resources, expected) in [
            (
                "cpu",
                Version::V1,
                &all,
                vec![
                    "cpu.shares=1024",
                    "cpu.cfs_period_us=100000",
                    "cpu.cfs_quota_us=50000",
                ],
            ),
            (
                "cpu",
                Version::V2,
                &all,
                vec!["cpu.weight=39", "cpu.max=50000 100000"],
            ),
            (
                "memory",
                Version::V1,
                &all,
                vec!["memory.limit_in_bytes=67108864"],
            ),
            (
                "memory",
                Version::V2,
                &all,
                vec!["memory.max=67108864", "memory.swap.max=0"],
            ),
            ("pids", Version::V1, &all, vec!["pids.max=100"]),
            ("pids", Version::V2, &all, vec!["pids.max=100"]),
            (
                "cpu",
                Version::V1,
                &unlimited,
                vec!["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=-1"],
            ),
            ("cpu", Version::V2, &unlimited, vec!["cpu.max=max 100000"]),
            (
                "memory",
                Version::V2,
                &unlimited,
                vec!["memory.max=max", "memory.swap.max=0"],
            ),
            ("cpu", Version::V2, &Resources::default(), vec![]),
        ] {
            assert_eq!(
                lines(controller, version, resources),
                expected,
                "{controller} {version:?}"
            );
        }
    }

    #[test]
    fn shares_span_the_whole_range_of_weights() {
        for (shares, expected) in [(2, 1), (1024, 39), (262_144, 10_000), (0, 1)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
