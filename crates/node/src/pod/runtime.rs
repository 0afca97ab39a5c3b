//! The runtime's view of a pod in the terms of planning, with termination messages read in.

use std::io::{Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};
use karve_runtime::{ContainerState, ContainerStatus, PodStatus};

use super::container::DEFINITION;
use super::paths;
use crate::observed::{self, Exit, Observed, Sandbox, State};

/// The most that is read of a termination message.
const MESSAGE_MAX: u64 = 4096;
/// The most lines and bytes that are taken from a log in its place.
const LOG_LINES_MAX: usize = 80;
const LOG_BYTES_MAX: u64 = 2048;

/// Converts, newest attempt first.
pub fn observed(status: Option<&PodStatus>, pod: &Pod, data_dir: &Path) -> Observed {
    let Some(status) = status else {
        return Observed::default();
    };
    let sandbox = Sandbox {
        ready: status.sandbox.ready,
        ip: status.sandbox.ip.map(IpAddr::V4),
    };
    let mut containers: Vec<observed::Container> = status
        .containers
        .iter()
        .map(|c| container(c, pod, data_dir))
        .collect();
    containers.sort_by_key(|c| std::cmp::Reverse(c.attempt));
    Observed {
        sandbox: Some(sandbox),
        containers,
    }
}

fn container(status: &ContainerStatus, pod: &Pod, data_dir: &Path) -> observed::Container {
    let state = match &status.state {
        ContainerState::Created => State::Created,
        ContainerState::Running { started_at, .. } => State::Running {
            started_at: *started_at,
        },
        ContainerState::Exited {
            exit_code,
            reason,
            message,
            started_at,
            finished_at,
        } => {
            let own = termination_message(status, pod, data_dir, *exit_code);
            let parts: Vec<&str> = [message.as_str(), own.as_str()]
                .into_iter()
                .filter(|s| !s.is_empty())
                .collect();
            State::Exited(Exit {
                code: *exit_code,
                reason: reason.clone(),
                message: (!parts.is_empty()).then(|| parts.join(": ")),
                started_at: *started_at,
                finished_at: *finished_at,
            })
        }
    };
    observed::Container {
        id: status.id.clone(),
        name: status.name.clone(),
        attempt: status.attempt,
        image: status.image.clone(),
        image_id: status.image_id.clone(),
        definition: status
            .annotations
            .get(DEFINITION)
            .cloned()
            .unwrap_or_default(),
        state,
    }
}

/// What the container wrote about its end, or the end of its log if it asked for that.
fn termination_message(status: &ContainerStatus, pod: &Pod, data_dir: &Path, code: i32) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let path = paths::termination_log(data_dir, uid, &status.name, status.attempt);
    let message = tail(&path, MESSAGE_MAX).unwrap_or_default();
    if !message.is_empty() || code == 0 || !falls_back(pod, &status.name) {
        return String::from_utf8_lossy(&message).into_owned();
    }
    let log = tail(&status.log_path, LOG_BYTES_MAX * 4).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&log))
}

fn falls_back(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.as_ref();
    let mut all = spec.into_iter().flat_map(|s| {
        s.containers
            .iter()
            .chain(s.init_containers.iter().flatten())
    });
    let found: Option<&Container> = all.find(|c| c.name == name);
    found.and_then(|c| c.termination_message_policy.as_deref()) == Some("FallbackToLogsOnError")
}

/// The end of a file. A container may have put anything in its place: nothing but a plain file is read.
fn tail(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a CRI log, without their heads.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|l| l.splitn(4, ' ').nth(3))
        .collect();
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
        text.push_str(line);
        text.push('\n');
    }
    let max = usize::try_from(LOG_BYTES_MAX).unwrap_or(usize::MAX);
    let mut from = text.len().saturating_sub(max);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_eighty_lines_without_heads() {
        let log: String = (1..=90)
            .map(|n| format!("2026-01-01T00:00:00.000000000Z stdout F line {n}\n"))
            .collect();
        let want: String = (11..=90).map(|n| format!("line {n}\n")).collect();
        assert_eq!(last_lines(&log), want);
    }

    #[test]
    fn only_the_end_of_a_plain_file_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("log");
        std::fs::write(&file, "x".repeat(5000)).expect("written");
        assert_eq!(tail(&file, MESSAGE_MAX).expect("read").len(), 4096);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("linked");
        assert!(tail(&link, MESSAGE_MAX).expect("read").is_empty());
    }
}
