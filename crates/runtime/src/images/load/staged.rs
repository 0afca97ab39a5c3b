//! The files of an archive, laid out on disk under numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::super::digest::Hasher;
use super::super::layer::{self, LAYER_BYTES_MAX, LayerError};
use super::super::manifest::{DOCUMENT_MAX, Descriptor};
use super::super::{Digest, ImageError};

/// Most files of an archive.
const FILES_MAX: usize = 100_000;
/// Most links followed from one name.
const LINKS_MAX: usize = 8;

/// One file of the archive.
#[derive(Debug, Clone)]
pub(super) struct StagedFile {
    path: PathBuf,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

impl StagedFile {
    pub(super) fn open(&self) -> Result<File, ImageError> {
        File::open(&self.path).map_err(ImageError::io("open", &self.path))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        if self.size > DOCUMENT_MAX {
            return Err(ImageError::corrupt(format!(
                "{name} has more than {DOCUMENT_MAX} bytes"
            )));
        }
        let mut bytes = Vec::new();
        self.open()?
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", &self.path))?;
        Ok(bytes)
    }
}

/// All files of the archive by their names in it.
#[derive(Debug, Default)]
pub(super) struct Staged {
    files: HashMap<PathBuf, StagedFile>,
    /// Old docker versions save equal layers once, and link to them.
    links: HashMap<PathBuf, PathBuf>,
}

impl Staged {
    pub(super) fn extract(archive: File, dir: &Path, name: &Path) -> Result<Self, ImageError> {
        let mut staged = Self::default();
        let reader = layer::decompress(archive).map_err(ImageError::io("read archive", name))?;
        // Wrapped for its bound only: the archive as a whole has no digest to check.
        let bounded = super::super::digest::HashingReader::new(reader, LAYER_BYTES_MAX);
        layer::for_each_entry(bounded, |entry, content| {
            if staged.files.len() + staged.links.len() >= FILES_MAX {
                return Err(LayerError::Refused(format!("more than {FILES_MAX} files")));
            }
            match entry.kind {
                EntryType::Regular | EntryType::Continuous => {
                    let path = dir.join(format!("file-{}", staged.files.len()));
                    let file = copy(content, path, entry.size)?;
                    staged.files.insert(entry.path, file);
                }
                EntryType::Symlink | EntryType::Link => {
                    let base = match entry.kind {
                        EntryType::Symlink => {
                            entry.path.parent().unwrap_or(Path::new("")).to_path_buf()
                        }
                        _ => PathBuf::new(),
                    };
                    let target = lexical(&base.join(String::from_utf8_lossy(&entry.link).as_ref()));
                    staged.links.insert(entry.path, target);
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(|error| match error.is_disk() {
            true => ImageError::io("lay out archive in", dir)(io::Error::other(error)),
            false => ImageError::corrupt(error.to_string()),
        })?;
        Ok(staged)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(Path::new(name)).is_some()
    }

    pub(super) fn file(&self, name: &str) -> Result<&StagedFile, ImageError> {
        self.find(Path::new(name))
            .ok_or_else(|| ImageError::corrupt(format!("{name} is missing")))
    }

    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        self.file(name)?.read(name)
    }

    /// A blob of an OCI layout that has the digest and size of its descriptor.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<File, ImageError> {
        self.checked_blob(descriptor)?.open()
    }

    pub(super) fn blob_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        self.checked_blob(descriptor)?
            .read(descriptor.digest.as_str())
    }

    fn checked_blob(&self, descriptor: &Descriptor) -> Result<&StagedFile, ImageError> {
        let file = self.file(&format!("blobs/sha256/{}", descriptor.digest.hex()))?;
        if file.digest != descriptor.digest || file.size != descriptor.size {
            return Err(ImageError::corrupt(format!(
                "blob {}: content has {} bytes and digest {}",
                descriptor.digest, file.size, file.digest
            )));
        }
        Ok(file)
    }

    fn find(&self, name: &Path) -> Option<&StagedFile> {
        let mut name = lexical(name);
        for _ in 0..LINKS_MAX {
            if let Some(file) = self.files.get(&name) {
                return Some(file);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }
}

fn copy(content: &mut dyn Read, path: PathBuf, size: u64) -> Result<StagedFile, LayerError> {
    let at = |source| LayerError::Entry {
        path: path.display().to_string(),
        source,
    };
    let mut file = File::create_new(&path).map_err(at)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    let mut copied = 0_u64;
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(at)?;
        copied += count as u64;
    }
    if copied != size {
        return Err(LayerError::Refused("archive ends inside a file".to_owned()));
    }
    Ok(StagedFile {
        path,
        size,
        digest: hasher.finish(),
    })
}

/// The path without `.` and `..`, which never leads above the archive's root.
fn lexical(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => {
                result.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    result
}
