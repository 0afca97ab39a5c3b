//! Removes content that no name and no container uses.
//!
//! Collecting needs the content lock alone. While somebody adds content it is put off: a mark is left,
//! and whoever finishes adding looks for it. So neither ever waits long for the other.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::digest::Digest;
use super::manifest::{self, Manifest};
use super::store::Store;
use super::{ImageError, hold};
use crate::files;

/// The mark of a collection that was put off.
const WANTED: &str = "gc.wanted";

/// Collects now, or leaves it to whoever is adding content.
pub(super) fn collect_soon(store: &Store) -> Result<(), ImageError> {
    let mark = store.path(WANTED);
    fs::write(&mark, b"").map_err(ImageError::io("write", &mark))?;
    collect_if_wanted(store, false)
}

/// Collects if a collection was put off, or `wanted` now.
pub(super) fn collect_if_wanted(store: &Store, wanted: bool) -> Result<(), ImageError> {
    let mark = store.path(WANTED);
    if wanted {
        fs::write(&mark, b"").map_err(ImageError::io("write", &mark))?;
    } else if !mark.exists() {
        return Ok(());
    }
    let _lock = match store.lock("content.lock", FlockOperation::NonBlockingLockExclusive) {
        Ok(lock) => lock,
        Err(ImageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    collect(store)?;
    files::allow_absent(fs::remove_file(&mark)).map_err(ImageError::io("remove", &mark))
}

fn collect(store: &Store) -> Result<(), ImageError> {
    let mut blobs = HashSet::new();
    let mut layers = HashSet::new();
    let mut roots: Vec<Digest> = store
        .index()?
        .images
        .into_values()
        .map(|record| record.manifest)
        .collect();
    roots.extend(hold::live(store)?);
    for root in roots {
        let document: Manifest = manifest::parse(&store.read_blob(&root)?, "manifest")?;
        let config = store.read_blob(&document.config.digest)?;
        let config = manifest::parse_config(&config, document.layers.len())?;
        layers.extend(
            config
                .rootfs
                .diff_ids
                .iter()
                .map(|layer| store.layer_path(layer)),
        );
        blobs.insert(store.blob_path(&root));
        blobs.insert(store.blob_path(&document.config.digest));
    }
    sweep(&store.path("blobs/sha256"), |path| blobs.contains(path))?;
    sweep(&store.path("layers"), |path| layers.contains(path))?;
    // With the lock to ourselves nobody is adding: what lies here was left by a crash.
    sweep(&store.path("tmp"), |_| false)
}

fn sweep(dir: &Path, keep: impl Fn(&Path) -> bool) -> Result<(), ImageError> {
    for entry in fs::read_dir(dir).map_err(ImageError::io("list", dir))? {
        let entry = entry.map_err(ImageError::io("list", dir))?;
        let path = entry.path();
        if keep(&path) {
            continue;
        }
        let is_dir = entry
            .file_type()
            .map_err(ImageError::io("inspect", &path))?
            .is_dir();
        let removed = if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        files::allow_absent(removed).map_err(ImageError::io("remove", &path))?;
    }
    Ok(())
}
