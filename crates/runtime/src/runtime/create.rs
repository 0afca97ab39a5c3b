//! Prepares a container: everything up to the point where a process is needed.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Inner, Known};
use crate::config::{ContainerConfig, PodNetwork};
use crate::devices;
use crate::error::RuntimeError;
use crate::files::{self, Durability};
use crate::layout::{Container, Pod};
use crate::record::{ContainerRecord, Launch};
use crate::rootfs::{self, RootFs};
use crate::sandbox;
use crate::spec::{self, Namespaces, PodFiles};
use crate::status::SandboxStatus;
use crate::users::Identity;

/// Every user enters the root filesystem; what is in it has its own modes.
const UPPER_MODE: u32 = 0o755;

impl Inner {
    pub(super) fn create(&self, config: ContainerConfig) -> Result<String, RuntimeError> {
        let pod = self.layout.pod(&config.pod_uid);
        let sandbox = sandbox::read(&pod)?
            .filter(|status| status.ready)
            .ok_or_else(|| RuntimeError::NotFound {
                kind: "sandbox",
                id: config.pod_uid.clone(),
            })?;
        let id = new_id();
        let uid = config.pod_uid.clone();
        match self.prepare(&pod, &sandbox, &id, config) {
            Ok(()) => {
                // A closed channel: it does not run.
                let (_, ended) = watch::channel(false);
                self.known.lock().insert(
                    id.clone(),
                    Known {
                        pod_uid: uid,
                        ended,
                    },
                );
                Ok(id)
            }
            Err(error) => {
                if let Err(error) = self.discard(&uid, &id) {
                    tracing::warn!(container = id, error = %error.chain(), "failed container stays behind");
                }
                Err(error)
            }
        }
    }

    fn prepare(
        &self,
        pod: &Pod,
        sandbox: &SandboxStatus,
        id: &str,
        config: ContainerConfig,
    ) -> Result<(), RuntimeError> {
        let container = pod.container(id);
        for dir in [container.rootfs(), container.work()] {
            files::make_private_dirs(&dir).map_err(RuntimeError::io("make directory", &dir))?;
        }
        make_upper(&container.upper())
            .map_err(RuntimeError::io("make directory", &container.upper()))?;
        self.images.hold(&config.image, id, &container.dir)?;
        let lower = self.images.layer_dirs(&config.image)?;
        let root = container.rootfs();
        let accounts = rootfs::read_accounts(&lower, &root).map_err(RuntimeError::io(
            "read accounts of image for",
            &container.dir,
        ))?;
        let identity = accounts
            .resolve(config.image.config.user.as_deref(), &config.security)
            .map_err(|message| RuntimeError::Config { message })?;
        let cgroup = self.container_cgroup_path(&config.pod_uid, id);
        let spec = self.spec(
            pod,
            sandbox,
            &config,
            &identity,
            &Path::new("/").join(&cgroup),
        )?;
        let launch = Launch {
            id: id.to_owned(),
            rootfs: RootFs {
                lower,
                upper: container.upper(),
                work: container.work(),
            },
            working_dir: spec::working_dir(&config).into(),
            log_path: config.log_path.clone(),
            cgroup,
            oom_score_adj: config.resources.oom_score_adj,
            seccomp: spec::seccomp(&config, &self.bounding)
                .map_err(|message| RuntimeError::Config { message })?,
        };
        let record = ContainerRecord {
            id: id.to_owned(),
            config,
            user: identity.user,
            created_at: Timestamp::now(),
        };
        write(&container, &spec, &launch, &record)
    }

    fn spec(
        &self,
        pod: &Pod,
        sandbox: &SandboxStatus,
        config: &ContainerConfig,
        identity: &Identity,
        cgroup: &Path,
    ) -> Result<serde_json::Value, RuntimeError> {
        let [net, uts, ipc] = ["net", "uts", "ipc"].map(|kind| pod.namespace(kind));
        let devices = match config.security.privileged {
            true => devices::of_machine()
                .map_err(RuntimeError::io("list devices in", Path::new("/dev")))?,
            false => Vec::new(),
        };
        let own_network = matches!(sandbox.config.network, PodNetwork::Pod { .. });
        let (hosts, resolv_conf, hostname, shm) =
            (pod.hosts(), pod.resolv_conf(), pod.hostname(), pod.shm());
        spec::plan(&spec::Input {
            config,
            user: &identity.user,
            home: &identity.home,
            hostname: &sandbox.config.hostname,
            namespaces: Namespaces {
                net: own_network.then_some(net.as_path()),
                uts: &uts,
                ipc: &ipc,
            },
            pod_files: PodFiles {
                hosts: &hosts,
                resolv_conf: &resolv_conf,
                hostname: &hostname,
                shm: &shm,
            },
            cgroup,
            cgroup_v1: self.hierarchies.is_v1(),
            devices: &devices,
            bounding: &self.bounding,
        })
        .map_err(|message| RuntimeError::Config { message })
    }
}

fn make_upper(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    files::make_private_dirs(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UPPER_MODE))
}

/// The record last: with it the container exists.
fn write(
    container: &Container,
    spec: &serde_json::Value,
    launch: &Launch,
    record: &ContainerRecord,
) -> Result<(), RuntimeError> {
    let at = |path| RuntimeError::io("write", path);
    let (spec_path, launch_path, record_path) =
        (container.spec(), container.launch(), container.record());
    files::write_json(&spec_path, spec, Durability::Volatile).map_err(at(&spec_path))?;
    files::write_json(&launch_path, launch, Durability::Volatile).map_err(at(&launch_path))?;
    files::write_json(&record_path, record, Durability::Volatile).map_err(at(&record_path))
}

/// 64 hexadecimal digits, as containerd's.
fn new_id() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}
