//! A container of the spec as the runtime is asked for it.
//!
//! Pure: the image, the environment and the mounts were found before. What this node cannot do yet is refused here
//! ([`unsupported`]) or named ([`ignored`]), never left out silently.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};
use karve_runtime::images::Image;
use karve_runtime::{ContainerConfig, Mount, Resources, Security};

use super::env;
use super::plan::pod_text;
use crate::quantity;

/// The annotation of a container that holds the image as the spec named it.
pub const DEFINITION: &str = "karve.dev/image";

/// Upstream's shares of the CPU: 1024 for a whole one (`MilliCPUToShares`).
const SHARES_PER_CPU: i64 = 1024;
const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
/// The CFS period and the least quota in it, in microseconds.
const CPU_PERIOD: i64 = 100_000;
const CPU_QUOTA_MIN: i64 = 1000;

/// Everything that was found out for a container.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Its attempt.
    pub attempt: u32,
    /// Its image.
    pub image: Image,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// The pod's hostname.
    pub hostname: String,
    /// Its volumes and its termination log.
    pub mounts: Vec<Mount>,
    /// Its log.
    pub log_path: PathBuf,
    /// The node's memory in bytes.
    pub node_memory: i64,
}

/// Why a container cannot be made from its spec (`CreateContainerConfigError`).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Error(String);

/// The runtime's config for a container.
pub fn config(parts: Parts<'_>) -> Result<ContainerConfig, Error> {
    let Parts {
        pod,
        container,
        attempt,
        image,
        mut env,
        hostname,
        mounts,
        log_path,
        node_memory,
    } = parts;
    let security = security(pod, container, &image)?;
    let lookup = |name: &str| env.get(name).cloned();
    let expanded = |list: &Option<Vec<String>>| {
        list.iter()
            .flatten()
            .map(|text| env::expand(text, lookup))
            .collect()
    };
    let command = expanded(&container.command);
    let args = expanded(&container.args);
    let definition = container.image.clone().unwrap_or_default();
    env.entry("HOSTNAME".to_owned()).or_insert(hostname);
    Ok(ContainerConfig {
        pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
        name: container.name.clone(),
        attempt,
        image,
        command,
        args,
        working_dir: container.working_dir.clone().filter(|d| !d.is_empty()),
        env: env.into_iter().collect(),
        mounts,
        resources: resources(pod, container, node_memory),
        security,
        log_path,
        annotations: BTreeMap::from([(DEFINITION.to_owned(), definition)]),
    })
}

fn resources(pod: &Pod, container: &Container, node_memory: i64) -> Resources {
    let wanted = container.resources.as_ref();
    let of = |list: Option<&BTreeMap<String, _>>, name: &str| -> Option<quantity::Exact> {
        let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = list?.get(name)?;
        quantity::parse(&quantity.0)
    };
    let requests = wanted.and_then(|w| w.requests.as_ref());
    let limits = wanted.and_then(|w| w.limits.as_ref());
    let cpu_request = of(requests, "cpu")
        .or_else(|| of(limits, "cpu"))
        .map_or(0, quantity::Exact::millis);
    let shares = (cpu_request * SHARES_PER_CPU / 1000).clamp(SHARES_MIN, SHARES_MAX);
    let quota = of(limits, "cpu")
        .map(quantity::Exact::millis)
        .filter(|m| *m > 0);
    let memory_limit = of(limits, "memory")
        .map(quantity::Exact::ceil)
        .filter(|b| *b > 0);
    let memory_request = of(requests, "memory").map_or(0, quantity::Exact::ceil);
    Resources {
        cpu_shares: u64::try_from(shares).ok(),
        cpu_quota: quota.map(|m| (m * CPU_PERIOD / 1000).max(CPU_QUOTA_MIN)),
        cpu_period: quota.and_then(|_| u64::try_from(CPU_PERIOD).ok()),
        memory_limit,
        pids_limit: None,
        oom_score_adj: Some(oom_score(pod, memory_request, node_memory)),
    }
}

/// Upstream's `GetContainerOOMScoreAdjust`: the more of its class a container asks for, the longer it lives.
fn oom_score(pod: &Pod, memory_request: i64, node_memory: i64) -> i32 {
    let class = pod.status.as_ref().and_then(|s| s.qos_class.as_deref());
    let critical = pod
        .spec
        .as_ref()
        .and_then(|s| s.priority)
        .is_some_and(|p| p >= 2_000_000_000);
    match class {
        _ if critical => -997,
        Some("Guaranteed") => -997,
        Some("Burstable") => {
            let share = i128::from(memory_request) * 1000 / i128::from(node_memory.max(1));
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
        _ => 1000,
    }
}

fn security(pod: &Pod, container: &Container, image: &Image) -> Result<Security, Error> {
    let default = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&default);
    let shared = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.clone())
        .unwrap_or_default();
    let id = |value: Option<i64>| value.and_then(|v| u32::try_from(v).ok());
    let groups = shared
        .supplemental_groups
        .iter()
        .flatten()
        .copied()
        .chain(shared.fs_group);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let names = |list: Option<Vec<String>>| -> Vec<String> {
        list.into_iter()
            .flatten()
            .map(|c| c.strip_prefix("CAP_").unwrap_or(&c).to_owned())
            .collect()
    };
    let profile = own
        .seccomp_profile
        .as_ref()
        .or(shared.seccomp_profile.as_ref())
        .map(|p| p.type_.as_str());
    let security = Security {
        run_as_user: id(own.run_as_user.or(shared.run_as_user)),
        run_as_group: id(own.run_as_group.or(shared.run_as_group)),
        supplemental_groups: groups.filter_map(|g| u32::try_from(g).ok()).collect(),
        privileged: own.privileged == Some(true),
        read_only_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        add_capabilities: names(capabilities.add),
        drop_capabilities: names(capabilities.drop),
        seccomp_default: profile == Some("RuntimeDefault"),
    };
    if own.run_as_non_root.or(shared.run_as_non_root) == Some(true) {
        verify_non_root(pod, container, image, security.run_as_user)?;
    }
    Ok(security)
}

/// Upstream's `verifyRunAsNonRoot`.
fn verify_non_root(
    pod: &Pod,
    container: &Container,
    image: &Image,
    user: Option<u32>,
) -> Result<(), Error> {
    let place = format!(
        "(pod: \"{}\", container: {})",
        pod_text(pod),
        container.name
    );
    let refuse = |why: &str| Err(Error(format!("container {why} {place}")));
    if let Some(uid) = user {
        return if uid == 0 {
            refuse("'s runAsUser breaks non-root policy")
        } else {
            Ok(())
        };
    }
    let named = image.config.user.as_deref().unwrap_or_default();
    let named = named.split(':').next().unwrap_or_default();
    match named.parse::<u32>() {
        Ok(0) => refuse("has runAsNonRoot and image will run as root"),
        Ok(_) => Ok(()),
        Err(_) if named.is_empty() => refuse("has runAsNonRoot and image will run as root"),
        Err(_) => refuse(&format!(
            "has runAsNonRoot and image has non-numeric user ({named}), cannot verify user is non-root"
        )),
    }
}

/// What in the pod's spec this node cannot do, and without which it must not run.
pub fn unsupported(spec: &PodSpec) -> Option<String> {
    let security = spec.security_context.as_ref();
    let checks = [
        (spec.host_pid == Some(true), "hostPID"),
        (spec.host_ipc == Some(true), "hostIPC"),
        (spec.host_users == Some(false), "hostUsers: false"),
        (
            spec.share_process_namespace == Some(true),
            "shareProcessNamespace",
        ),
        (
            spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()),
            "resourceClaims",
        ),
        (
            security
                .and_then(|s| s.sysctls.as_ref())
                .is_some_and(|s| !s.is_empty()),
            "securityContext.sysctls",
        ),
    ];
    let missing: Vec<&str> = checks
        .into_iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, what)| what)
        .collect();
    (!missing.is_empty()).then(|| format!("not supported by this node: {}", missing.join(", ")))
}

/// What in the pod's spec has no effect on this node, though the pod runs.
pub fn ignored(spec: &PodSpec) -> Vec<&'static str> {
    let any = |has: &dyn Fn(&Container) -> bool| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .any(has)
    };
    let checks = [
        (any(&|c| c.liveness_probe.is_some()), "livenessProbe"),
        (any(&|c| c.readiness_probe.is_some()), "readinessProbe"),
        (any(&|c| c.startup_probe.is_some()), "startupProbe"),
        (
            any(&|c| {
                c.lifecycle
                    .as_ref()
                    .is_some_and(|l| l.post_start.is_some() || l.pre_stop.is_some())
            }),
            "lifecycle",
        ),
        (
            spec.volumes
                .iter()
                .flatten()
                .any(|v| v.empty_dir.as_ref().is_some_and(|e| e.size_limit.is_some())),
            "emptyDir.sizeLimit",
        ),
        (
            any(&|c| c.tty == Some(true) || c.stdin == Some(true)),
            "stdin, tty",
        ),
    ];
    checks
        .into_iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, what)| what)
        .collect()
}
