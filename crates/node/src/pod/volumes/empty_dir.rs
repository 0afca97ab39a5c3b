//! emptyDir: a directory of the pod's own, on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::Volume;

use super::Error;
use super::owner::Group;

/// What it is to be made of; nothing: the disk.
pub fn medium(volume: &Volume) -> &str {
    let source = volume.empty_dir.as_ref();
    source.and_then(|e| e.medium.as_deref()).unwrap_or_default()
}

/// Makes the directory; one that is there is the pod's, and kept as it is.
pub fn set_up(volume: &Volume, path: &Path, group: Option<Group>) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let failed = |action| {
        move |source| Error::Io {
            volume: volume.name.clone(),
            action,
            path: path.to_owned(),
            source,
        }
    };
    // Volumes' names have no dots.
    let fresh = path.with_extension("new");
    fs::create_dir_all(&fresh).map_err(failed("make directory"))?;
    // Everybody may write, whoever the containers run as; the pod's directory above is closed.
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&fresh, open).map_err(failed("open directory"))?;
    if let Some(group) = group {
        let taken = group.take(&fresh, true);
        taken.map_err(failed("give directory to fsGroup"))?;
    }
    fs::rename(&fresh, path).map_err(failed("rename directory"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_writable_by_all_and_kept_when_set_up_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/v");
        let volume: Volume =
            serde_json::from_value(json!({"name": "v", "emptyDir": {}})).expect("a volume");
        let spec: PodSpec = serde_json::from_value(
            json!({"containers": [], "securityContext": {"fsGroup": nix::unistd::getgid().as_raw()}}),
        )
        .expect("a spec");
        set_up(&volume, &path, Group::of(&spec)).expect("made");
        fs::write(path.join("x"), "1").expect("written");
        set_up(&volume, &path, Group::of(&spec)).expect("kept");
        assert!(path.join("x").exists());
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o2777);
    }
}
