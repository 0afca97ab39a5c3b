//! Where the logs and directories of a pod are, laid out as upstream's `/var/log/pods` and `/var/lib/kubelet/pods`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

/// The log of one attempt of a container.
pub fn log(data_dir: &Path, pod: &Pod, container: &str, attempt: u32) -> PathBuf {
    logs(data_dir, pod)
        .join(container)
        .join(format!("{attempt}.log"))
}

/// The folder with all logs of a pod.
pub fn logs(data_dir: &Path, pod: &Pod) -> PathBuf {
    let meta = &pod.metadata;
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    // Names, namespaces and UIDs have neither `/` nor `_` (checked when the pod was created).
    data_dir.join("log/pods").join(format!(
        "{}_{}_{}",
        part(&meta.namespace),
        part(&meta.name),
        part(&meta.uid)
    ))
}

/// The pod's own directory: volumes and termination logs.
pub fn pod_dir(data_dir: &Path, uid: &str) -> PathBuf {
    data_dir.join("kubelet/pods").join(uid)
}

/// The termination log of one attempt of a container.
pub fn termination_log(data_dir: &Path, uid: &str, container: &str, attempt: u32) -> PathBuf {
    pod_dir(data_dir, uid)
        .join("containers")
        .join(container)
        .join(attempt.to_string())
}

/// Removes the directories and logs of all pods but those whose UIDs are in `keep`.
pub fn sweep(data_dir: &Path, keep: &BTreeSet<String>) {
    let folders = [data_dir.join("kubelet/pods"), data_dir.join("log/pods")];
    for entry in folders
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let uid = name.rsplit('_').next().unwrap_or_default();
        if keep.contains(uid) {
            continue;
        }
        if let Err(err) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(dir = %entry.path().display(), err = &err as &dyn std::error::Error, "directory not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_known_pods_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let pod = |uid: &str| Pod {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                name: Some("a".to_owned()),
                namespace: Some("ns".to_owned()),
                uid: Some(uid.to_owned()),
                ..Default::default()
            },
            ..Pod::default()
        };
        for uid in ["one", "two"] {
            std::fs::create_dir_all(logs(dir.path(), &pod(uid))).expect("made");
            std::fs::create_dir_all(pod_dir(dir.path(), uid)).expect("made");
        }
        sweep(dir.path(), &BTreeSet::from(["one".to_owned()]));
        assert!(logs(dir.path(), &pod("one")).exists() && pod_dir(dir.path(), "one").exists());
        assert!(!logs(dir.path(), &pod("two")).exists() && !pod_dir(dir.path(), "two").exists());
    }
}
