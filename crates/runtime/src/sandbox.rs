//! Pod sandboxes: namespaces, network and the files that tell a pod who it is.

mod address;
mod etc;
mod network;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use jiff::Timestamp;
use karve_sys::netns;
use nix::mount::{MsFlags, mount};

use crate::config::{PodNetwork, SandboxConfig};
use crate::error::RuntimeError;
use crate::files::{self, Durability};
use crate::layout::{Layout, Pod};
use crate::mounts;
use crate::status::SandboxStatus;

pub(crate) use address::Addresses;

/// The pod's sandbox as it was written down; `None` when there is none.
pub(crate) fn read(pod: &Pod) -> Result<Option<SandboxStatus>, RuntimeError> {
    let path = pod.record();
    files::read_json(&path).map_err(RuntimeError::io("read", &path))
}

/// Makes a sandbox. On failure nothing of it is left.
pub(crate) fn create(
    layout: &Layout,
    addresses: &Addresses,
    config: SandboxConfig,
) -> Result<SandboxStatus, RuntimeError> {
    let pod = layout.pod(&config.uid);
    let status = addresses.reserve(layout, config)?;
    match build(&pod, status) {
        Ok(status) => Ok(status),
        Err(error) => {
            if let Err(error) = remove(&pod) {
                tracing::warn!(pod = %pod.dir.display(), error = %error.chain(), "failed sandbox stays behind");
            }
            Err(error)
        }
    }
}

fn build(pod: &Pod, mut status: SandboxStatus) -> Result<SandboxStatus, RuntimeError> {
    etc::write(pod, &status).map_err(RuntimeError::io("write files of", &pod.dir))?;
    let namespaces = pod.namespaces();
    files::make_private_dirs(&namespaces)
        .map_err(RuntimeError::io("make directory", &namespaces))?;
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| RuntimeError::Network {
        uid: status.config.uid.clone(),
        source,
    };
    let sandbox = netns::create_sandbox(&namespaces, &status.config.hostname)
        .map_err(|error| failed(Box::new(error)))?;
    let shm = pod.shm();
    mount_shm(&shm).map_err(RuntimeError::io("mount tmpfs at", &shm))?;
    if let (PodNetwork::Pod { node_ip, .. }, Some(ip), Some(interface)) =
        (status.config.network, status.ip, &status.interface)
    {
        network::connect(&sandbox.net, interface, ip, node_ip)
            .map_err(|error| failed(Box::new(error)))?;
    }
    status.ready = true;
    write(pod, &status)?;
    Ok(status)
}

pub(crate) fn write(pod: &Pod, status: &SandboxStatus) -> Result<(), RuntimeError> {
    let path = pod.record();
    files::write_json(&path, status, Durability::Volatile).map_err(RuntimeError::io("write", &path))
}

/// Takes down the pod's network and namespaces; its record and files stay.
pub(crate) fn stop(pod: &Pod, status: &mut SandboxStatus) -> Result<(), RuntimeError> {
    disconnect(status)?;
    release(pod)?;
    status.ready = false;
    // Gone, and with it the claim on the address.
    status.interface = None;
    write(pod, status)
}

/// Removes all of the sandbox. Its containers must be gone.
pub(crate) fn remove(pod: &Pod) -> Result<(), RuntimeError> {
    // A record that can't be read any more must not keep the pod for ever: the link ends with its namespace.
    if let Ok(Some(status)) = read(pod) {
        disconnect(&status)?;
    }
    release(pod)?;
    for dir in [&pod.dir, &pod.data] {
        files::allow_absent(fs::remove_dir_all(dir)).map_err(RuntimeError::io("remove", dir))?;
    }
    Ok(())
}

fn disconnect(status: &SandboxStatus) -> Result<(), RuntimeError> {
    let (Some(interface), Some(ip)) = (&status.interface, status.ip) else {
        return Ok(());
    };
    network::disconnect(interface, ip).map_err(|error| RuntimeError::Network {
        uid: status.config.uid.clone(),
        source: Box::new(error),
    })
}

/// Unmounts what the sandbox holds.
fn release(pod: &Pod) -> Result<(), RuntimeError> {
    let namespaces = pod.namespaces();
    netns::remove_sandbox(&namespaces).map_err(|error| {
        RuntimeError::io("unpin namespaces in", &namespaces)(io::Error::other(error))
    })?;
    let shm = pod.shm();
    mounts::unmount(&shm).map_err(RuntimeError::io("unmount", &shm))
}

/// The `/dev/shm` that the pod's containers share, as large as docker's and containerd's.
fn mount_shm(target: &Path) -> io::Result<()> {
    files::make_private_dirs(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("shm"),
        target,
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=65536k"),
    )?;
    Ok(())
}

/// A new record, not yet ready.
fn record(config: SandboxConfig, ip: Option<Ipv4Addr>) -> SandboxStatus {
    let interface = ip.map(|_| network::interface_name(&config.uid));
    SandboxStatus {
        config,
        ip,
        interface,
        created_at: Timestamp::now(),
        ready: false,
    }
}
