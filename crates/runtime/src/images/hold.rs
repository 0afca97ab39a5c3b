//! Keeps an image's content while a container uses it, also when its name is removed.
//!
//! A hold names a path of its owner; when that path is gone the hold counts no more. So an owner that
//! was killed, or whose machine went down, leaves nothing that keeps content for ever.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::ImageError;
use super::digest::Digest;
use super::image::Image;
use super::store::Store;
use crate::files::{self, Durability};

#[derive(Serialize, Deserialize)]
struct Hold {
    manifest: Digest,
    owner: PathBuf,
}

impl Store {
    /// Keeps the image's content until [`Store::release`], or until `owner` is no more.
    ///
    /// Fails with [`ImageError::NotFound`] when the content is gone already.
    pub fn hold(&self, image: &Image, id: &str, owner: &Path) -> Result<(), ImageError> {
        let _lock = self.lock("content.lock", FlockOperation::LockShared)?;
        self.layer_dirs(image)?;
        let path = self.path("holds").join(id);
        let hold = Hold {
            manifest: image.manifest.clone(),
            owner: owner.to_path_buf(),
        };
        files::write_json(&path, &hold, Durability::Volatile)
            .map_err(ImageError::io("write", &path))
    }

    /// Ends a hold; one that is not there is no error.
    pub fn release(&self, id: &str) -> Result<(), ImageError> {
        let path = self.path("holds").join(id);
        files::allow_absent(fs::remove_file(&path)).map_err(ImageError::io("remove", &path))
    }
}

/// What is held; holds of owners that are gone are removed on the way.
pub(super) fn live(store: &Store) -> Result<Vec<Digest>, ImageError> {
    let dir = store.path("holds");
    let mut manifests = Vec::new();
    for entry in fs::read_dir(&dir).map_err(ImageError::io("list", &dir))? {
        let path = entry.map_err(ImageError::io("list", &dir))?.path();
        let hold = files::read_json::<Hold>(&path);
        match hold {
            Ok(Some(hold)) if hold.owner.exists() => manifests.push(hold.manifest),
            // Gone, of a dead owner, or cut short by a power failure (which ended its owner too).
            _ => files::allow_absent(fs::remove_file(&path))
                .map_err(ImageError::io("remove", &path))?,
        }
    }
    Ok(manifests)
}
