//! Writes images as archives: layers from files, and the OCI or docker archive around them.
//!
//! For images that are made without a builder or registry. The same input gives the same bytes: times
//! are fixed, and entries keep the order in which they were added.

use std::io::{self, Write};

use serde_json::json;
use tar::{EntryType, Header};

use super::manifest::{
    ConfigFile, Descriptor, Index, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform, RootFs,
    architecture,
};
use super::{Digest, ImageConfig, ImageRef};

/// `org.opencontainers.image.ref.name`.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Containerd's annotation with the whole name.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Owner and mode of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Owner {
    /// root:root with the mode.
    pub fn root(mode: u32) -> Self {
        Self {
            uid: 0,
            gid: 0,
            mode,
        }
    }
}

/// A layer in the making. Paths are given without a leading slash.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
        }
    }
}

impl Layer {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str, owner: Owner) -> io::Result<&mut Self> {
        self.append(path, EntryType::Directory, owner, None, &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8], owner: Owner) -> io::Result<&mut Self> {
        self.append(path, EntryType::Regular, owner, None, content)
    }

    /// Adds a symlink.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<&mut Self> {
        self.append(
            path,
            EntryType::Symlink,
            Owner::root(0o777),
            Some(target),
            &[],
        )
    }

    /// Adds a second name of a file that was added before.
    pub fn hard_link(&mut self, path: &str, target: &str) -> io::Result<&mut Self> {
        self.append(path, EntryType::Link, Owner::root(0o644), Some(target), &[])
    }

    fn append(
        &mut self,
        path: &str,
        kind: EntryType,
        owner: Owner,
        link: Option<&str>,
        content: &[u8],
    ) -> io::Result<&mut Self> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(owner.mode);
        header.set_uid(owner.uid.into());
        header.set_gid(owner.gid.into());
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        match link {
            Some(target) => self.tar.append_link(&mut header, path, target)?,
            None => self.tar.append_data(&mut header, path, content)?,
        }
        Ok(self)
    }

    /// The layer's archive, uncompressed.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }
}

/// An image to be written.
#[derive(Debug, Clone, Default)]
pub struct ImageArchive {
    /// Its names.
    pub names: Vec<ImageRef>,
    /// How to run it.
    pub config: ImageConfig,
    /// Its layers' archives, uncompressed, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl ImageArchive {
    /// Writes an OCI image layout in one tar archive, its layers compressed by gzip.
    pub fn write_oci(&self, out: impl Write) -> io::Result<()> {
        let layers = self
            .layers
            .iter()
            .map(|layer| gzip(layer))
            .collect::<io::Result<Vec<_>>>()?;
        let config = self.config_file()?;
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: descriptor(OCI_CONFIG, &config),
            layers: layers
                .iter()
                .map(|layer| descriptor(LAYER_TYPE, layer))
                .collect(),
        })?;
        let mut tar = tar::Builder::new(out);
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(
            &mut tar,
            "index.json",
            &serde_json::to_vec(&self.index(&manifest))?,
        )?;
        let mut written = std::collections::HashSet::new();
        for blob in [&manifest, &config].into_iter().chain(&layers) {
            let digest = Digest::of(blob);
            if written.insert(digest.clone()) {
                append(&mut tar, &format!("blobs/sha256/{}", digest.hex()), blob)?;
            }
        }
        tar.into_inner()?.flush()
    }

    /// Writes what `docker save` wrote before version 25: `manifest.json` and plain layers.
    pub fn write_docker(&self, out: impl Write) -> io::Result<()> {
        let config = self.config_file()?;
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let mut tar = tar::Builder::new(out);
        append(&mut tar, &config_name, &config)?;
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", Digest::of(layer).hex());
            if !names.contains(&name) {
                append(&mut tar, &name, layer)?;
            }
            names.push(name);
        }
        let tags: Vec<String> = self.names.iter().map(ImageRef::to_string).collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
        append(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?)?;
        tar.into_inner()?.flush()
    }

    fn config_file(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&ConfigFile {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: Some(self.config.clone()),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: self.layers.iter().map(|layer| Digest::of(layer)).collect(),
            },
        })?)
    }

    fn index(&self, manifest: &[u8]) -> Index {
        let platform = Platform {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            variant: None,
        };
        let entry = |name: &ImageRef| Descriptor {
            platform: Some(platform.clone()),
            annotations: [
                (IMAGE_NAME.to_owned(), name.to_string()),
                (
                    REF_NAME.to_owned(),
                    name.tag().unwrap_or("latest").to_owned(),
                ),
            ]
            .into(),
            ..descriptor(OCI_MANIFEST, manifest)
        };
        Index {
            schema_version: 2,
            media_type: super::manifest::OCI_INDEX.to_owned(),
            manifests: self.names.iter().map(entry).collect(),
        }
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(content),
        size: content.len() as u64,
        platform: None,
        annotations: Default::default(),
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)
}
