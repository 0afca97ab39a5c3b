//! Manifests, indexes and configurations as registries and archives hold them, and the choice of a
//! platform among several.

use serde::{Deserialize, Serialize};

use super::{Digest, ImageConfig, ImageError};

/// Largest manifest, index or configuration that is read (registries accept 4 MiB).
pub(crate) const DOCUMENT_MAX: u64 = 4 << 20;
/// Most layers of an image (overlayfs takes 500).
pub(crate) const LAYERS_MAX: usize = 500;

/// The media types asked for in a pull.
pub(crate) const MANIFEST_TYPES: [&str; 4] = [
    OCI_MANIFEST,
    OCI_INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A reference to content by its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

/// What an entry of an index runs on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

/// A manifest or an index; which one shows in what it has.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// An image manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// An image index, or docker's manifest list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// The part of an image configuration that running it needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) config: Option<ImageConfig>,
    pub(crate) rootfs: RootFs,
}

/// The layers of an image by the digests of their uncompressed archives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads a document; `what` names it in the error.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &str,
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::corrupt(format!("{what}: {error}")))
}

/// Reads a configuration and checks that it goes with its manifest.
pub(crate) fn parse_config(bytes: &[u8], layers: usize) -> Result<ConfigFile, ImageError> {
    let config: ConfigFile = parse(bytes, "image configuration")?;
    if config.rootfs.diff_ids.len() != layers {
        return Err(ImageError::corrupt(format!(
            "image configuration names {} layers, manifest {layers}",
            config.rootfs.diff_ids.len()
        )));
    }
    if layers > LAYERS_MAX {
        return Err(ImageError::corrupt(format!(
            "image has {layers} layers, more than {LAYERS_MAX}"
        )));
    }
    Ok(config)
}

/// This machine's architecture in Go's words, which image indexes use.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

impl Index {
    /// The manifest for this machine; an entry that names no platform will do when there is no other.
    pub(crate) fn choose(&self) -> Option<&Descriptor> {
        let fits =
            |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
        self.manifests
            .iter()
            .find(|entry| entry.platform.as_ref().is_some_and(fits))
            .or_else(|| self.manifests.iter().find(|entry| entry.platform.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, arch: &str, digit: char) -> String {
        format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"sha256:{}","size":1,"platform":{{"os":"{os}","architecture":"{arch}"}}}}"#,
            digit.to_string().repeat(64)
        )
    }

    #[test]
    fn index_is_told_from_manifest_and_gives_this_platform() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            entry("windows", architecture(), 'a'),
            entry("linux", "other", 'b'),
            entry("linux", architecture(), 'c'),
        );
        let Document::Index(index) = parse(text.as_bytes(), "index").expect("parse") else {
            panic!("not an index")
        };
        assert!(
            index
                .choose()
                .expect("choose")
                .digest
                .hex()
                .starts_with('c')
        );
    }

    #[test]
    fn index_without_this_platform_gives_nothing() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entry("linux", "other", 'b')
        );
        let index: Index = parse(text.as_bytes(), "index").expect("parse");
        assert!(index.choose().is_none());
    }
}
