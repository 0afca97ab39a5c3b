//! The user's kubeconfig: a context of ours is put in and taken out, the rest stays as it is.
//!
//! Unknown fields, other clusters, contexts and users survive. Entries of ours carry an extension, as
//! minikube's do; an entry of the same name without it belongs to somebody else and is never changed.

use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::file::write_private;

/// Who made an entry.
const PROVIDER: &str = "karve";
/// Largest kubeconfig that is read.
const SIZE_MAX: u64 = 16 << 20;
/// The lists that entries live in, and what an entry holds.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("contexts", "context"),
    ("users", "user"),
];

/// What a context of ours says.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The name of cluster, context and user.
    pub name: &'a str,
    /// The API's URL.
    pub server: &'a str,
    /// PEM of the cluster's authority.
    pub ca: &'a [u8],
    /// PEM of the administrator's certificate.
    pub certificate: &'a [u8],
    /// PEM of its key.
    pub key: &'a [u8],
}

/// The file that kubectl would change: `--kubeconfig`, else the first of `$KUBECONFIG` that is there
/// (or the first at all), else `~/.kube/config`. Always absolute.
pub fn target(flag: Option<&Path>) -> Result<PathBuf> {
    let listed = env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> = env::split_paths(&listed)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let path = match (
        flag,
        listed.iter().find(|path| path.exists()).or(listed.first()),
    ) {
        (Some(flag), _) => flag.to_path_buf(),
        (None, Some(path)) => path.clone(),
        (None, None) => env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .context(
                "no home directory for the kubeconfig: set HOME, or name a file with --kubeconfig",
            )?
            .join(".kube/config"),
    };
    std::path::absolute(&path).with_context(|| format!("find kubeconfig {}", path.display()))
}

/// Puts the context into the file and makes it the current one.
pub fn add(path: &Path, entry: &Entry<'_>) -> Result<()> {
    change(path, |config| with_entry(config, entry).map(Some))
}

/// Fails when [`add`] would have to change an entry that is not ours.
pub fn check(path: &Path, name: &str) -> Result<()> {
    let config = read(path)?.unwrap_or_default();
    ensure_ours(&config, name).with_context(|| format!("use kubeconfig {}", path.display()))
}

/// Takes the context out of the file; false when it was not there.
pub fn remove(path: &Path, name: &str) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let mut found = false;
    change(path, |config| {
        found = has_ours(&config, name);
        Ok(without_entry(config, name))
    })?;
    Ok(found)
}

/// Reads, changes and writes the file under kubectl's own lock. `None` removes the file.
fn change(
    path: &Path,
    edit: impl FnOnce(Map<String, Value>) -> Result<Option<Map<String, Value>>>,
) -> Result<()> {
    let action = || format!("change kubeconfig {}", path.display());
    // A link stays one: its target is what changes.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(action)?;
    }
    let _lock = Lock::take(path).with_context(action)?;
    let before = read(path)?.unwrap_or_default();
    match edit(before.clone()).with_context(action)? {
        Some(after) if after == before => Ok(()),
        Some(after) => {
            let text = serde_saphyr::to_string(&after).with_context(action)?;
            write_private(path, text.as_bytes()).with_context(action)
        }
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(action)
            }
            _ => Ok(()),
        },
    }
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>> {
    let action = || format!("read kubeconfig {}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(action),
        Ok(metadata) => ensure!(
            metadata.len() <= SIZE_MAX,
            "kubeconfig {} is too large",
            path.display()
        ),
    }
    let text = fs::read_to_string(path).with_context(action)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    match serde_saphyr::from_str(&text).with_context(action)? {
        Value::Object(config) => Ok(Some(config)),
        Value::Null => Ok(None),
        _ => bail!("kubeconfig {} is not a mapping", path.display()),
    }
}

/// `config` with the entry in it and current.
fn with_entry(mut config: Map<String, Value>, entry: &Entry<'_>) -> Result<Map<String, Value>> {
    use base64::Engine as _;
    let encode = |pem: &[u8]| base64::engine::general_purpose::STANDARD.encode(pem);
    let name = entry.name;
    ensure_ours(&config, name)?;
    let previous = match previous_context(&config, name) {
        Some(before) => before,
        None => config
            .get("current-context")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    };
    let extensions = |extension: Value| json!([{ "name": PROVIDER, "extension": extension }]);
    let values = [
        json!({
            "server": entry.server,
            "certificate-authority-data": encode(entry.ca),
            "extensions": extensions(json!({ "provider": PROVIDER })),
        }),
        json!({
            "cluster": name,
            "user": name,
            "extensions": extensions(json!({ "provider": PROVIDER, "previous-context": previous })),
        }),
        json!({
            "client-certificate-data": encode(entry.certificate),
            "client-key-data": encode(entry.key),
        }),
    ];
    config.entry("apiVersion").or_insert_with(|| json!("v1"));
    config.entry("kind").or_insert_with(|| json!("Config"));
    config.entry("preferences").or_insert_with(|| json!({}));
    for ((list, member), value) in LISTS.into_iter().zip(values) {
        let entries = list_mut(&mut config, list)?;
        let new = json!({ "name": name, member: value });
        match entries.iter_mut().find(|old| old["name"] == name) {
            Some(old) => *old = new,
            None => entries.push(new),
        }
    }
    config.insert("current-context".to_owned(), json!(name));
    Ok(config)
}

/// `config` without our entries; `None` when nothing is left that anybody could miss.
fn without_entry(mut config: Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
    if !has_ours(&config, name) {
        return Some(config);
    }
    let previous = previous_context(&config, name).unwrap_or_default();
    for (list, _) in LISTS {
        if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry["name"] != name);
        }
    }
    if config
        .get("current-context")
        .is_some_and(|current| current == name)
    {
        let known = find(&config, "contexts", &previous).is_some();
        config.insert(
            "current-context".to_owned(),
            json!(if known { previous.as_str() } else { "" }),
        );
    }
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    let missed = config
        .iter()
        .any(|(key, value)| key != "apiVersion" && key != "kind" && !empty(value));
    missed.then_some(config)
}

fn list_mut<'a>(config: &'a mut Map<String, Value>, list: &str) -> Result<&'a mut Vec<Value>> {
    let value = config.entry(list).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value
        .as_array_mut()
        .with_context(|| format!("{list} is not a list"))
}

fn find<'a>(config: &'a Map<String, Value>, list: &str, name: &str) -> Option<&'a Value> {
    config
        .get(list)?
        .as_array()?
        .iter()
        .find(|entry| entry["name"] == name)
}

/// Our extension of the context `name`.
fn our_extension<'a>(config: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let extensions = find(config, "contexts", name)?["context"]["extensions"].as_array()?;
    let ours = extensions
        .iter()
        .find(|extension| extension["name"] == PROVIDER)?;
    Some(&ours["extension"])
}

fn has_ours(config: &Map<String, Value>, name: &str) -> bool {
    our_extension(config, name).is_some()
}

fn previous_context(config: &Map<String, Value>, name: &str) -> Option<String> {
    our_extension(config, name)?["previous-context"]
        .as_str()
        .map(str::to_owned)
}

fn ensure_ours(config: &Map<String, Value>, name: &str) -> Result<()> {
    let taken = LISTS
        .iter()
        .any(|(list, _)| find(config, list, name).is_some());
    ensure!(
        !taken || has_ours(config, name),
        "it has a context, cluster or user \"{name}\" of somebody else: choose another --name or --kubeconfig"
    );
    Ok(())
}

/// The lock that kubectl takes (`FILE.lock`, made exclusively, removed when done).
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        let mut name = path
            .file_name()
            .context("a kubeconfig has a name")?
            .to_os_string();
        name.push(".lock");
        let lock = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&lock) {
            Ok(_) => Ok(Self(lock)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!(
                    "another program is changing it; if none is, remove {}",
                    lock.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("lock {}", lock.display())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: what is left says itself what to do.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
