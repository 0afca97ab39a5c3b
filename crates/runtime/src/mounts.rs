//! The mount table of the calling thread (`/proc/thread-self/mountinfo`), and unmounting all below a path.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

/// One line of the table, as far as it is used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) target: PathBuf,
    pub(crate) kind: String,
    /// Options of the file system, such as the controllers of a cgroup hierarchy.
    pub(crate) super_options: String,
}

pub(crate) fn table() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read_to_string(
        "/proc/thread-self/mountinfo",
    )?))
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue` (proc(5)).
fn parse(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let target = mount.split(' ').nth(4)?;
            let mut filesystem = filesystem.split(' ');
            let kind = filesystem.next()?.to_owned();
            let super_options = filesystem.nth(1)?.to_owned();
            Some(Mount {
                target: unescape(target),
                kind,
                super_options,
            })
        })
        .collect()
}

/// Blanks and backslashes are written in octal (`\040`).
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| text.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

/// Unmounts everything at and below `root`, the last mounted first.
pub(crate) fn unmount_below(root: &Path) -> io::Result<()> {
    let mut table = table()?;
    table.retain(|mount| mount.target.starts_with(root));
    for mount in table.iter().rev() {
        unmount(&mount.target)?;
    }
    Ok(())
}

/// Unmounts `target` if it is a mount point, at once also when somebody uses it.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_optional_fields_and_escapes() {
        let text = "36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 shared:2 - ext3 /dev/root rw,x\n\
                    40 31 0:35 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\nbroken\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].target, Path::new("/a b"));
        assert_eq!(
            (mounts[1].kind.as_str(), mounts[1].super_options.as_str()),
            ("cgroup", "rw,memory")
        );
    }
}
