//! Loads archives: OCI image layouts in a tar, and what `docker save` writes; plain or compressed.
//!
//! An archive may name its parts in any order, so its files are first laid out beside the store, each
//! under a number and with its digest; then the index is followed. An archive counts whole or not at all.

mod staged;

use std::fs::File;
use std::path::Path;

use serde::Deserialize;

use self::staged::Staged;
use super::archive::{IMAGE_NAME, REF_NAME};
use super::manifest::{
    self, ConfigFile, Descriptor, Document, Index, Manifest, OCI_CONFIG, OCI_MANIFEST,
};
use super::store::{Adding, NewImage};
use super::{Digest, Image, ImageError, ImageRef, Store};

/// How deep indexes may name indexes.
const INDEX_DEPTH_MAX: usize = 4;

/// One element of docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<ImageRef>>,
    layers: Vec<String>,
}

impl Store {
    /// Loads all images of an archive; they have the names that the archive gives them.
    pub fn load(&self, archive: &Path) -> Result<Vec<Image>, ImageError> {
        let file = File::open(archive).map_err(ImageError::io("open archive", archive))?;
        let adding = self.add()?;
        let images = Loading {
            adding: &adding,
            archive,
        }
        .images(file)
        .map_err(|error| match error {
            ImageError::Corrupt { message } => {
                ImageError::corrupt(format!("load archive {}: {message}", archive.display()))
            }
            other => other,
        })?;
        adding.commit(images)
    }
}

struct Loading<'a> {
    adding: &'a Adding,
    archive: &'a Path,
}

impl Loading<'_> {
    fn images(&self, file: File) -> Result<Vec<NewImage>, ImageError> {
        let staged = Staged::extract(file, self.adding.staging(), self.archive)?;
        let images = if staged.has("index.json") {
            self.oci(&staged)?
        } else if staged.has("manifest.json") {
            self.docker(&staged)?
        } else {
            return Err(ImageError::corrupt(
                "neither index.json nor manifest.json: not an image archive",
            ));
        };
        if images.is_empty() {
            return Err(ImageError::corrupt("gives no image a name"));
        }
        Ok(images)
    }

    fn oci(&self, staged: &Staged) -> Result<Vec<NewImage>, ImageError> {
        let index: Index = manifest::parse(&staged.document("index.json")?, "index.json")?;
        let fallback = match staged.has("manifest.json") {
            true => docker_images(staged)?,
            false => Vec::new(),
        };
        let mut images = Vec::new();
        for entry in index.manifests.iter().filter(|entry| runs_here(entry)) {
            let Some(bytes) = self.oci_manifest(staged, entry)? else {
                continue;
            };
            let document: Manifest = manifest::parse(&bytes, "manifest")?;
            let config = staged.blob_document(&document.config)?;
            let parsed = manifest::parse_config(&config, document.layers.len())?;
            for (layer, diff_id) in document.layers.iter().zip(&parsed.rootfs.diff_ids) {
                self.adding.layer(diff_id, staged.blob(layer)?)?;
            }
            for reference in names(entry, &document, &fallback)? {
                let (manifest, config) = (bytes.clone(), config.clone());
                images.push(NewImage {
                    reference,
                    manifest,
                    config,
                    pulled: None,
                });
            }
        }
        Ok(images)
    }

    /// The manifest that an entry means on this machine; `None` when it is for others only.
    fn oci_manifest(
        &self,
        staged: &Staged,
        entry: &Descriptor,
    ) -> Result<Option<Vec<u8>>, ImageError> {
        let mut entry = entry.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = staged.blob_document(&entry)?;
            match manifest::parse::<Document>(&bytes, "manifest")? {
                Document::Manifest(_) => return Ok(Some(bytes)),
                Document::Index(index) => match index.choose() {
                    Some(chosen) => entry = chosen.clone(),
                    None => return Ok(None),
                },
            }
        }
        Err(ImageError::corrupt("indexes are nested too deeply"))
    }

    fn docker(&self, staged: &Staged) -> Result<Vec<NewImage>, ImageError> {
        let mut images = Vec::new();
        for image in docker_images(staged)? {
            let config = staged.document(&image.config)?;
            check_config_name(&image.config, &config)?;
            let parsed = manifest::parse_config(&config, image.layers.len())?;
            let manifest = self.docker_manifest(staged, &image, &config, &parsed)?;
            for reference in image.repo_tags.unwrap_or_default() {
                let (manifest, config) = (manifest.clone(), config.clone());
                images.push(NewImage {
                    reference,
                    manifest,
                    config,
                    pulled: None,
                });
            }
        }
        Ok(images)
    }

    /// Unpacks the layers, and writes the manifest that such archives lack.
    fn docker_manifest(
        &self,
        staged: &Staged,
        image: &DockerImage,
        config: &[u8],
        parsed: &ConfigFile,
    ) -> Result<Vec<u8>, ImageError> {
        let mut layers = Vec::with_capacity(image.layers.len());
        for (name, diff_id) in image.layers.iter().zip(&parsed.rootfs.diff_ids) {
            let layer = staged.file(name)?;
            self.adding.layer(diff_id, layer.open()?)?;
            let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
            layers.push(plain_descriptor(
                media_type,
                layer.digest.clone(),
                layer.size,
            ));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: plain_descriptor(
                OCI_CONFIG.to_owned(),
                Digest::of(config),
                config.len() as u64,
            ),
            layers,
        };
        serde_json::to_vec(&manifest).map_err(|error| ImageError::corrupt(error.to_string()))
    }
}

fn docker_images(staged: &Staged) -> Result<Vec<DockerImage>, ImageError> {
    manifest::parse(&staged.document("manifest.json")?, "manifest.json")
}

fn plain_descriptor(media_type: String, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type,
        digest,
        size,
        platform: None,
        annotations: Default::default(),
    }
}

/// Docker names a configuration by its digest; then it must have it.
fn check_config_name(name: &str, config: &[u8]) -> Result<(), ImageError> {
    let stem = name
        .strip_suffix(".json")
        .or_else(|| name.strip_prefix("blobs/sha256/"))
        .unwrap_or(name);
    match format!("sha256:{stem}").parse::<Digest>() {
        Ok(digest) if digest != Digest::of(config) => Err(ImageError::corrupt(format!(
            "{name}: content has digest {}",
            Digest::of(config)
        ))),
        _ => Ok(()),
    }
}

fn runs_here(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_none_or(|platform| {
        platform.os == "linux" && platform.architecture == manifest::architecture()
    })
}

/// The names that the archive gives an image, most exact source first.
fn names(
    entry: &Descriptor,
    document: &Manifest,
    docker: &[DockerImage],
) -> Result<Vec<ImageRef>, ImageError> {
    if let Some(name) = entry.annotations.get(IMAGE_NAME) {
        return Ok(vec![parse_name(name)?]);
    }
    // A mere tag (`latest`) names nothing.
    if let Some(name) = entry
        .annotations
        .get(REF_NAME)
        .filter(|name| name.contains([':', '/']))
    {
        return Ok(vec![parse_name(name)?]);
    }
    let config = document.config.digest.hex();
    Ok(docker
        .iter()
        .filter(|image| image.config.contains(config))
        .flat_map(|image| image.repo_tags.clone().unwrap_or_default())
        .collect())
}

fn parse_name(name: &str) -> Result<ImageRef, ImageError> {
    name.parse()
        .map_err(|error| ImageError::corrupt(format!("name {name:?}: {error}")))
}
