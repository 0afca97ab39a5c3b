//! Mounts below a cluster's directories.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// `overlay`, `cgroup2`, ….
    pub kind: String,
}

/// All mounts that we see, in the order in which they were made.
pub fn list() -> Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Unmounts what is mounted in `dir` or below, last made first. Returns how many there were.
pub fn unmount_below(dir: &Path) -> Result<usize> {
    let mut count = 0;
    for mount in list()?
        .into_iter()
        .rev()
        .filter(|mount| mount.point.starts_with(dir))
    {
        match umount2(
            &mount.point,
            MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW,
        ) {
            // It went with another one.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => count += 1,
            Err(errno) => {
                return Err(errno).with_context(|| format!("unmount {}", mount.point.display()));
            }
        }
    }
    Ok(count)
}

/// See `proc_pid_mountinfo(5)`: the mount point is the fifth field, the kind comes after a lone dash.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let point = unescape(before.split(' ').nth(4)?);
    Some(Mount {
        point,
        kind: after.split(' ').next()?.to_owned(),
    })
}

/// Blanks, tabs, newlines and backslashes are written as `\` and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .first_chunk::<3>()
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| matches!(d, b'0'..=b'7')));
        if let Some(digits) = octal {
            bytes.push(digits.iter().fold(0_u8, |value, digit| {
                value.wrapping_mul(8).wrapping_add(digit - b'0')
            }));
            rest = &tail[3..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let line = r"36 35 98:0 / /run/karve/a\040b\134c rw,noatime shared:1 - overlay overlay rw,lowerdir=/x";
        let mount = Mount {
            point: PathBuf::from(r"/run/karve/a b\c"),
            kind: "overlay".to_owned(),
        };
        assert_eq!(parse(line), Some(mount));
        assert_eq!(parse("36 35 98:0 / /x rw"), None);
        assert_eq!(unescape(r"a\09"), PathBuf::from(r"a\09"));
    }
}
