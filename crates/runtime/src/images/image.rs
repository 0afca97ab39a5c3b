//! What an image is, as far as running it goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Digest;

/// An image in the content store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The reference by which it was asked for, in full.
    pub reference: String,
    /// Digest of the image's configuration: the ID that the CRI and `docker images` show.
    pub id: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// All names of the image, in full.
    pub names: Vec<String>,
    /// `repository@digest` for each repository it was pulled from; empty for a loaded image.
    pub repo_digests: Vec<String>,
    /// Bytes of its blobs.
    pub size: u64,
    /// Digests of the uncompressed layers, lowest first.
    pub layers: Vec<Digest>,
    /// How to run it.
    pub config: ImageConfig,
}

impl Image {
    /// For `status.containerStatuses[].imageID`: the first repository digest, else the ID.
    pub fn image_id(&self) -> String {
        self.repo_digests
            .first()
            .cloned()
            .unwrap_or_else(|| self.id.to_string())
    }
}

/// The `config` member of an OCI image configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Instead of SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Ports, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}
