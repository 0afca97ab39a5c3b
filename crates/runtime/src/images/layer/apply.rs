//! Writes one entry after the other into the layer's directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use tar::EntryType;

use super::LayerError;
use super::entry::Entry;
use super::whiteout::{self, Marker};
use crate::rooted::{self, Rooted};

/// The attribute by which overlayfs knows an opaque directory.
const OPAQUE: &str = "trusted.overlay.opaque";

/// A layer's directory while it is filled.
pub(super) struct Target {
    root: Rooted,
    /// Directories get their times last: filling them changes those.
    dir_times: Vec<(PathBuf, (i64, i64))>,
    /// The parent of the entry before, which is mostly the parent of the next.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl Target {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Rooted::open(dir)?,
            dir_times: Vec::new(),
            parent: None,
        })
    }

    pub(super) fn apply(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
    ) -> Result<(), LayerError> {
        let at = |source| LayerError::Entry {
            path: entry.path.display().to_string(),
            source,
        };
        let Some(name) = entry.path.file_name().map(OsStr::to_owned) else {
            return self.root_directory(entry).map_err(at);
        };
        let parent_path = entry.path.parent().unwrap_or(Path::new("")).to_path_buf();
        let parent = match self.parent.take() {
            Some((path, fd)) if path == parent_path => fd,
            _ => self.root.make_dirs(&parent_path).map_err(at)?,
        };
        self.entry(entry, parent.as_fd(), &name, content)?;
        // Only a directory or symlink can change what a parent's path means.
        if !matches!(entry.kind, EntryType::Symlink | EntryType::Link) {
            self.parent = Some((parent_path, parent));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        content: &mut dyn Read,
    ) -> Result<(), LayerError> {
        let at = |source| LayerError::Entry {
            path: entry.path.display().to_string(),
            source,
        };
        match whiteout::read(name) {
            Marker::Plain => {}
            Marker::Ignored => return Ok(()),
            Marker::Opaque => return make_opaque(parent).map_err(at),
            Marker::Whiteout(gone) => return make_whiteout(parent, &gone).map_err(at),
            Marker::Malformed => {
                let path = entry.path.display();
                return Err(LayerError::Refused(format!(
                    "entry \"{path}\": whiteout of no name"
                )));
            }
        }
        match entry.kind {
            EntryType::Directory => self.directory(entry, parent, name).map_err(at),
            EntryType::Regular | EntryType::Continuous => {
                file(entry, parent, name, content).map_err(at)
            }
            EntryType::Symlink => symlink(entry, parent, name).map_err(at),
            EntryType::Link => self.hard_link(entry, parent, name).map_err(at),
            EntryType::Char => node(entry, parent, name, FileType::CharacterDevice).map_err(at),
            EntryType::Block => node(entry, parent, name, FileType::BlockDevice).map_err(at),
            EntryType::Fifo => node(entry, parent, name, FileType::Fifo).map_err(at),
            other => {
                let (path, byte) = (entry.path.display(), other.as_byte());
                Err(LayerError::Refused(format!(
                    "entry \"{path}\": unknown type {byte}"
                )))
            }
        }
    }

    /// The archive's own description of the root directory.
    fn root_directory(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind == EntryType::Directory {
            let root = self.root.open_dir(Path::new("."))?;
            set_open_metadata(root.as_fd(), entry)?;
            self.dir_times.push((PathBuf::new(), entry.mtime));
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let mut hides_lower = false;
        match rooted::kind_at(parent, name)? {
            Some(FileType::Directory) => {}
            Some(kind) => {
                // A whiteout of the same name in this layer: the new directory must not show the old one's.
                hides_lower = kind == FileType::CharacterDevice;
                rooted::remove_at(parent, name)?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
            }
            None => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        set_open_metadata(fd.as_fd(), entry)?;
        if hides_lower {
            make_opaque(fd.as_fd())?;
        }
        self.dir_times.push((entry.path.clone(), entry.mtime));
        Ok(())
    }

    fn hard_link(&self, entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let out = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "hard link leads out of the layer",
            )
        };
        let target = rooted::clean(&entry.link).ok_or_else(out)?;
        if target == entry.path {
            return Ok(());
        }
        let target_name = target.file_name().ok_or_else(out)?;
        let target_parent = self
            .root
            .open_dir(target.parent().unwrap_or(Path::new("")))?;
        rooted::remove_at(parent, name)?;
        rustix::fs::linkat(&target_parent, target_name, parent, name, AtFlags::empty())?;
        Ok(())
    }

    /// Sets what had to wait for the end.
    pub(super) fn finish(self) -> Result<(), LayerError> {
        for (path, mtime) in self.dir_times.iter().rev() {
            match self.root.open_dir(path) {
                Ok(dir) => rustix::fs::futimens(&dir, &times(*mtime)).map_err(io::Error::from)?,
                // A later entry of the archive replaced the directory.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn file(
    entry: &Entry,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    content: &mut dyn Read,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let fd = match rustix::fs::openat(parent, name, flags, mode) {
        Err(rustix::io::Errno::EXIST) => {
            rooted::remove_at(parent, name)?;
            rustix::fs::openat(parent, name, flags, mode)?
        }
        other => other?,
    };
    let mut file = File::from(fd);
    if io::copy(content, &mut file)? != entry.size {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "archive ends inside the file",
        ));
    }
    set_open_metadata(file.as_fd(), entry)?;
    rustix::fs::futimens(&file, &times(entry.mtime))?;
    Ok(())
}

fn symlink(entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    rooted::remove_at(parent, name)?;
    rustix::fs::symlinkat(OsStr::from_bytes(&entry.link), parent, name)?;
    own(entry, parent, name)?;
    rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn node(entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr, kind: FileType) -> io::Result<()> {
    rooted::remove_at(parent, name)?;
    let device = match kind {
        FileType::Fifo => 0,
        _ => rustix::fs::makedev(entry.device.0, entry.device.1),
    };
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?;
    own(entry, parent, name)?;
    // The node was made just now and is no symlink.
    rustix::fs::chmodat(
        parent,
        name,
        Mode::from_raw_mode(entry.mode),
        AtFlags::empty(),
    )?;
    rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn own(entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    Ok(rustix::fs::chownat(
        parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Owner first: changing it clears set-user-ID and file capabilities.
fn set_open_metadata(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    rustix::fs::fchown(
        fd,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        match rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            // Attributes of a security module or file system that this machine does not have.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn make_opaque(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(
        dir,
        OPAQUE,
        b"y",
        XattrFlags::empty(),
    )?)
}

/// Something of that name in this same layer stays: a whiteout is about lower layers only.
fn make_whiteout(parent: BorrowedFd<'_>, name: &OsString) -> io::Result<()> {
    match rooted::kind_at(parent, name)? {
        None => {
            let mode = Mode::from_raw_mode(0o000);
            rustix::fs::mknodat(parent, name.as_os_str(), FileType::CharacterDevice, mode, 0)?;
        }
        Some(FileType::Directory) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            make_opaque(
                rustix::fs::openat(parent, name.as_os_str(), flags, Mode::empty())?.as_fd(),
            )?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn times((seconds, nanos): (i64, i64)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos.clamp(0, 999_999_999),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
