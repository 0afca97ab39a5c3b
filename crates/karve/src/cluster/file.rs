//! Files that only root reads, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `path` by way of a new file beside it, with mode 0600.
///
/// Readers see the old text or the new one. The text is on disk when this returns.
pub fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let result = write_new(&beside, text).and_then(|()| fs::rename(&beside, path));
    if result.is_err() {
        // Best effort: the error that led here is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    result
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    // A file of this name is ours, left by a process of the same number that was killed.
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
