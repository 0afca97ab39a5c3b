//! Unpacks a layer's archive into a directory of its own, in the form that overlayfs stacks.
//!
//! Whiteouts become character devices 0:0 and opaque directories get `trusted.overlay.opaque`
//! (`Documentation/filesystems/overlayfs.rst`; OCI image-spec `layer.md`). Every path stays inside the
//! directory ([`crate::rooted`]), and entries, names and bytes are bounded. Absent on purpose: sparse
//! files and files larger than 8 GiB, which no builder writes into layers.

mod apply;
mod entry;
mod whiteout;

use std::io::{self, Read};
use std::path::Path;

pub(crate) use self::entry::for_each as for_each_entry;
use super::digest::{Digest, HashingReader};

/// Most bytes of a layer, uncompressed.
pub(crate) const LAYER_BYTES_MAX: u64 = 64 << 30;
/// Most entries of a layer.
const ENTRIES_MAX: usize = 2_000_000;

/// Why a layer can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    /// The archive breaks a rule; the text says which.
    #[error("{0}")]
    Refused(String),
    /// Reading the archive, or writing the entry, failed.
    #[error("{path}: {source}")]
    Entry { path: String, source: io::Error },
    /// The archive itself can't be read.
    #[error("{0}")]
    Archive(#[from] io::Error),
}

impl LayerError {
    /// A full disk is no fault of the archive's.
    pub(crate) fn is_disk(&self) -> bool {
        let (Self::Entry { source, .. } | Self::Archive(source)) = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

/// Unpacks the archive into the empty directory `dir`; gives the digest of the uncompressed archive.
pub(crate) fn unpack(archive: impl Read, dir: &Path) -> Result<Digest, LayerError> {
    let mut reader = HashingReader::new(decompress(archive)?, LAYER_BYTES_MAX);
    let mut target = apply::Target::open(dir)?;
    let mut count = 0_usize;
    entry::for_each(&mut reader, |entry, content| {
        count += 1;
        if count > ENTRIES_MAX {
            return Err(LayerError::Refused(format!(
                "more than {ENTRIES_MAX} entries"
            )));
        }
        target.apply(&entry, content)
    })?;
    target.finish()?;
    Ok(reader.finish()?)
}

/// Tells gzip, zstd and plain archives apart by their first bytes: media types lie now and then.
pub(crate) fn decompress<'a>(mut archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(4);
    archive.by_ref().take(4).read_to_end(&mut magic)?;
    let kind = Compression::of(&magic);
    let whole = io::Cursor::new(magic).chain(archive);
    Ok(match kind {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
    })
}

/// How an archive is compressed.
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests;
