//! The containerd role: images, pod sandboxes, and containers that outlive the process that asked for them.
//!
//! - [`images`]: the machine's content store, shared by all local nodes; load, pull, and a socket service.
//! - [`Runtime`]: one node's sandboxes and containers. It keeps no truth in memory: everything is on
//!   disk, so a runtime opened again on the same directories finds what runs and disturbs none of it.
//! - [`shim`]: the process that is a container's parent. `libcontainer` runs there and nowhere else.
//!
//! Invariant: no code of `libcontainer` ever runs in the process that opened [`Runtime`] (it forks,
//! changes directory and takes limits for a single-threaded caller). Absent on purpose: restart
//! policy, probes, volumes (the kubelet role decides those) and anything that knows the Kubernetes API.

mod cgroup;
mod cleanup;
mod config;
mod devices;
mod error;
mod files;
pub mod images;
mod layout;
mod mounts;
mod process;
mod record;
mod rooted;
mod rootfs;
mod runtime;
mod sandbox;
pub mod shim;
mod spec;
mod status;
mod users;

pub use cleanup::cleanup;
pub use config::{
    ContainerConfig, DnsConfig, HostAlias, Mount, POD_GATEWAY, PodNetwork, Resources,
    SandboxConfig, Security,
};
pub use error::RuntimeError;
pub use runtime::{Options, Runtime};
pub use status::{ContainerState, ContainerStatus, ContainerUser, Event, PodStatus, SandboxStatus};
