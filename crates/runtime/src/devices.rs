//! The machine's device nodes, which privileged containers get.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Not devices of the machine, or set up by the runtime for each container.
const EXCLUDED: [&str; 9] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    ".lxc",
    ".lxd-mounts",
    ".udev",
    "console",
    "ptmx",
];

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) path: PathBuf,
    /// Else it is a character device.
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// All device nodes below `/dev`.
pub(crate) fn of_machine() -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), &mut devices)?;
    devices.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(devices)
}

fn collect(dir: &Path, devices: &mut Vec<Device>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if EXCLUDED.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        // Symlinks are not followed. A node may be unplugged meanwhile.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            collect(&entry.path(), devices)?;
        } else if kind.is_block_device() || kind.is_char_device() {
            devices.push(Device {
                path: entry.path(),
                block: kind.is_block_device(),
                major: rustix::fs::major(metadata.rdev()),
                minor: rustix::fs::minor(metadata.rdev()),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
    Ok(())
}
