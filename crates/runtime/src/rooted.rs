//! A directory as the root of untrusted paths: nothing inside it, no symlink and no `..`, leads out.
//!
//! Every walk is one `openat2(2)` with `RESOLVE_IN_ROOT`, so the kernel itself keeps to the root, also
//! against content that changes meanwhile. Needs Linux 5.6.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};

/// Mode of directories that content needs and does not describe.
const IMPLIED_DIR_MODE: u32 = 0o755;
/// How deep a tree may be that [`Rooted::remove`] takes away.
const DEPTH_MAX: usize = 1024;

/// An open root directory.
#[derive(Debug)]
pub(crate) struct Rooted {
    fd: OwnedFd,
}

impl Rooted {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: rustix::fs::openat(CWD, path, flags, Mode::empty())?,
        })
    }

    /// Opens `path`, which is taken as if the root were `/`; symlinks are followed inside the root.
    pub(crate) fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat2(
            &self.fd,
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            },
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?)
    }

    /// Opens the directory `path`, making it and its parents if need be.
    pub(crate) fn make_dirs(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut walked = PathBuf::new();
        let mut dir = self.open_dir(Path::new("."))?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            walked.push(name);
            dir = match self.open_dir(&walked) {
                Ok(next) => next,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(IMPLIED_DIR_MODE))?;
                    self.open_dir(&walked)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(dir)
    }

    /// Opens the directory `path` for reading.
    pub(crate) fn open_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Opens the regular file `path` for reading.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<std::fs::File> {
        // Nonblocking, so that a FIFO of that name can't hold us up.
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(fd.into())
    }
}

impl AsFd for Rooted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A path of an archive as components: no root, no `.`; `None` when it has a `..` or a NUL.
pub(crate) fn clean(raw: &[u8]) -> Option<PathBuf> {
    if raw.contains(&0) {
        return None;
    }
    let mut cleaned = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(cleaned)
}

/// The type of `name` in `dir`, symlinks not followed; `None` when there is nothing.
pub(crate) fn kind_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes `name` in `dir` with all that is below it; no symlink is followed.
pub(crate) fn remove_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    remove_tree(dir, name, 0)
}

fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) if depth < DEPTH_MAX => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut names: Vec<OsString> = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            names.push(OsStr::from_bytes(bytes).to_owned());
        }
    }
    for child in names {
        remove_tree(fd.as_fd(), &child, depth + 1)?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_parents_refused() {
        for (raw, cleaned) in [
            ("a/b", Some("a/b")),
            ("/a//b/", Some("a/b")),
            ("./a/./b", Some("a/b")),
            ("", Some("")),
            ("a/../b", None),
            ("../a", None),
            ("a\0b", None),
        ] {
            assert_eq!(clean(raw.as_bytes()), cleaned.map(PathBuf::from), "{raw:?}");
        }
    }

    #[test]
    fn absolute_symlinks_stay_inside_the_root() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).expect("symlink");
        let root = Rooted::open(dir.path()).expect("open");
        assert!(root.open_file(Path::new("link/passwd")).is_err());
        std::fs::create_dir(dir.path().join("etc")).expect("mkdir");
        root.make_dirs(Path::new("link/deep/er"))
            .expect("make directories");
        assert!(dir.path().join("etc/deep/er").is_dir());
    }
}
