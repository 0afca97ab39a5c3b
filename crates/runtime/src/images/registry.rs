//! Pulls images from registries.
//!
//! Registries on loopback are spoken to in plain HTTP, as containerd and docker do; all others by TLS.
//! Absent for now: credentials (image pull secrets), mirrors, and resuming a download.

mod download;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::manifest::{self, DOCUMENT_MAX, Descriptor, Document, MANIFEST_TYPES, Manifest};
use super::store::{Adding, NewImage};
use super::{Digest, Image, ImageError, ImageRef, Store};

/// Most layers downloaded at once, over all pulls (containerd's `max_concurrent_downloads` is per pull).
const DOWNLOADS_MAX: usize = 6;
/// Longest silence of a registry.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Progress {
    /// The reference is being looked up.
    Resolving,
    /// Bytes of a layer have arrived; sent now and then.
    Downloading {
        /// The compressed layer.
        layer: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A layer is here.
    LayerDone {
        /// The compressed layer.
        layer: Digest,
    },
}

/// Pulls into a store. Cheap to clone; clones share the limits.
#[derive(Debug, Clone)]
pub struct Puller {
    store: Store,
    downloads: Arc<Semaphore>,
    /// One pull at a time for a reference: the next finds the layers here.
    references: Arc<Mutex<HashMap<ImageRef, std::sync::Weak<tokio::sync::Mutex<()>>>>>,
}

impl Puller {
    /// A puller into `store`.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            references: Arc::default(),
        }
    }

    /// Pulls the image, also when one of that name is here. Errors have containerd's words.
    pub async fn pull(
        &self,
        reference: &ImageRef,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, ImageError> {
        let turn = self.turn(reference);
        let _turn = turn.lock().await;
        let session = Session::open(reference).map_err(|error| error.at(reference))?;
        progress(Progress::Resolving);
        let resolved = session
            .resolve()
            .await
            .map_err(|error| error.resolving(reference, &session.url).at(reference))?;
        let store = self.store.clone();
        let adding = tokio::task::spawn_blocking(move || store.add()).await??;
        let config = session
            .document(&resolved.manifest.config)
            .await
            .map_err(|e| e.at(reference))?;
        let parsed = manifest::parse_config(&config, resolved.manifest.layers.len())?;
        let adding = Arc::new(adding);
        let mut layers = Vec::with_capacity(resolved.manifest.layers.len());
        for (layer, diff_id) in resolved.manifest.layers.iter().zip(&parsed.rootfs.diff_ids) {
            layers.push(self.layer(&session, &adding, layer, diff_id, progress));
        }
        try_join_all(layers)
            .await
            .map_err(|error| error.at(reference))?;
        let adding = Arc::into_inner(adding).expect("all layer tasks have ended");
        let new = NewImage {
            reference: reference.clone(),
            manifest: resolved.bytes,
            config,
            pulled: Some(resolved.digest),
        };
        let images = tokio::task::spawn_blocking(move || adding.commit(vec![new])).await??;
        Ok(images.into_iter().next().expect("one image was committed"))
    }

    fn turn(&self, reference: &ImageRef) -> Arc<tokio::sync::Mutex<()>> {
        let mut references = self.references.lock();
        references.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = references.get(reference).and_then(std::sync::Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        references.insert(reference.clone(), Arc::downgrade(&turn));
        turn
    }

    async fn layer(
        &self,
        session: &Session,
        adding: &Arc<Adding>,
        layer: &Descriptor,
        diff_id: &Digest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), PullError> {
        if !adding
            .store()
            .has_layer(diff_id)
            .map_err(PullError::Store)?
        {
            let _permit = self
                .downloads
                .acquire()
                .await
                .expect("the semaphore is never closed");
            let path = adding
                .staging()
                .join(format!("blob-{}", layer.digest.hex()));
            let archive = download::to_file(session, layer, &path, progress).await?;
            let (adding, diff_id) = (Arc::clone(adding), diff_id.clone());
            tokio::task::spawn_blocking(move || {
                let result = adding.layer(&diff_id, archive);
                drop(adding);
                result
            })
            .await
            .map_err(|error| PullError::Store(error.into()))?
            .map_err(PullError::Store)?;
            let _ = tokio::fs::remove_file(&path).await;
        }
        progress(Progress::LayerDone {
            layer: layer.digest.clone(),
        });
        Ok(())
    }
}

/// A registry and one of its repositories.
struct Session {
    client: Client,
    reference: Reference,
    url: String,
}

/// What a reference means on this machine.
struct Resolved {
    /// Digest of what the reference names: a manifest, or the index of several.
    digest: Digest,
    bytes: Vec<u8>,
    manifest: Manifest,
}

impl Session {
    fn open(reference: &ImageRef) -> Result<Self, PullError> {
        // Another part of the process may have chosen a provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = is_loopback(reference.domain());
        let protocol = if plain {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        };
        let config = ClientConfig {
            protocol,
            read_timeout: Some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: concat!("karve/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let reference: Reference = reference
            .to_string()
            .parse()
            .map_err(|e| PullError::Other(format!("{e}")))?;
        let name = reference.digest().or(reference.tag()).unwrap_or("latest");
        let (scheme, host) = (
            if plain { "http" } else { "https" },
            registry_host(&reference),
        );
        let url = format!(
            "{scheme}://{host}/v2/{}/manifests/{name}",
            reference.repository()
        );
        Ok(Self {
            client: Client::try_from(config)?,
            reference,
            url,
        })
    }

    async fn resolve(&self) -> Result<Resolved, PullError> {
        let (bytes, digest) = self.manifest(&self.reference).await?;
        let index = match parse_document(&bytes)? {
            Document::Manifest(manifest) => {
                return Ok(Resolved {
                    digest,
                    bytes,
                    manifest,
                });
            }
            Document::Index(index) => index,
        };
        let chosen = index
            .choose()
            .ok_or_else(|| PullError::NoPlatform(manifest::architecture()))?;
        let reference = self.reference.clone_with_digest(chosen.digest.to_string());
        let (bytes, _) = self.manifest(&reference).await?;
        match parse_document(&bytes)? {
            Document::Manifest(manifest) => Ok(Resolved {
                digest,
                bytes,
                manifest,
            }),
            Document::Index(_) => Err(PullError::Other("index names an index".to_owned())),
        }
    }

    async fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, Digest), PullError> {
        let (bytes, _) = self
            .client
            .pull_manifest_raw(reference, &RegistryAuth::Anonymous, &MANIFEST_TYPES)
            .await?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(PullError::Other(format!(
                "manifest has more than {DOCUMENT_MAX} bytes"
            )));
        }
        let digest = Digest::of(&bytes);
        match reference.digest() {
            Some(wanted) if wanted != digest.as_str() => Err(PullError::Other(format!(
                "manifest has digest {digest}, not {wanted}"
            ))),
            _ => Ok((bytes.to_vec(), digest)),
        }
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, PullError> {
        if descriptor.size > DOCUMENT_MAX {
            return Err(PullError::Other(format!(
                "image configuration has more than {DOCUMENT_MAX} bytes"
            )));
        }
        let mut bytes = Vec::new();
        download::copy(self, descriptor, &mut bytes, &|_| {}).await?;
        Ok(bytes)
    }
}

/// The first cause, in Go's words where they are known: what lies between repeats the URL only.
fn root_cause(error: &(dyn std::error::Error + 'static), host: &str) -> String {
    use std::io::ErrorKind;
    let first = std::iter::successors(Some(error), |error| error.source())
        .last()
        .unwrap_or(error);
    let failed = first.downcast_ref::<std::io::Error>();
    match failed.and_then(|error| Some((error.kind(), error.raw_os_error()?))) {
        Some((
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut,
            number,
        )) => format!(
            "dial tcp {host}: connect: {}",
            crate::error::errno_text(number)
        ),
        _ => first.to_string(),
    }
}

fn parse_document(bytes: &[u8]) -> Result<Document, PullError> {
    manifest::parse(bytes, "manifest").map_err(PullError::Store)
}

fn registry_host(reference: &Reference) -> &str {
    match reference.resolve_registry() {
        "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// `localhost` and loopback addresses, with or without a port.
fn is_loopback(domain: &str) -> bool {
    let host = match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => domain.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why a pull failed, before it is put into containerd's words.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("not found")]
    NotFound,
    #[error("no match for platform in manifest: linux/{0}")]
    NoPlatform(&'static str),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Store(ImageError),
    /// Already in containerd's words.
    #[error("{message}")]
    Resolve { message: String, not_found: bool },
    #[error("{}", crate::error::error_chain(.0))]
    Registry(OciDistributionError),
}

impl From<OciDistributionError> for PullError {
    fn from(error: OciDistributionError) -> Self {
        let is_missing = |code: &OciErrorCode| {
            matches!(
                code,
                OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
            )
        };
        match &error {
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => Self::NotFound,
            OciDistributionError::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|e| is_missing(&e.code)) =>
            {
                Self::NotFound
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Other(
                "pull access denied, repository does not exist or may require authorization: \
                     server message: insufficient_scope: authorization failed"
                    .to_owned(),
            ),
            _ => Self::Registry(error),
        }
    }
}

impl PullError {
    /// The reference could not be resolved.
    fn resolving(self, reference: &ImageRef, url: &str) -> Self {
        let not_found = matches!(self, Self::NotFound);
        let cause = match self {
            Self::NotFound => format!("{reference}: not found"),
            Self::Registry(error) => format!(
                "failed to do request: Head \"{url}\": {}",
                root_cause(&error, reference.domain())
            ),
            other => other.to_string(),
        };
        Self::Resolve {
            message: format!("failed to resolve reference \"{reference}\": {cause}"),
            not_found,
        }
    }

    /// The whole text.
    fn at(self, reference: &ImageRef) -> ImageError {
        let not_found = matches!(
            self,
            Self::NotFound
                | Self::Resolve {
                    not_found: true,
                    ..
                }
        );
        match self {
            Self::Store(error @ (ImageError::Io { .. } | ImageError::Join(_))) => error,
            other => {
                let message = format!("failed to pull and unpack image \"{reference}\": {other}");
                if not_found {
                    ImageError::NotFound { message }
                } else {
                    ImageError::Pull { message }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_registries_are_known() {
        for (domain, plain) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:1", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("docker.io", false),
            ("10.0.0.1:5000", false),
            ("localhost.example", false),
        ] {
            assert_eq!(is_loopback(domain), plain, "{domain}");
        }
    }
}
