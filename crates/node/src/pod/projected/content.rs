//! The files of a projected volume: a pure function of the pod and what was fetched.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, Volume};

use super::fetch::Fetched;
use crate::pod::volumes::Error;

const DEFAULT_MODE: u32 = 0o644;

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Below the volume; plain names only.
    pub path: PathBuf,
    /// What is in it.
    pub data: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

/// Who owns the files.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user that all containers run as.
    pub user: Option<u32>,
    /// The pod's `fsGroup`.
    pub group: Option<u32>,
}

/// The owner that a pod's security contexts ask for.
pub fn owner(spec: &PodSpec) -> Owner {
    let pod = spec.security_context.as_ref();
    let id = |id: i64| u32::try_from(id).ok();
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut users = containers.map(|container| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|c| c.run_as_user);
        own.or(pod.and_then(|p| p.run_as_user)).and_then(id)
    });
    let first = users.next().flatten();
    Owner {
        user: first.filter(|_| users.all(|user| user == first)),
        group: pod.and_then(|p| p.fs_group).and_then(id),
    }
}

/// The files of a volume.
pub fn files(
    volume: &Volume,
    pod: &Pod,
    spec: &PodSpec,
    fetched: &Fetched,
) -> Result<Vec<File>, Error> {
    let failed = |message: String| Error::Type {
        volume: volume.name.clone(),
        message,
    };
    let Some(projected) = &volume.projected else {
        return Ok(Vec::new());
    };
    let mode = projected
        .default_mode
        .map_or(DEFAULT_MODE, |mode| mode as u32);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut files = BTreeMap::new();
    for (at, source) in projected.sources.iter().flatten().enumerate() {
        if let Some(source) = &source.service_account_token {
            let token = fetched.tokens.get(&at).cloned().unwrap_or_default();
            // Whoever else is in the container must not read it, when it is known who is to.
            let owner = owner(spec);
            let mode = if owner == Owner::default() {
                mode
            } else {
                0o600
            };
            put(&mut files, &source.path, token.into_bytes(), mode);
        }
        if let Some(source) = &source.config_map {
            let optional = source.optional == Some(true);
            let data = fetched.config_maps.get(&source.name).map(|map| {
                let text = map
                    .data
                    .iter()
                    .flatten()
                    .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
                let binary = map
                    .binary_data
                    .iter()
                    .flatten()
                    .map(|(k, v)| (k.clone(), v.0.clone()));
                text.chain(binary).collect()
            });
            let missing = || format!("configmap \"{}\" not found", source.name);
            let data = found(data, optional, missing).map_err(failed)?;
            keys(&mut files, &data, source.items.as_deref(), optional, mode).map_err(failed)?;
        }
        if let Some(source) = &source.secret {
            let optional = source.optional == Some(true);
            let data = fetched.secrets.get(&source.name);
            let data = data.map(|s| {
                s.data
                    .iter()
                    .flatten()
                    .map(|(k, v)| (k.clone(), v.0.clone()))
                    .collect()
            });
            let missing = || format!("secret \"{}\" not found", source.name);
            let data = found(data, optional, missing).map_err(failed)?;
            keys(&mut files, &data, source.items.as_deref(), optional, mode).map_err(failed)?;
        }
        for item in source
            .downward_api
            .iter()
            .flat_map(|d| d.items.iter().flatten())
        {
            let value = fact(pod, namespace, item).map_err(failed)?;
            let mode = item.mode.map_or(mode, |mode| mode as u32);
            put(&mut files, &item.path, value.into_bytes(), mode);
        }
    }
    let plain = |file: &File| {
        file.path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    };
    match files.values().find(|file| !plain(file)) {
        None => Ok(files.into_values().collect()),
        Some(file) => Err(failed(format!(
            "path {} leads out of the volume",
            file.path.display()
        ))),
    }
}

type Data = BTreeMap<String, Vec<u8>>;

fn found(data: Option<Data>, optional: bool, missing: impl Fn() -> String) -> Result<Data, String> {
    match data {
        Some(data) => Ok(data),
        None if optional => Ok(Data::new()),
        None => Err(missing()),
    }
}

fn put(files: &mut BTreeMap<PathBuf, File>, path: &str, data: Vec<u8>, mode: u32) {
    let path = PathBuf::from(path);
    files.insert(path.clone(), File { path, data, mode });
}

fn keys(
    files: &mut BTreeMap<PathBuf, File>,
    data: &Data,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: u32,
) -> Result<(), String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in data {
            put(files, key, value.clone(), mode);
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => put(
                files,
                &item.path,
                value.clone(),
                item.mode.map_or(mode, |mode| mode as u32),
            ),
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

/// A fact of the pod, as upstream writes it.
fn fact(pod: &Pod, namespace: &str, item: &DownwardAPIVolumeFile) -> Result<String, String> {
    let Some(field) = &item.field_ref else {
        return Err(format!(
            "resourceFieldRef of {} is not supported by this node",
            item.path
        ));
    };
    let map = |map: &Option<BTreeMap<String, String>>| {
        let lines: Vec<String> = map
            .iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        lines.join("\n")
    };
    let meta = &pod.metadata;
    let member = |path: &str, kind: &str| -> Option<String> {
        Some(
            path.strip_prefix(kind)?
                .strip_prefix("['")?
                .strip_suffix("']")?
                .to_owned(),
        )
    };
    let of = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref()
            .and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default()
    };
    Ok(match field.field_path.as_str() {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => namespace.to_owned(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => map(&meta.labels),
        "metadata.annotations" => map(&meta.annotations),
        path => match (
            member(path, "metadata.labels"),
            member(path, "metadata.annotations"),
        ) {
            (Some(key), _) => of(&meta.labels, &key),
            (_, Some(key)) => of(&meta.annotations, &key),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        },
    })
}

/// Whether a path is one of upstream's own in a volume.
pub(super) fn top(path: &Path) -> Option<&std::ffi::OsStr> {
    match path.components().next() {
        Some(Component::Normal(name)) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_volume_of_admission_has_three_files() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "a"}, "spec": {"containers": [], "volumes": [{
            "name": "kube-api-access-x", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]}}))
        .expect("a pod");
        let spec = pod.spec.clone().expect("a spec");
        let volume = &spec.volumes.as_ref().expect("volumes")[0];
        let mut fetched = Fetched::default();
        fetched.tokens.insert(0, "t".to_owned());
        let error = files(volume, &pod, &spec, &fetched).expect_err("no map yet");
        assert!(
            error
                .to_string()
                .ends_with("configmap \"kube-root-ca.crt\" not found"),
            "{error}"
        );
        let map = serde_json::from_value(json!({"data": {"ca.crt": "pem", "other": "x"}}))
            .expect("a map");
        fetched
            .config_maps
            .insert("kube-root-ca.crt".to_owned(), map);
        let files = files(volume, &pod, &spec, &fetched).expect("whole");
        let shown: Vec<(String, &str)> = files
            .iter()
            .map(|f| {
                (
                    f.path.display().to_string(),
                    std::str::from_utf8(&f.data).expect("text"),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("ca.crt".into(), "pem"),
                ("namespace".into(), "a"),
                ("token".into(), "t")
            ]
        );
        assert!(files.iter().all(|f| f.mode == 0o644));
    }

    #[test]
    fn a_known_user_alone_owns_the_token() {
        let spec =
            |value: serde_json::Value| serde_json::from_value::<PodSpec>(value).expect("a spec");
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
                json!({"containers": [{"name": "c"}], "securityContext": {"runAsUser": 7, "fsGroup": 8}}),
                Some(7),
                Some(8),
            ),
        ];
        for (value, user, group) in rows {
            assert_eq!(
                owner(&spec(value.clone())),
                Owner { user, group },
                "{value}"
            );
        }
    }
}
