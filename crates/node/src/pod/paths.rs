//! Where the logs and directories of a pod are, laid out as upstream's `/var/log/pods` and `/var/lib/kubelet/pods`.

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
