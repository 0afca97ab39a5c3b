//! Reads the entries of a tar archive, with GNU long names and pax records put together.
//!
//! The `tar` crate gives raw headers only: its own joining reads extension records of any size.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use tar::EntryType;

use super::LayerError;
use crate::rooted;

/// Largest pax or long-name record.
const EXTENSION_MAX: u64 = 1 << 20;
/// Longest path.
const PATH_MAX: usize = 4096;
/// What pax records call extended attributes.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// One entry of an archive.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Components below the root; empty for the root itself.
    pub(crate) path: PathBuf,
    pub(crate) kind: EntryType,
    /// Target of a symlink or hard link, as it stands in the archive.
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    /// Major and minor of a device.
    pub(crate) device: (u32, u32),
    pub(crate) size: u64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Records that describe the entry that follows them.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Calls `visit` with every entry and its content.
pub(crate) fn for_each(
    archive: impl Read,
    mut visit: impl FnMut(Entry, &mut dyn Read) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut archive = tar::Archive::new(archive);
    let mut global = BTreeMap::new();
    let mut pending = Pending::default();
    for raw in archive.entries()?.raw(true) {
        let mut raw = raw?;
        let kind = raw.header().entry_type();
        match kind {
            EntryType::GNULongName => pending.path = Some(long_name(&mut raw)?),
            EntryType::GNULongLink => pending.link = Some(long_name(&mut raw)?),
            EntryType::XHeader => pending.pax.append(&mut pax_records(&mut raw)?),
            EntryType::XGlobalHeader => global.append(&mut pax_records(&mut raw)?),
            _ => {
                let mut records = global.clone();
                let Pending {
                    path,
                    link,
                    mut pax,
                } = std::mem::take(&mut pending);
                records.append(&mut pax);
                let entry = assemble(raw.header(), path, link, records)?;
                visit(entry, &mut raw)?;
            }
        }
    }
    Ok(())
}

fn extension(raw: &mut impl Read) -> Result<Vec<u8>, LayerError> {
    let mut bytes = Vec::new();
    raw.take(EXTENSION_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > EXTENSION_MAX {
        return Err(LayerError::Refused(format!(
            "extension record of more than {EXTENSION_MAX} bytes"
        )));
    }
    Ok(bytes)
}

fn long_name(raw: &mut impl Read) -> Result<Vec<u8>, LayerError> {
    let mut name = extension(raw)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn pax_records(raw: &mut impl Read) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LayerError> {
    let bytes = extension(raw)?;
    let mut records = BTreeMap::new();
    for record in tar::PaxExtensions::new(&bytes) {
        let record = record?;
        records.insert(record.key_bytes().to_vec(), record.value_bytes().to_vec());
    }
    Ok(records)
}

fn assemble(
    header: &tar::Header,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    mut pax: BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<Entry, LayerError> {
    let raw_path = pax
        .remove(b"path".as_slice())
        .or(long_path)
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let shown = String::from_utf8_lossy(&raw_path[..raw_path.len().min(PATH_MAX)]).into_owned();
    let refuse = |reason: &str| LayerError::Refused(format!("entry {shown:?}: {reason}"));
    if raw_path.len() > PATH_MAX {
        return Err(refuse("path is too long"));
    }
    let path = rooted::clean(&raw_path).ok_or_else(|| refuse("path leads out of the layer"))?;
    let link = pax
        .remove(b"linkpath".as_slice())
        .or(long_link)
        .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
        .unwrap_or_default();
    if link.len() > PATH_MAX || link.contains(&0) {
        return Err(refuse("link target is too long or has a NUL"));
    }
    let size = header.entry_size()?;
    if pax.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
        return Err(refuse("sparse files are not supported"));
    }
    if number(&pax, b"size").is_some_and(|real| real != size) {
        return Err(refuse("files of more than 8 GiB are not supported"));
    }
    let mtime = pax.get(b"mtime".as_slice()).and_then(|text| pax_time(text));
    Ok(Entry {
        kind: header.entry_type(),
        link,
        mode: or_blank(&header.as_old().mode, header.mode())? & 0o7777,
        uid: owner(&pax, b"uid", or_blank(&header.as_old().uid, header.uid()))
            .ok_or_else(|| refuse("uid"))?,
        gid: owner(&pax, b"gid", or_blank(&header.as_old().gid, header.gid()))
            .ok_or_else(|| refuse("gid"))?,
        mtime: mtime.unwrap_or_else(|| (header.mtime().unwrap_or(0).try_into().unwrap_or(0), 0)),
        device: (
            header.device_major().ok().flatten().unwrap_or(0),
            header.device_minor().ok().flatten().unwrap_or(0),
        ),
        size,
        xattrs: xattrs(pax),
        path,
    })
}

fn number(pax: &BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8]) -> Option<u64> {
    std::str::from_utf8(pax.get(key)?).ok()?.parse().ok()
}

/// Many writers leave fields blank that don't matter to them: that means 0.
fn or_blank<T: Default>(field: &[u8], value: io::Result<T>) -> io::Result<T> {
    match value {
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(T::default()),
        other => other,
    }
}

/// A user or group; the last number means "none" to the kernel.
fn owner(pax: &BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8], header: io::Result<u64>) -> Option<u32> {
    let value = number(pax, key).or_else(|| header.ok())?;
    u32::try_from(value).ok().filter(|id| *id != u32::MAX)
}

/// `seconds[.fraction]`, also negative.
fn pax_time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some((seconds.parse().ok()?, nanos.parse().ok()?))
}

fn xattrs(pax: BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    pax.into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(XATTR_PREFIX)?.to_vec(), value)))
        // Overlayfs's own attributes would steer what the mount shows, past every check made here.
        .filter(|(name, _)| {
            !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        })
        .collect()
}
