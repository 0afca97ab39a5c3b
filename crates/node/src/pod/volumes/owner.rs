//! Who owns what is in a pod's volumes. Pure, but for [`Group::take`].

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;

/// The pod's `fsGroup`, which may read what the API has and write what is the pod's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(u32);

impl Group {
    /// The group that a pod asks for.
    pub fn of(spec: &PodSpec) -> Option<Group> {
        let id = spec.security_context.as_ref()?.fs_group?;
        u32::try_from(id).ok().map(Group)
    }

    /// Gives a file or directory to the group, as upstream's `changeFilePermission`.
    pub fn take(self, path: &Path, writable: bool) -> io::Result<()> {
        chown(path, None, Some(self.0))?;
        let meta = fs::metadata(path)?;
        let mode = meta.permissions().mode() & 0o7777;
        let mode = mode | added(meta.is_dir(), writable);
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
}

/// What the group adds to a mode: what is made in a directory later is the group's, too.
fn added(directory: bool, writable: bool) -> u32 {
    let access = if writable { 0o660 } else { 0o440 };
    access | if directory { 0o2110 } else { 0 }
}

/// The user that all containers run as, who alone may read the pod's credentials (upstream's `FsUserFrom`).
pub fn user(spec: &PodSpec) -> Option<u32> {
    let pod = spec.security_context.as_ref();
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut users = containers.map(|container| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|c| c.run_as_user);
        own.or(pod.and_then(|p| p.run_as_user))
            .and_then(|id| u32::try_from(id).ok())
    });
    let first = users.next().flatten();
    first.filter(|_| users.all(|user| user == first))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_that_all_containers_run_as_is_known() {
        let as_user = |user: i64| json!({"name": "c", "securityContext": {"runAsUser": user}});
        let rows = [
            (json!({"containers": [{"name": "c"}]}), None, None),
            (
                json!({"containers": [as_user(5), as_user(5)]}),
                Some(5),
                None,
            ),
            (json!({"containers": [as_user(5), as_user(6)]}), None, None),
            (
                json!({"containers": [as_user(5)], "initContainers": [{"name": "i"}]}),
                None,
                None,
            ),
            (
                json!({"containers": [{"name": "c"}], "securityContext": {"runAsUser": 7, "fsGroup": 8}}),
                Some(7),
                Some(Group(8)),
            ),
        ];
        for (value, want, group) in rows {
            let spec: PodSpec = serde_json::from_value(value.clone()).expect("a spec");
            assert_eq!((user(&spec), Group::of(&spec)), (want, group), "{value}");
        }
    }

    #[test]
    fn the_group_gets_what_upstream_gives_it() {
        let rows = [
            (false, false, 0o440),
            (false, true, 0o660),
            (true, false, 0o2550),
            (true, true, 0o2770),
        ];
        for (directory, writable, want) in rows {
            assert_eq!(added(directory, writable), want, "{directory} {writable}");
        }
    }
}
