//! The content store on disk.
//!
//! ```text
//! index.json              names to manifests (replaced whole, under index.lock)
//! blobs/sha256/HEX        manifests and configurations
//! layers/HEX32/{digest,fs}  a layer unpacked, by the first half of its digest; `digest` is all of it
//! empty/                  the lower directory of an image without layers
//! holds/ID                what a container uses (see `hold`)
//! tmp/                    content that is being added
//! content.lock            shared by whoever adds content, exclusive for collecting garbage
//! ```
//!
//! Layers have short names because `mount(2)` takes one page of options (62 layers' worth); newer
//! kernels take each layer by itself.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::image::Image;
use super::manifest::{self, Manifest};
use super::{ImageError, ImageRef, gc, layer};
use crate::files::{self, Durability};

/// Digits of a layer's digest in its directory's name.
const LAYER_NAME_LEN: usize = 32;

/// The machine's content store. Cheap to clone; several processes may have it open.
#[derive(Debug, Clone)]
pub struct Store {
    root: Arc<PathBuf>,
}

/// `index.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct IndexFile {
    pub(super) images: BTreeMap<ImageRef, Record>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) manifest: Digest,
    /// The digest by which a registry knows it: that of the index when there are several platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pulled: Option<Digest>,
}

/// An image to be added; its layers are in the store already.
#[derive(Debug)]
pub(super) struct NewImage {
    pub(super) reference: ImageRef,
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    pub(super) pulled: Option<Digest>,
}

impl Store {
    /// Opens (and makes if need be) the store at `root` (`<data root>/images`).
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let store = Self {
            root: Arc::new(root.to_path_buf()),
        };
        files::make_private_dirs(root).map_err(ImageError::io("make directory", root))?;
        for name in ["blobs/sha256", "layers", "holds", "tmp"] {
            let dir = root.join(name);
            files::make_private_dirs(&dir).map_err(ImageError::io("make directory", &dir))?;
        }
        let empty = root.join("empty");
        fs::create_dir(&empty)
            .or_else(|e| {
                if e.kind() == io::ErrorKind::AlreadyExists {
                    Ok(())
                } else {
                    Err(e)
                }
            })
            .map_err(ImageError::io("make directory", &empty))?;
        Ok(store)
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image that `reference` names, if it is here.
    pub fn image(&self, reference: &ImageRef) -> Result<Option<Image>, ImageError> {
        let index = self.index()?;
        match find(&index, reference) {
            Some(record) => self.describe(&index, reference, record).map(Some),
            None => Ok(None),
        }
    }

    /// All names, each with its image.
    pub fn images(&self) -> Result<Vec<Image>, ImageError> {
        let index = self.index()?;
        index
            .images
            .iter()
            .map(|(name, record)| self.describe(&index, name, record))
            .collect()
    }

    /// Removes a name, and what nothing uses any more. False when there was no such name.
    pub fn remove(&self, reference: &ImageRef) -> Result<bool, ImageError> {
        let removed = self.change_index(|index| index.images.remove(reference).is_some())?;
        if removed {
            gc::collect_soon(self)?;
        }
        Ok(removed)
    }

    /// The directories of an image's layers, lowest first, in the order of the image's configuration.
    pub fn layer_dirs(&self, image: &Image) -> Result<Vec<PathBuf>, ImageError> {
        if image.layers.is_empty() {
            return Ok(vec![self.path("empty")]);
        }
        image
            .layers
            .iter()
            .map(|digest| match self.has_layer(digest)? {
                true => Ok(self.layer_path(digest).join("fs")),
                false => Err(ImageError::NotFound {
                    message: format!(
                        "layer {digest} of image {:?} is not on this machine",
                        image.reference
                    ),
                }),
            })
            .collect()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn layer_path(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("layers")
            .join(&digest.hex()[..LAYER_NAME_LEN])
    }

    /// Whether the layer is here, whole. Two digests that share a name are told apart.
    pub(super) fn has_layer(&self, digest: &Digest) -> Result<bool, ImageError> {
        let path = self.layer_path(digest).join("digest");
        match fs::read_to_string(&path) {
            Ok(text) if text == digest.as_str() => Ok(true),
            Ok(text) => Err(ImageError::corrupt(format!(
                "layer {digest} has the name of layer {text}"
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ImageError::io("read", &path)(error)),
        }
    }

    pub(super) fn index(&self) -> Result<IndexFile, ImageError> {
        let path = self.path("index.json");
        Ok(files::read_json(&path)
            .map_err(ImageError::io("read", &path))?
            .unwrap_or_default())
    }

    /// Changes the index under its lock.
    fn change_index<T>(&self, change: impl FnOnce(&mut IndexFile) -> T) -> Result<T, ImageError> {
        let _lock = self.lock("index.lock", FlockOperation::LockExclusive)?;
        let mut index = self.index()?;
        let result = change(&mut index);
        let path = self.path("index.json");
        files::write_json(&path, &index, Durability::Durable)
            .map_err(ImageError::io("write", &path))?;
        Ok(result)
    }

    /// Holds until the file is closed.
    pub(super) fn lock(&self, name: &str, operation: FlockOperation) -> Result<File, ImageError> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(ImageError::io("open", &path))?;
        rustix::fs::flock(&file, operation)
            .map_err(|errno| ImageError::io("lock", &path)(errno.into()))?;
        Ok(file)
    }

    pub(super) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).map_err(ImageError::io("read", &path))?;
        if Digest::of(&bytes) != *digest {
            return Err(ImageError::corrupt(format!(
                "blob {digest} was changed on disk"
            )));
        }
        Ok(bytes)
    }

    fn describe(
        &self,
        index: &IndexFile,
        name: &ImageRef,
        record: &Record,
    ) -> Result<Image, ImageError> {
        let document: Manifest = manifest::parse(&self.read_blob(&record.manifest)?, "manifest")?;
        let bytes = self.read_blob(&document.config.digest)?;
        let config = manifest::parse_config(&bytes, document.layers.len())?;
        let same = || {
            index
                .images
                .iter()
                .filter(|(_, other)| other.manifest == record.manifest)
        };
        let mut repo_digests: Vec<String> = same()
            .filter_map(|(name, other)| {
                Some(format!("{}@{}", name.repository(), other.pulled.as_ref()?))
            })
            .collect();
        repo_digests.dedup();
        Ok(Image {
            reference: name.to_string(),
            id: document.config.digest.clone(),
            manifest: record.manifest.clone(),
            names: same()
                .filter(|(name, _)| name.tag().is_some())
                .map(|(name, _)| name.to_string())
                .collect(),
            repo_digests,
            size: document.config.size
                + document.layers.iter().map(|layer| layer.size).sum::<u64>(),
            layers: config.rootfs.diff_ids,
            config: config.config.unwrap_or_default(),
        })
    }

    /// Begins to add content.
    pub(super) fn add(&self) -> Result<Adding, ImageError> {
        let lock = self.lock("content.lock", FlockOperation::LockShared)?;
        let staging = self
            .path("tmp")
            .join(uuid::Uuid::new_v4().simple().to_string());
        fs::create_dir(&staging).map_err(ImageError::io("make directory", &staging))?;
        Ok(Adding {
            store: self.clone(),
            staging,
            lock: Some(lock),
        })
    }
}

/// By name; a reference with a digest also by any name of that repository with that content.
fn find<'a>(index: &'a IndexFile, reference: &ImageRef) -> Option<&'a Record> {
    let by_digest = |digest: &Digest| {
        index.images.iter().find_map(|(name, record)| {
            let same = record.pulled.as_ref().unwrap_or(&record.manifest) == digest;
            (same && name.repository() == reference.repository()).then_some(record)
        })
    };
    index
        .images
        .get(reference)
        .or_else(|| by_digest(reference.digest()?))
}

/// Content on its way into the store. Dropped before [`Adding::commit`], it leaves nothing behind but
/// whole layers, which the next collection takes.
#[derive(Debug)]
pub(super) struct Adding {
    store: Store,
    staging: PathBuf,
    lock: Option<File>,
}

impl Adding {
    /// A place for files of this addition.
    pub(super) fn staging(&self) -> &Path {
        &self.staging
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Unpacks a layer unless it is here; `digest` is that of the uncompressed archive.
    pub(super) fn layer(&self, digest: &Digest, archive: impl io::Read) -> Result<(), ImageError> {
        if self.store.has_layer(digest)? {
            return Ok(());
        }
        let dir = self
            .staging
            .join(format!("layer-{}", uuid::Uuid::new_v4().simple()));
        let root = dir.join("fs");
        fs::create_dir(&dir)
            .and_then(|()| fs::create_dir(&root))
            .map_err(ImageError::io("make directory", &root))?;
        let found = layer::unpack(archive, &root).map_err(|error| match error.is_disk() {
            true => ImageError::io("unpack layer into", &root)(io::Error::other(error)),
            false => ImageError::corrupt(format!("layer {digest}: {error}")),
        })?;
        if found != *digest {
            return Err(ImageError::corrupt(format!(
                "layer {digest}: content has digest {found}"
            )));
        }
        let mark = dir.join("digest");
        fs::write(&mark, digest.as_str()).map_err(ImageError::io("write", &mark))?;
        // Before the rename, so that a layer that is there is there whole, also after a power failure.
        let handle = File::open(&dir).map_err(ImageError::io("open", &dir))?;
        rustix::fs::syncfs(&handle).map_err(|errno| ImageError::io("sync", &dir)(errno.into()))?;
        let path = self.store.layer_path(digest);
        match fs::rename(&dir, &path) {
            Ok(()) => {}
            // Another process was faster.
            Err(_) if self.store.has_layer(digest)? => {}
            Err(error) => return Err(ImageError::io("move layer to", &path)(error)),
        }
        files::sync_parent(&path).map_err(ImageError::io("sync parent of", &path))
    }

    /// Gives the images their names, all at once.
    pub(super) fn commit(self, images: Vec<NewImage>) -> Result<Vec<Image>, ImageError> {
        let mut records = Vec::with_capacity(images.len());
        for image in images {
            self.blob(&image.config)?;
            let manifest = self.blob(&image.manifest)?;
            records.push((
                image.reference,
                Record {
                    manifest,
                    pulled: image.pulled,
                },
            ));
        }
        let replaced = self.store.change_index(|index| {
            let mut replaced = false;
            for (name, record) in &records {
                let before = index.images.insert(name.clone(), record.clone());
                replaced |= before.is_some_and(|before| before != *record);
            }
            replaced
        })?;
        let index = self.store.index()?;
        let images = records
            .iter()
            .map(|(name, record)| self.store.describe(&index, name, record))
            .collect();
        let store = self.store.clone();
        drop(self);
        gc::collect_if_wanted(&store, replaced)?;
        images
    }

    fn blob(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        let path = self.store.blob_path(&digest);
        if !path.exists() {
            files::write(&path, bytes, 0o600, Durability::Durable)
                .map_err(ImageError::io("write", &path))?;
        }
        Ok(digest)
    }
}

impl Drop for Adding {
    fn drop(&mut self) {
        if let Err(error) = files::allow_absent(fs::remove_dir_all(&self.staging)) {
            tracing::warn!(path = %self.staging.display(), %error, "staging directory stays behind");
        }
        drop(self.lock.take());
    }
}
