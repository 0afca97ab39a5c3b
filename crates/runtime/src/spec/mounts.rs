//! The mounts of a container.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::ContainerConfig;

/// Hidden from containers.
pub(super) const MASKED_PATHS: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/scsi",
    "/sys/firmware",
];

/// Read-only in containers.
pub(super) const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Files of the pod that each of its containers sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodFiles<'a> {
    pub(crate) hosts: &'a Path,
    pub(crate) resolv_conf: &'a Path,
    pub(crate) hostname: &'a Path,
    /// The tmpfs that the pod's containers share.
    pub(crate) shm: &'a Path,
}

/// The system's mounts, the pod's files unless the pod mounts something there itself, then its mounts.
pub(super) fn plan(
    config: &ContainerConfig,
    files: &PodFiles<'_>,
    own_network: bool,
) -> Vec<Value> {
    let mut mounts = system(config.security.privileged, own_network);
    let bound = |target: &str| {
        config
            .mounts
            .iter()
            .any(|mount| mount.container_path == Path::new(target))
    };
    for (target, source) in [
        ("/etc/hosts", files.hosts),
        ("/etc/resolv.conf", files.resolv_conf),
        ("/etc/hostname", files.hostname),
        ("/dev/shm", files.shm),
    ] {
        if !bound(target) {
            let read_only = config.security.read_only_rootfs && target != "/dev/shm";
            mounts.push(bind(source, Path::new(target), read_only));
        }
    }
    // Parents before children, so that none hides another.
    let mut own: Vec<_> = config.mounts.iter().collect();
    own.sort_by_key(|mount| mount.container_path.components().count());
    mounts.extend(
        own.iter()
            .map(|mount| bind(&mount.host_path, &mount.container_path, mount.read_only)),
    );
    mounts
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({ "destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", access] })
}

/// Only privileged containers on the node's network write to `/sys`: upstream, the sysfs of a pod's own
/// network is mounted read-only for its pause container first, and that holds for all.
fn system(privileged: bool, own_network: bool) -> Vec<Value> {
    let access = if privileged { "rw" } else { "ro" };
    let sys_access = if privileged && !own_network {
        "rw"
    } else {
        "ro"
    };
    let mount = |target: &str, kind: &str, options: &[&str]| {
        let source = if kind == "tmpfs" && target == "/dev" {
            "tmpfs"
        } else {
            kind
        };
        json!({ "destination": target, "type": kind, "source": source, "options": options })
    };
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys_access]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        ),
    ]
}
