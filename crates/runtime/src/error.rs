//! Why the runtime could not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::images;

/// A failed runtime operation. `Display` is the action only; the cause is in the chain.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such sandbox or container.
    #[error("no {kind} {id}")]
    NotFound {
        /// `sandbox` or `container`.
        kind: &'static str,
        /// Its identity.
        id: String,
    },
    /// The configuration can't be carried out as it stands (`CreateContainerConfigError`).
    #[error("{message}")]
    Config {
        /// What is wrong, as the kubelet shows it.
        message: String,
    },
    /// The container was created and could not be started (`StartError`, exit code 128). Its state
    /// is [`crate::ContainerState::Exited`] with the same text.
    #[error("{message}")]
    Start {
        /// Containerd's text.
        message: String,
    },
    /// The node's pod CIDR has no free address.
    #[error("no free address in {cidr}")]
    AddressesExhausted {
        /// The CIDR.
        cidr: ipnet::Ipv4Net,
    },
    /// The pod's network could not be set up.
    #[error("set up network of sandbox {uid}")]
    Network {
        /// The pod.
        uid: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The image is not what it should be.
    #[error(transparent)]
    Image(#[from] images::ImageError),
    /// The shim did not answer in time, or not in words that we know.
    #[error("{action} shim of container {id}")]
    Shim {
        /// What was tried.
        action: &'static str,
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step on a file, mount or cgroup failed.
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
    /// A worker thread of the runtime panicked, or the process is shutting down.
    #[error("run a blocking step")]
    Join(#[from] tokio::task::JoinError),
}

impl RuntimeError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// The error and its causes in one line, as the kubelet puts it into an event.
    pub fn chain(&self) -> String {
        error_chain(self)
    }
}

/// An error and its causes, joined by `: `.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error number in Go's words, which write the C library's in lower case.
pub(crate) fn errno_text(number: i32) -> String {
    nix::errno::Errno::from_raw(number).desc().to_lowercase()
}
