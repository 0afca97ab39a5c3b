//! Volumes: emptyDir, hostPath, and those that show what the API has (configMap, secret, downwardAPI, projected).
//!
//! What a volume of the API holds is a pure function of the pod and of what is known ([`content`]); [`write`] puts it
//! there at once, and [`keep`] does so again for as long as the pod is looked after. A pod with any other kind is held,
//! because it must not run without its data.
//!
//! Absent: claims and volumes of drivers; sub-paths; emptyDir in memory or with a limit that is enforced; pod
//! certificates in projected volumes.

mod content;
mod empty_dir;
mod host_path;
mod keep;
mod nested;
mod owner;
mod sources;
mod token;
mod trust;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use karve_runtime::Mount;

pub use keep::{Keeper, Progress};

/// Why a volume is not there; `Display` is the event's text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kind of volume that is not built.
    #[error(
        "MountVolume.SetUp failed for volume \"{volume}\" : volumes of this kind are not supported by this node: {kind}"
    )]
    Unsupported {
        /// The volume.
        volume: String,
        /// What its kind is called.
        kind: &'static str,
    },
    /// What should be in it is not there, or not of the type that was asked for.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
    SetUp {
        /// The volume.
        volume: String,
        /// Upstream's words.
        message: String,
    },
    /// A directory or file could not be made.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {action} {}: {source}", path.display())]
    Io {
        /// The volume.
        volume: String,
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A mount that names no volume, or asks for what is not built.
    #[error("{0}")]
    Mount(String),
}

/// How a volume comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EmptyDir,
    HostPath,
    /// Shows what the API has; the name of the folder of its kind.
    Api(&'static str),
    /// Not built; what it is called.
    Unsupported(&'static str),
}

fn kind(volume: &Volume) -> Kind {
    let unsupported_source = || {
        let projected = volume.projected.as_ref()?;
        let mut sources = projected.sources.iter().flatten();
        sources.find_map(|source| match () {
            () if source.pod_certificate.is_some() => Some("projected podCertificate"),
            () => None,
        })
    };
    match () {
        () if volume.empty_dir.is_some() => match empty_dir::medium(volume) {
            "" => Kind::EmptyDir,
            _ => Kind::Unsupported("emptyDir with a medium"),
        },
        () if volume.host_path.is_some() => Kind::HostPath,
        () if volume.config_map.is_some() => Kind::Api("kubernetes.io~configmap"),
        () if volume.secret.is_some() => Kind::Api("kubernetes.io~secret"),
        () if volume.downward_api.is_some() => Kind::Api("kubernetes.io~downward-api"),
        () if volume.projected.is_some() => {
            unsupported_source().map_or(Kind::Api("kubernetes.io~projected"), Kind::Unsupported)
        }
        () => Kind::Unsupported(unsupported(volume)),
    }
}

fn unsupported(volume: &Volume) -> &'static str {
    let claim = volume.persistent_volume_claim.is_some();
    let kinds = [
        (claim, "persistentVolumeClaim"),
        (volume.ephemeral.is_some(), "ephemeral"),
        (volume.nfs.is_some(), "nfs"),
        (volume.csi.is_some(), "csi"),
        (volume.image.is_some(), "image"),
    ];
    kinds
        .into_iter()
        .find(|(is, _)| *is)
        .map_or("another", |(_, name)| name)
}

/// Where a volume is, below `dir`, the pod's own directory.
fn path(volume: &Volume, dir: &Path) -> PathBuf {
    let folder = match (kind(volume), &volume.host_path) {
        (_, Some(source)) => return PathBuf::from(&source.path),
        (Kind::Api(folder), None) => folder,
        _ => "kubernetes.io~empty-dir",
    };
    dir.join("volumes").join(folder).join(&volume.name)
}

/// The bind mounts of a container's volumes.
pub fn mounts(spec: &PodSpec, container: &Container, dir: &Path) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    if container
        .volume_devices
        .as_ref()
        .is_some_and(|d| !d.is_empty())
    {
        return Err(Error::Mount(format!(
            "volumeDevices of container {} are not supported by this node",
            container.name
        )));
    }
    for mount in container.volume_mounts.iter().flatten() {
        let sub_path = mount.sub_path.as_ref().or(mount.sub_path_expr.as_ref());
        if sub_path.is_some_and(|p| !p.is_empty()) {
            return Err(Error::Mount(format!(
                "subPath of volumeMount \"{}\" is not supported by this node",
                mount.name
            )));
        }
        let volume = spec.volumes.iter().flatten().find(|v| v.name == mount.name);
        let volume = volume.ok_or_else(|| {
            Error::Mount(format!(
                "cannot find volume \"{}\" to mount into container \"{}\"",
                mount.name, container.name
            ))
        })?;
        mounts.push(Mount {
            host_path: path(volume, dir),
            container_path: PathBuf::from(&mount.mount_path),
            // Nobody but the node writes into what it keeps.
            read_only: mount.read_only == Some(true) || matches!(kind(volume), Kind::Api(_)),
        });
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_folder_and_what_the_api_has_is_read_only() {
        let rows = [
            (json!({"emptyDir": {}}), "kubernetes.io~empty-dir/v", false),
            (
                json!({"configMap": {"name": "m"}}),
                "kubernetes.io~configmap/v",
                true,
            ),
            (
                json!({"secret": {"secretName": "s"}}),
                "kubernetes.io~secret/v",
                true,
            ),
            (
                json!({"downwardAPI": {}}),
                "kubernetes.io~downward-api/v",
                true,
            ),
            (json!({"projected": {}}), "kubernetes.io~projected/v", true),
        ];
        for (source, want, read_only) in rows {
            let mut volume = source.clone();
            volume["name"] = json!("v");
            let spec: PodSpec = serde_json::from_value(json!({"volumes": [volume],
                "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}))
            .expect("a spec");
            let mounts = mounts(&spec, &spec.containers[0], Path::new("/pod")).expect("mounted");
            let want = Mount {
                host_path: Path::new("/pod/volumes").join(want),
                container_path: "/v".into(),
                read_only,
            };
            assert_eq!(mounts, [want], "{source}");
        }
    }

    #[test]
    fn kinds_that_are_not_built_are_called_by_their_names() {
        let rows = [
            (
                json!({"emptyDir": {"medium": "Memory"}}),
                "emptyDir with a medium",
            ),
            (
                json!({"persistentVolumeClaim": {"claimName": "c"}}),
                "persistentVolumeClaim",
            ),
            (
                json!({"projected": {"sources": [{"podCertificate": {"signerName": "a/b", "keyType": "ED25519"}}]}}),
                "projected podCertificate",
            ),
        ];
        for (source, want) in rows {
            let mut volume = source.clone();
            volume["name"] = json!("v");
            let volume: Volume = serde_json::from_value(volume).expect("a volume");
            assert_eq!(kind(&volume), Kind::Unsupported(want), "{source}");
        }
    }
}
