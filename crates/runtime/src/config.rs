//! What a pod's sandbox and its containers are to be: the runtime's input, in the runtime's own words.
//!
//! The shapes follow the CRI (`k8s.io/cri-api`), because the kubelet role thinks in them; everything
//! that is the API's business (field references, defaults, volumes) is already decided here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::images::Image;

/// A pod's sandbox: the namespaces that its containers share, and the files that tell them who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The pod's UID; also the sandbox's identity.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The hostname inside the pod.
    pub hostname: String,
    /// The first label of that, for `/etc/hosts`. Empty: the hostname itself.
    #[serde(default)]
    pub short_name: String,
    /// The fully qualified name for `/etc/hosts`, when the pod has a subdomain.
    #[serde(default)]
    pub fqdn: Option<String>,
    /// Where the pod's network comes from.
    pub network: PodNetwork,
    /// `/etc/resolv.conf`; `None` copies the node's own file (`dnsPolicy: Default` of the CRI).
    #[serde(default)]
    pub dns: Option<DnsConfig>,
    /// `spec.hostAliases`.
    #[serde(default)]
    pub host_aliases: Vec<HostAlias>,
    /// The node's own data about the pod, kept and handed back unread.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Where a pod's network comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodNetwork {
    /// `hostNetwork: true`: the namespace of the calling process, so the node's.
    Host,
    /// A namespace of its own with an address out of the node's pod CIDR.
    Pod {
        /// The node's `spec.podCIDR`.
        cidr: Ipv4Net,
        /// The node's own address: the source of what the node itself sends to the pod.
        node_ip: Option<Ipv4Addr>,
    },
}

/// The contents of `/etc/resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<IpAddr>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// One additional line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// A container to create inside a running sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The pod whose sandbox the container joins.
    pub pod_uid: String,
    /// The container's name in the pod.
    pub name: String,
    /// How often a container of this name was created in this pod before (`restartCount`).
    pub attempt: u32,
    /// The image, as [`crate::images::Client`] gave it. Its layers must be in the local content store.
    pub image: Image,
    /// Replaces the image's `Entrypoint` (and drops its `Cmd`) unless empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Replaces the image's `Cmd` unless empty.
    #[serde(default)]
    pub args: Vec<String>,
    /// Replaces the image's `WorkingDir`.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Variables on top of the image's own, in order; a later one wins.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Bind mounts.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// Who the container runs as, and what it may do.
    #[serde(default)]
    pub security: Security,
    /// The log file, in the CRI format. Its directory is made if need be.
    pub log_path: PathBuf,
    /// The node's own data about the container, kept and handed back unread.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A bind mount into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The source, a file or a directory, which must exist.
    pub host_path: PathBuf,
    /// The target in the container, absolute; made in the container's own layer if need be.
    pub container_path: PathBuf,
    /// Mount it read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A container's limits, in the kernel's words (`MilliCPUToShares`, `MilliCPUToQuota` are the node's).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// `cpu.shares` (cgroup v1 scale, 2 to 262144).
    #[serde(default)]
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds per [`Resources::cpu_period`].
    #[serde(default)]
    pub cpu_quota: Option<i64>,
    /// The period in microseconds; 100000 when there is a quota and no period.
    #[serde(default)]
    pub cpu_period: Option<u64>,
    /// Memory limit in bytes.
    #[serde(default)]
    pub memory_limit: Option<i64>,
    /// Most processes and threads.
    #[serde(default)]
    pub pids_limit: Option<i64>,
    /// `oom_score_adj`, clamped to what this process may set.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
}

/// Who a container runs as, and what it may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `runAsUser`; else the image's user.
    #[serde(default)]
    pub run_as_user: Option<u32>,
    /// `runAsGroup`; else the user's group in the image's `/etc/passwd`.
    #[serde(default)]
    pub run_as_group: Option<u32>,
    /// `supplementalGroups` and `fsGroup`, besides the image's own groups of the user.
    #[serde(default)]
    pub supplemental_groups: Vec<u32>,
    /// `privileged`: all capabilities, no masked paths, writable `/sys` and all devices.
    #[serde(default)]
    pub privileged: bool,
    /// `readOnlyRootFilesystem`.
    #[serde(default)]
    pub read_only_rootfs: bool,
    /// `allowPrivilegeEscalation: false`.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Capabilities on top of the default set, without `CAP_`; `ALL` is all.
    #[serde(default)]
    pub add_capabilities: Vec<String>,
    /// Capabilities taken from the default set, without `CAP_`; `ALL` is all.
    #[serde(default)]
    pub drop_capabilities: Vec<String>,
    /// `seccompProfile: RuntimeDefault`.
    #[serde(default)]
    pub seccomp_default: bool,
}

/// The first address of the link between a pod and its node: the pod's gateway (no ARP is ever asked).
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
