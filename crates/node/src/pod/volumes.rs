//! Volumes: emptyDir, hostPath and projected ones (see `projected`). A pod with any other kind is held, because it must
//! not run without its data.
//!
//! Absent: ConfigMap, Secret, downwardAPI and claims; sub-paths; emptyDir in memory or with a limit that is enforced.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, PodSpec, Volume};
use karve_runtime::Mount;

use super::projected;

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
    /// A hostPath of another type than was asked for.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
    Type {
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

/// Makes the pod's volumes below `dir` (the pod's own directory), but for projected ones, which need the API.
pub fn set_up(spec: &PodSpec, dir: &Path) -> Result<(), Error> {
    for volume in spec.volumes.iter().flatten() {
        if volume.empty_dir.is_some() {
            let memory = volume
                .empty_dir
                .as_ref()
                .and_then(|e| e.medium.as_deref())
                .is_some_and(|m| !m.is_empty());
            if memory {
                return Err(Error::Unsupported {
                    volume: volume.name.clone(),
                    kind: "emptyDir with a medium",
                });
            }
            empty_dir(volume, dir)?;
        } else if let Some(source) = &volume.host_path {
            host_path(&volume.name, source)?;
        } else if volume.projected.is_some() {
            projected::check(volume)?;
        } else {
            return Err(Error::Unsupported {
                volume: volume.name.clone(),
                kind: kind(volume),
            });
        }
    }
    Ok(())
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
        if mount
            .sub_path
            .as_ref()
            .or(mount.sub_path_expr.as_ref())
            .is_some_and(|p| !p.is_empty())
        {
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
        let host_path = match &volume.host_path {
            Some(source) => PathBuf::from(&source.path),
            None if volume.projected.is_some() => projected::path(&volume.name, dir),
            None => empty_dir_path(&volume.name, dir),
        };
        mounts.push(Mount {
            host_path,
            container_path: PathBuf::from(&mount.mount_path),
            // Nobody but the node writes into what it keeps.
            read_only: mount.read_only == Some(true) || volume.projected.is_some(),
        });
    }
    Ok(mounts)
}

fn empty_dir_path(volume: &str, dir: &Path) -> PathBuf {
    dir.join("volumes/kubernetes.io~empty-dir").join(volume)
}

fn empty_dir(volume: &Volume, dir: &Path) -> Result<(), Error> {
    let path = empty_dir_path(&volume.name, dir);
    let failed = |action| {
        let (volume, path) = (volume.name.clone(), path.clone());
        move |source| Error::Io {
            volume,
            action,
            path,
            source,
        }
    };
    std::fs::create_dir_all(&path).map_err(failed("make directory"))?;
    // Everybody may write, whoever the containers run as; the pod's directory above is closed.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))
        .map_err(failed("open directory"))
}

fn host_path(volume: &str, source: &HostPathVolumeSource) -> Result<(), Error> {
    let path = Path::new(&source.path);
    let failed = |action| {
        move |err| Error::Io {
            volume: volume.to_owned(),
            action,
            path: path.to_owned(),
            source: err,
        }
    };
    let wrong = |message| {
        Err(Error::Type {
            volume: volume.to_owned(),
            message,
        })
    };
    let wanted = source.type_.as_deref().unwrap_or_default();
    let found = match std::fs::metadata(path) {
        Ok(meta) => Some(meta.file_type()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(failed("stat")(err)),
    };
    let Some(found) = found else {
        return match wanted {
            // The runtime binds only what exists; containerd makes a missing directory too.
            "" | "DirectoryOrCreate" => std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(failed("make directory")),
            "FileOrCreate" => std::fs::File::create_new(path)
                .map(drop)
                .map_err(failed("make file")),
            kind => wrong(format!(
                "hostPath type check failed, {0} is not a {1}, unable to determine its type: path \"{0}\" does not exist",
                path.display(),
                words(kind)
            )),
        };
    };
    let fits = match wanted {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let is = match () {
        () if found.is_dir() => "Directory",
        () if found.is_file() => "File",
        () if found.is_socket() => "Socket",
        () if found.is_char_device() => "CharDevice",
        () => "BlockDevice",
    };
    wrong(format!(
        "hostPath type check failed: {} is not a {}, it's a {is}",
        path.display(),
        words(wanted)
    ))
}

fn words(kind: &str) -> &'static str {
    match kind {
        "Directory" | "DirectoryOrCreate" => "directory",
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        _ => "block device",
    }
}

fn kind(volume: &Volume) -> &'static str {
    let kinds = [
        (volume.config_map.is_some(), "configMap"),
        (volume.secret.is_some(), "secret"),
        (volume.downward_api.is_some(), "downwardAPI"),
        (
            volume.persistent_volume_claim.is_some(),
            "persistentVolumeClaim",
        ),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(volume: serde_json::Value) -> PodSpec {
        serde_json::from_value(json!({"containers": [], "volumes": [volume]})).expect("a spec")
    }

    /// The texts of the recorded scenario vol-hostpath-types.
    #[test]
    fn a_host_path_of_the_wrong_type_is_refused_in_upstreams_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let rows = [
            (
                "/tmp/karve-hp-none",
                "Directory",
                "hostPath type check failed, /tmp/karve-hp-none is not a directory, unable to determine its type: \
                 path \"/tmp/karve-hp-none\" does not exist",
            ),
            (
                "/dev/null",
                "BlockDevice",
                "hostPath type check failed: /dev/null is not a block device, it's a CharDevice",
            ),
            (
                "/tmp",
                "File",
                "hostPath type check failed: /tmp is not a file, it's a Directory",
            ),
            (
                "/tmp",
                "Socket",
                "hostPath type check failed: /tmp is not a socket file, it's a Directory",
            ),
        ];
        for (path, type_, want) in rows {
            let spec = spec(json!({"name": "v", "hostPath": {"path": path, "type": type_}}));
            let error = set_up(&spec, dir.path()).expect_err(want);
            assert_eq!(
                error.to_string(),
                format!("MountVolume.SetUp failed for volume \"v\" : {want}")
            );
        }
    }

    #[test]
    fn an_empty_dir_is_writable_by_all_and_kept_when_set_up_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let spec = spec(json!({"name": "v", "emptyDir": {}}));
        set_up(&spec, dir.path()).expect("made");
        let path = empty_dir_path("v", dir.path());
        std::fs::write(path.join("x"), "1").expect("written");
        set_up(&spec, dir.path()).expect("kept");
        assert!(path.join("x").exists());
        assert_eq!(
            std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode()
                & 0o777,
            0o777
        );
    }

    #[test]
    fn a_kind_that_is_not_built_holds_the_pod() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = set_up(
            &spec(json!({"name": "v", "secret": {"secretName": "s"}})),
            dir.path(),
        )
        .expect_err("held");
        assert!(
            error
                .to_string()
                .ends_with("not supported by this node: secret"),
            "{error}"
        );
    }
}
