//! Facts about the machine that a Node object shows.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("read {what}")]
pub struct Error {
    what: String,
    #[source]
    source: io::Error,
}

/// The machine, read once when the agent starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// CPUs, in thousandths.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Bytes of the file system that holds the node's data.
    pub disk_bytes: u64,
    /// Huge pages' bytes by size in KiB.
    pub hugepages: BTreeMap<u64, u64>,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The firmware's UUID, else the machine ID.
    pub system_uuid: String,
    /// The kernel's boot ID.
    pub boot_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// `PRETTY_NAME` of `os-release`.
    pub os_image: String,
    /// Go's name of the architecture.
    pub architecture: String,
}

impl Machine {
    /// Looks at the machine; `data_dir` says on which file system.
    pub fn read(data_dir: &Path) -> Result<Machine, Error> {
        let text = |path: &str| {
            std::fs::read_to_string(path)
                .map(|t| t.trim().to_owned())
                .unwrap_or_default()
        };
        let machine_id = text("/etc/machine-id");
        let uuid = text("/sys/class/dmi/id/product_uuid");
        let names = uname().map_err(|errno| Error {
            what: "uname".to_owned(),
            source: errno.into(),
        })?;
        let disk = statvfs(data_dir).map_err(|errno| Error {
            what: format!("file system of {}", data_dir.display()),
            source: errno.into(),
        })?;
        Ok(Machine {
            cpu_millis: i64::try_from(cpus()).unwrap_or(1) * 1000,
            memory_bytes: memory()?,
            disk_bytes: disk.blocks() * disk.fragment_size(),
            hugepages: hugepages(),
            system_uuid: if uuid.is_empty() {
                machine_id.clone()
            } else {
                uuid
            },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel: names.release().to_string_lossy().into_owned(),
            os_image: os_image(&text("/etc/os-release")),
            architecture: go_arch(std::env::consts::ARCH).to_owned(),
        })
    }
}

/// CPUs that are online, whatever this process itself may use.
fn cpus() -> usize {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|t| count_cpus(t.trim()));
    online.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Counts a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<usize> {
    list.split(',').try_fold(0usize, |sum, range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        sum.checked_add(to.checked_sub(from)?.checked_add(1)?)
    })
}

fn memory() -> Result<i64, Error> {
    let failed = |source| Error {
        what: "/proc/meminfo".to_owned(),
        source,
    };
    let text = std::fs::read_to_string("/proc/meminfo").map_err(failed)?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kib.map(|k| k * 1024)
        .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

fn hugepages() -> BTreeMap<u64, u64> {
    let mut sizes = BTreeMap::new();
    for entry in std::fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name
            .strip_prefix("hugepages-")
            .and_then(|n| n.strip_suffix("kB")?.parse::<u64>().ok());
        let pages = std::fs::read_to_string(entry.path().join("nr_hugepages"))
            .ok()
            .and_then(|t| t.trim().parse::<u64>().ok());
        if let (Some(size), Some(pages)) = (size, pages) {
            sizes.insert(size, size * 1024 * pages);
        }
    }
    sizes
}

fn os_image(os_release: &str) -> String {
    let line = os_release
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, want) in [
            ("0", Some(1)),
            ("0-1", Some(2)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-1", None),
        ] {
            assert_eq!(count_cpus(list), want, "{list}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read(Path::new("/")).expect("read");
        assert!(machine.cpu_millis >= 1000 && machine.memory_bytes > 0 && machine.disk_bytes > 0);
        assert!(!machine.kernel.is_empty() && !machine.boot_id.is_empty());
    }
}
