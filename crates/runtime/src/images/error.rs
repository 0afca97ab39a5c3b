//! Why an image is not to be had.

use std::io;
use std::path::{Path, PathBuf};

/// A failed image operation. Its `Display` is the whole text as containerd words it for the kubelet,
/// because that text crosses a socket and is shown to users; causes are in the chain all the same.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference can't be parsed (`InvalidImageName`).
    #[error("invalid reference format{}", .reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    InvalidReference {
        /// As given.
        reference: String,
        /// More words, if any.
        reason: Option<String>,
    },
    /// The image is not here, or the registry has none of that name (`ErrImagePull`).
    #[error("{message}")]
    NotFound {
        /// The whole text.
        message: String,
    },
    /// The pull failed for another reason (`ErrImagePull`).
    #[error("{message}")]
    Pull {
        /// The whole text.
        message: String,
    },
    /// An archive or its content is not what it claims to be; nothing of it was kept.
    #[error("{message}")]
    Corrupt {
        /// The whole text.
        message: String,
    },
    /// The image service did not answer, or not in words that we know.
    #[error("ask image service at {}", path.display())]
    Service {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step on the store's files failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A worker thread panicked, or the process is shutting down.
    #[error("run a blocking step")]
    Join(#[from] tokio::task::JoinError),
}

impl ImageError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Content that is not what it claims to be.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::Corrupt {
            message: message.into(),
        }
    }

    /// The gRPC code that containerd's CRI gives for this error, as it stands in kubelet's messages
    /// (`rpc error: code = NotFound desc = …`).
    pub fn rpc_code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NotFound",
            Self::InvalidReference { .. } => "InvalidArgument",
            _ => "Unknown",
        }
    }
}
