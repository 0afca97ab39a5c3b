//! What something left on the machine: in the kernel, in the process table, on disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Everything on the machine whose name contains a mark.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Named network namespaces.
    pub namespaces: BTreeSet<String>,
    /// Links of the calling thread's network namespace; all of them, for that is the test's own.
    pub links: BTreeSet<String>,
    /// Mount points.
    pub mounts: BTreeSet<String>,
    /// Command lines.
    pub processes: BTreeSet<String>,
    /// Cgroups of all hierarchies.
    pub cgroups: BTreeSet<String>,
}

impl Traces {
    /// Looks for `mark`, such as a cluster's name.
    pub fn of(mark: &str) -> Self {
        let marked = |names: BTreeSet<String>| {
            names
                .into_iter()
                .filter(|name| name.contains(mark))
                .collect()
        };
        Self {
            namespaces: marked(entries(Path::new("/run/netns"))),
            links: links(),
            mounts: marked(mount_points()),
            processes: marked(processes()),
            cgroups: marked(cgroups()),
        }
    }
}

fn entries(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn links() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

fn mount_points() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(str::to_owned)
        .collect()
}

/// Of all processes but this one.
fn processes() -> BTreeSet<String> {
    let ours = std::process::id().to_string();
    let others = entries(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != ours);
    others
        .filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok())
        .map(|line| {
            String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .trim()
                .to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect()
}

/// Below `karve` in each hierarchy.
fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in text.lines().filter(|line| line.contains(" - cgroup")) {
        if let Some(hierarchy) = line.split(' ').nth(4) {
            let parent = Path::new(hierarchy).join("karve");
            found.extend(
                entries(&parent)
                    .into_iter()
                    .map(|name| parent.join(name).display().to_string()),
            );
        }
    }
    found
}
