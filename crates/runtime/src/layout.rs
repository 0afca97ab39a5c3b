//! Where a node's runtime keeps its files.
//!
//! ```text
//! RUN/ipam.json                       the address given last
//! RUN/pods/UID/sandbox.json           the sandbox
//! RUN/pods/UID/{hosts,hostname,resolv.conf}
//! RUN/pods/UID/ns/{net,uts,ipc}       pinned namespaces
//! RUN/pods/UID/shm/                   tmpfs shared by the pod's containers
//! RUN/pods/UID/containers/ID/         see `Container`
//! DATA/containers/UID/ID/{upper,work} the container's writable layer
//! ```
//!
//! RUN is gone after a reboot, and so is everything that it describes.

use std::path::{Path, PathBuf};

/// A node's directories.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) run: PathBuf,
    pub(crate) data: PathBuf,
}

impl Layout {
    pub(crate) fn pods(&self) -> PathBuf {
        self.run.join("pods")
    }

    pub(crate) fn pod(&self, uid: &str) -> Pod {
        Pod {
            dir: self.pods().join(uid),
            data: self.writable_layers().join(uid),
        }
    }

    /// Writable layers, by pod and container.
    pub(crate) fn writable_layers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn last_address(&self) -> PathBuf {
        self.run.join("ipam.json")
    }
}

/// A pod's directories.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) dir: PathBuf,
    pub(crate) data: PathBuf,
}

impl Pod {
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("sandbox.json")
    }

    pub(crate) fn namespaces(&self) -> PathBuf {
        self.dir.join("ns")
    }

    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        self.dir.join("ns").join(kind)
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.dir.join("shm")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.dir.join("hostname")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.dir.join("containers")
    }

    pub(crate) fn container(&self, id: &str) -> Container {
        Container {
            dir: self.containers().join(id),
            data: self.data.join(id),
        }
    }
}

/// A container's directories; `dir` is also its OCI bundle.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) dir: PathBuf,
    pub(crate) data: PathBuf,
}

impl Container {
    /// The directory alone, as the shim knows it.
    pub(crate) fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            data: PathBuf::new(),
        }
    }

    /// What it was created from.
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("container.json")
    }

    /// The OCI configuration.
    pub(crate) fn spec(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// What the shim has to know besides.
    pub(crate) fn launch(&self) -> PathBuf {
        self.dir.join("launch.json")
    }

    /// Written by the shim: which processes there are.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Written when the container has ended; its end is final when this is there.
    pub(crate) fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    /// Where the root filesystem is mounted, in the shim's mount namespace.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// `libcontainer`'s own state.
    pub(crate) fn oci_state(&self) -> PathBuf {
        self.dir.join("oci")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.data.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.data.join("work")
    }
}
