//! Mount points for volumes that are mounted inside another volume. Pure.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::PodSpec;

/// The directories that a volume must have, because a container mounts others there (upstream's
/// `getNestedMountpoints`): relative, plain, and not one inside another.
pub fn directories(spec: &PodSpec, volume: &str) -> Vec<PathBuf> {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut found: Vec<PathBuf> = Vec::new();
    for container in containers {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        let whole = |sub_path: &Option<String>| sub_path.as_deref().is_none_or(str::is_empty);
        let outer = mounts
            .iter()
            .filter(|m| m.name == volume && whole(&m.sub_path) && whole(&m.sub_path_expr));
        for outer in outer {
            let inner = mounts.iter().filter_map(|mount| {
                let inner = Path::new(&mount.mount_path).strip_prefix(&outer.mount_path);
                inner.ok().filter(|path| is_plain(path))
            });
            found.extend(inner.map(Path::to_owned));
        }
    }
    found.sort();
    found.dedup_by(|later, earlier| later.starts_with(earlier));
    found
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_mounted_inside_a_volume_has_a_place_there() {
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let rows: [Row<'_>; 5] = [
            (&[("v", "/v"), ("w", "/w")], &[]),
            (
                &[("v", "/v"), ("w", "/v/in"), ("x", "/v/in/deeper")],
                &["in"],
            ),
            (&[("v", "/v/"), ("w", "/v/a/b"), ("x", "/vx")], &["a/b"]),
            (&[("w", "/"), ("v", "/v")], &[]),
            (&[("v", "/v"), ("w", "/v/../etc")], &[]),
        ];
        for (mounts, want) in rows {
            let list: Vec<Value> = mounts
                .iter()
                .map(|(name, path)| json!({"name": name, "mountPath": path}))
                .collect();
            let spec = json!({"containers": [{"name": "c", "volumeMounts": list}]});
            let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
            let want: Vec<PathBuf> = want.iter().map(PathBuf::from).collect();
            assert_eq!(directories(&spec, "v"), want, "{mounts:?}");
        }
    }
}
