//! Files and troubles of a volume's sources, put together. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::KeyToPath;

use super::{File, Lack, item_mode};
use crate::objects::Seen;

/// What an object's keys are shown as.
pub struct Keyed<'a> {
    /// The object's name.
    pub name: &'a str,
    /// The keys that are shown; all when there are none.
    pub items: Option<&'a [KeyToPath]>,
    /// Whether the object and its keys may be missing.
    pub optional: bool,
    /// The mode of files that have no own.
    pub mode: u32,
}

/// What came together so far.
#[derive(Debug, Default)]
pub struct Collected {
    files: BTreeMap<PathBuf, File>,
    /// Whatever went wrong, in upstream's words.
    pub failed: Vec<String>,
    /// The kind of an object that was not yet looked up.
    pub unknown: Option<&'static str>,
    /// Whether something is on its way.
    pub awaited: bool,
}

impl Collected {
    /// The object, or nothing in its place if it may be missing; `None` if that is the volume's trouble.
    pub fn object<K>(
        &mut self,
        kind: &'static str,
        keyed: &Keyed<'_>,
        seen: &Seen<K>,
    ) -> Option<Option<Arc<K>>> {
        match seen {
            Seen::There(object) => return Some(Some(object.clone())),
            Seen::Missing if keyed.optional => return Some(None),
            Seen::Missing => self
                .failed
                .push(format!("{kind} \"{}\" not found", keyed.name)),
            Seen::Unknown => self.unknown = Some(kind),
        }
        None
    }

    /// The files of an object's keys; `missing` is what is said of a key that is not there.
    pub fn keys(&mut self, missing: &str, keyed: &Keyed<'_>, data: &BTreeMap<&str, &[u8]>) {
        let Some(items) = keyed.items.filter(|items| !items.is_empty()) else {
            for (key, value) in data {
                self.put(key, value.to_vec(), keyed.mode);
            }
            return;
        };
        for item in items {
            match data.get(item.key.as_str()) {
                Some(value) => self.put(&item.path, value.to_vec(), item_mode(item, keyed.mode)),
                None if keyed.optional => {}
                None => {
                    self.failed.push(format!("{missing}: {}", item.key));
                    return;
                }
            }
        }
    }

    /// A file of the node's.
    pub fn put(&mut self, path: &str, data: Vec<u8>, mode: u32) {
        let Some(path) = clean(path) else {
            let message = format!("invalid path: must be relative, without '..': {path}");
            return self.failed.push(message);
        };
        let file = File {
            path: path.clone(),
            data,
            mode,
            user: None,
        };
        self.files.insert(path, file);
    }

    /// Gives a file to a user.
    pub fn own(&mut self, path: &str, user: Option<u32>) {
        if let Some(file) = clean(path).and_then(|path| self.files.get_mut(&path)) {
            file.user = user;
        }
    }

    /// All files, or what keeps them from being there.
    pub fn finish(mut self) -> Result<Vec<File>, Lack> {
        if let Some(kind) = self.unknown {
            return Err(Lack::Unknown(kind));
        }
        // As Go's aggregated errors: each once, in brackets when there are several.
        let mut told = Vec::new();
        for message in std::mem::take(&mut self.failed) {
            if !told.contains(&message) {
                told.push(message);
            }
        }
        match told.as_mut_slice() {
            [] if self.awaited => Err(Lack::Awaited),
            [] => Ok(self.files.into_values().collect()),
            [one] => Err(Lack::Failed(std::mem::take(one))),
            several => Err(Lack::Failed(format!("[{}]", several.join(", ")))),
        }
    }
}

/// The path without detours; `None` when it leads out of the volume or into what the writer keeps there.
fn clean(path: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            _ => return None,
        }
    }
    let first = clean.components().next()?;
    let kept = first.as_os_str().as_encoded_bytes().starts_with(b"..");
    (!kept).then_some(clean)
}
