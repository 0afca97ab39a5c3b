//! A container's root filesystem: its image's layers, and a writable one on top, joined by overlayfs.
//!
//! The mount is made in the shim's own mount namespace, so it ends with the container whatever happens,
//! and the machine's mount table never shows it.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_path,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use serde::{Deserialize, Serialize};

use crate::rooted::Rooted;
use crate::users::Accounts;

/// Bytes of options that `mount(2)` takes.
const OPTIONS_MAX: usize = 4095;
/// Largest `/etc/passwd` or `/etc/group` that is read.
const ACCOUNTS_MAX: u64 = 1 << 20;

/// The parts of a root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootFs {
    /// Directories of the image's layers, lowest first; at least one.
    pub(crate) lower: Vec<PathBuf>,
    /// The container's own layer.
    pub(crate) upper: PathBuf,
    /// Overlayfs's scratch directory, on the file system of `upper`.
    pub(crate) work: PathBuf,
}

impl RootFs {
    /// Mounts it writable at `target`.
    pub(crate) fn mount(&self, target: &Path) -> io::Result<()> {
        mount_overlay(&self.lower, Some((&self.upper, &self.work)), target)
    }
}

/// Leaves the machine's mount namespace for a copy whose changes nobody else sees.
pub(crate) fn enter_private_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        None::<&str>,
    )?;
    Ok(())
}

/// Mounts the layers at `target`; read-only without a writable layer.
fn mount_overlay(
    lower: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    target: &Path,
) -> io::Result<()> {
    let options = options(lower, writable);
    // Every kernel takes short options; layers one by one are taken since Linux 6.5, and up to 500 of them.
    if options.len() <= OPTIONS_MAX {
        return mount_by_options(&options, writable.is_some(), target);
    }
    mount_by_layers(lower, writable, target).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::EINVAL | nix::libc::ENOSYS) => {
            let text = format!(
                "{} layers are more than this kernel takes (Linux 6.5 and later take 500)",
                lower.len()
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        }
        _ => error,
    })
}

fn mount_by_layers(
    lower: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    target: &Path,
) -> io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fs = context.as_fd();
    for layer in lower.iter().rev() {
        set_path(fs, "lowerdir+", layer)?;
    }
    if let Some((upper, work)) = writable {
        set_path(fs, "upperdir", upper)?;
        set_path(fs, "workdir", work)?;
    }
    fsconfig_create(fs)?;
    let attributes = match writable {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let mounted = fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(
        mounted.as_fd(),
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}

fn set_path(fs: std::os::fd::BorrowedFd<'_>, key: &str, path: &Path) -> io::Result<()> {
    match fsconfig_set_string(fs, key, path) {
        // Linux 6.5 to 6.12 take strings only, later ones both; strings end at 255 bytes.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NAMETOOLONG)
            if path.as_os_str().len() > 255 =>
        {
            fsconfig_set_path(fs, key, path, CWD)?;
        }
        other => other?,
    }
    Ok(())
}

fn mount_by_options(options: &str, writable: bool, target: &Path) -> io::Result<()> {
    let flags = match writable {
        true => MsFlags::empty(),
        false => MsFlags::MS_RDONLY,
    };
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        flags,
        Some(options),
    )?;
    Ok(())
}

fn options(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> String {
    let layers: Vec<String> = lower.iter().rev().map(|layer| escape(layer)).collect();
    let mut options = format!("lowerdir={}", layers.join(":"));
    if let Some((upper, work)) = writable {
        let (upper, work) = (escape(upper), escape(work));
        options.push_str(&format!(",upperdir={upper},workdir={work}"));
    }
    options
}

/// Colons and commas mean something in overlayfs's options.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,")
}

/// Reads the image's accounts, in a mount namespace of its own; `scratch` is an empty directory.
pub(crate) fn read_accounts(lower: &[PathBuf], scratch: &Path) -> io::Result<Accounts> {
    if let [only] = lower {
        return accounts_in(only);
    }
    std::thread::scope(|scope| {
        let work = || {
            enter_private_mounts()?;
            mount_overlay(lower, None, scratch)?;
            accounts_in(scratch)
        };
        let thread = std::thread::Builder::new()
            .name("rootfs".to_owned())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn accounts_in(root: &Path) -> io::Result<Accounts> {
    let root = Rooted::open(root)?;
    let read = |path: &str| -> io::Result<String> {
        use std::io::Read;
        let file = match root.open_file(Path::new(path)) {
            Ok(file) => file,
            // Absent, or a whiteout of a layer of its own.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(ACCOUNTS_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Accounts {
        passwd: read("etc/passwd")?,
        group: read("etc/group")?,
    })
}
