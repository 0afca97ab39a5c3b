//! Control groups of containers, on cgroup v2, v1, and hybrids of the two.
//!
//! Which version serves is found per controller: a hybrid has a v2 tree without any. `libcontainer`
//! puts the container's process into the group; limits and removal are ours, because it refuses a
//! limit whose controller the machine does not have, and forgets groups of dead containers.

mod devices;
mod limits;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use karve_sys::device_filter;
use rustix::process::{Pid, Signal, kill_process};

use crate::config::Resources;
use crate::mounts;

pub(crate) use limits::{File as LimitFile, plan};

/// Controllers that carry limits of containers.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// How often a group that is still busy is tried again: its last process may be on its way out.
const REMOVE_ATTEMPTS: u32 = 50;
const REMOVE_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Which interface a controller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The machine's hierarchies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Mount points of v1 hierarchies, and of the v2 tree.
    roots: Vec<(Version, PathBuf)>,
    /// Where each controller of [`CONTROLLERS`] is found, if anywhere.
    controllers: BTreeMap<&'static str, (Version, PathBuf)>,
}

impl Hierarchies {
    /// Looks the hierarchies up.
    pub(crate) fn detect() -> io::Result<Self> {
        let mut found = Self::default();
        for mount in mounts::table()? {
            match mount.kind.as_str() {
                "cgroup" => found.add_v1(mount.target, &mount.super_options),
                "cgroup2" => {
                    let available = fs::read_to_string(mount.target.join("cgroup.controllers"))
                        .unwrap_or_default();
                    found.add_v2(mount.target, &available);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn add_v1(&mut self, root: PathBuf, options: &str) {
        for option in options.split(',') {
            if let Some(name) = CONTROLLERS.iter().find(|name| **name == option) {
                self.controllers.insert(name, (Version::V1, root.clone()));
            }
        }
        self.roots.push((Version::V1, root));
    }

    fn add_v2(&mut self, root: PathBuf, available: &str) {
        for controller in available.split_whitespace() {
            if let Some(name) = CONTROLLERS.iter().find(|name| **name == controller) {
                self.controllers
                    .entry(name)
                    .or_insert_with(|| (Version::V2, root.clone()));
            }
        }
        self.roots.push((Version::V2, root));
    }

    /// Whether devices are guarded by a v1 controller (on v2 that takes a BPF program).
    pub(crate) fn is_v1(&self) -> bool {
        self.roots
            .iter()
            .any(|(version, _)| *version == Version::V1)
    }

    fn controller(&self, name: &str) -> Option<(Version, &Path)> {
        self.controllers
            .get(name)
            .map(|(version, root)| (*version, root.as_path()))
    }
}

/// One group: the same path in every hierarchy that it exists in.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    hierarchies: Hierarchies,
    path: PathBuf,
}

impl Cgroup {
    /// The group at `path`, which is relative to the root of each hierarchy.
    pub(crate) fn new(hierarchies: Hierarchies, path: impl Into<PathBuf>) -> Self {
        Self {
            hierarchies,
            path: path.into(),
        }
    }

    /// Makes the group and sets its limits.
    pub(crate) fn create(&self, resources: &Resources) -> io::Result<()> {
        for (version, root) in &self.hierarchies.roots {
            let has_controller = self
                .hierarchies
                .controllers
                .values()
                .any(|(_, other)| other == root);
            if !has_controller && (*version == Version::V1 || self.hierarchies.is_v1()) {
                continue;
            }
            match version {
                Version::V1 => fs::create_dir_all(root.join(&self.path))?,
                Version::V2 => self.create_v2(root)?,
            }
        }
        self.set(resources)
    }

    /// On v2 a controller works in a group only when all groups above hand it down.
    fn create_v2(&self, root: &Path) -> io::Result<()> {
        let wanted: String = self
            .hierarchies
            .controllers
            .iter()
            .filter(|(_, (version, _))| *version == Version::V2)
            .map(|(name, _)| format!("+{name} "))
            .collect();
        let mut dir = root.to_path_buf();
        for component in self.path.components() {
            if !wanted.is_empty() {
                fs::write(dir.join("cgroup.subtree_control"), wanted.trim_end())?;
            }
            dir.push(component);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets the limits that are given; a controller that the machine does not have is left out.
    pub(crate) fn set(&self, resources: &Resources) -> io::Result<()> {
        for name in CONTROLLERS {
            let Some((version, root)) = self.hierarchies.controller(name) else {
                tracing::debug!(
                    controller = name,
                    "machine has no such cgroup controller, limit left out"
                );
                continue;
            };
            for LimitFile {
                name: file,
                value,
                optional,
            } in plan(name, version, resources)
            {
                let path = root.join(&self.path).join(file);
                match fs::write(&path, value) {
                    Err(error) if optional && error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(io::Error::new(
                            error.kind(),
                            format!("write {}: {error}", path.display()),
                        ));
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Denies the group's processes the machine's devices, where no v1 controller does it.
    pub(crate) fn guard_devices(&self) -> io::Result<()> {
        if self.hierarchies.is_v1() {
            return Ok(());
        }
        let roots = self
            .hierarchies
            .roots
            .iter()
            .filter(|(version, _)| *version == Version::V2);
        for (_, root) in roots {
            let dir = fs::File::open(root.join(&self.path))?;
            device_filter::attach(dir.as_fd(), &devices::defaults())?;
        }
        Ok(())
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some((version, root)) = self.hierarchies.controller("memory") else {
            return 0;
        };
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        fs::read_to_string(root.join(&self.path).join(file))
            .ok()
            .and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            })
            .unwrap_or(0)
    }

    /// Sends SIGKILL to every process in the group and the groups below it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        for (_, root) in &self.hierarchies.roots {
            for_each_group(&root.join(&self.path), &mut |dir| {
                if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
                    return Ok(());
                }
                let Some(procs) = absent_is_none(fs::read_to_string(dir.join("cgroup.procs")))?
                else {
                    return Ok(());
                };
                for pid in procs
                    .lines()
                    .filter_map(|line| Pid::from_raw(line.parse().ok()?))
                {
                    let _ = kill_process(pid, Signal::KILL);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Removes the group and those below it from all hierarchies. Its processes must be ending.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for (_, root) in &self.hierarchies.roots {
            for_each_group(&root.join(&self.path), &mut remove_group)?;
        }
        Ok(())
    }

    /// Removes the groups above that are empty, up to but not including `stop`.
    pub(crate) fn remove_empty_parents(&self, stop: &Path) {
        for parent in self
            .path
            .ancestors()
            .skip(1)
            .take_while(|path| *path != stop && path.starts_with(stop))
        {
            for (_, root) in &self.hierarchies.roots {
                let _ = fs::remove_dir(root.join(parent));
            }
        }
    }
}

fn remove_group(dir: &Path) -> io::Result<()> {
    for attempt in 0.. {
        match fs::remove_dir(dir) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && attempt < REMOVE_ATTEMPTS =>
            {
                // The kernel tells nobody when a v1 group becomes empty.
                std::thread::sleep(REMOVE_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Calls `each` with the groups below `dir`, deepest first, and `dir` itself at last.
fn for_each_group(dir: &Path, each: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let Some(entries) = absent_is_none(fs::read_dir(dir))? else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            for_each_group(&entry.path(), each)?;
        }
    }
    each(dir)
}

/// Groups vanish under our hands: files of a removed one give `ENODEV`.
fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_is_found_where_it_is() {
        let mut hybrid = Hierarchies::default();
        hybrid.add_v1("/c/cpu,cpuacct".into(), "rw,cpu,cpuacct");
        hybrid.add_v1("/c/memory".into(), "rw,memory");
        hybrid.add_v2("/c/unified".into(), "pids hugetlb memory");
        assert_eq!(
            hybrid.controller("cpu"),
            Some((Version::V1, Path::new("/c/cpu,cpuacct")))
        );
        assert_eq!(
            hybrid.controller("memory"),
            Some((Version::V1, Path::new("/c/memory")))
        );
        assert_eq!(
            hybrid.controller("pids"),
            Some((Version::V2, Path::new("/c/unified")))
        );
        assert!(hybrid.is_v1());
    }

    #[test]
    fn a_pure_v2_machine_has_no_v1() {
        let mut unified = Hierarchies::default();
        unified.add_v2("/c".into(), "cpuset cpu io memory pids");
        assert!(!unified.is_v1());
        assert_eq!(
            unified.controller("cpu"),
            Some((Version::V2, Path::new("/c")))
        );
    }
}
