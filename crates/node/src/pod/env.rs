//! Environment variables, and the `$(NAME)` references in them and in commands.
//!
//! Pure: objects that variables refer to are fetched before ([`references`]) and passed in. Order of precedence as
//! upstream: `env` over `envFrom` over variables of Services; references see all of them, but only earlier `env`
//! entries.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

use super::downward;

/// An object that an environment refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A ConfigMap of the pod's namespace.
    ConfigMap(String),
    /// A Secret of the pod's namespace.
    Secret(String),
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reference::ConfigMap(_) => "configmap",
            Reference::Secret(_) => "secret",
        })
    }
}

/// The objects that were found.
#[derive(Debug, Default)]
pub struct Objects {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
}

/// What else values are taken from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its addresses.
    pub pod_ips: &'a [IpAddr],
    /// The node's addresses.
    pub host_ips: &'a [IpAddr],
    /// The node's allocatable CPU (thousandths) and memory (bytes), for limits that are not set.
    pub allocatable: (i64, i64),
}

/// Why a container has no environment (`CreateContainerConfigError`); `Display` is upstream's text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A ConfigMap is not there.
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    /// A Secret is not there.
    #[error("secret {0:?} not found")]
    NoSecret(String),
    /// The object is there, the key is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// A fact of the pod that does not exist.
    #[error(transparent)]
    Downward(#[from] downward::Error),
    /// A source that is not built here.
    #[error("environment variable {0:?} has an unsupported source")]
    Source(String),
}

/// The objects that a container's environment needs.
pub fn references(container: &Container) -> BTreeSet<Reference> {
    let mut set = BTreeSet::new();
    for from in container.env_from.iter().flatten() {
        set.extend(
            from.config_map_ref
                .as_ref()
                .map(|r| Reference::ConfigMap(r.name.clone())),
        );
        set.extend(
            from.secret_ref
                .as_ref()
                .map(|r| Reference::Secret(r.name.clone())),
        );
    }
    for source in container
        .env
        .iter()
        .flatten()
        .filter_map(|e| e.value_from.as_ref())
    {
        set.extend(
            source
                .config_map_key_ref
                .as_ref()
                .map(|r| Reference::ConfigMap(r.name.clone())),
        );
        set.extend(
            source
                .secret_key_ref
                .as_ref()
                .map(|r| Reference::Secret(r.name.clone())),
        );
    }
    set
}

/// The variables of a container, by name.
pub fn environment(
    container: &Container,
    facts: Facts<'_>,
    objects: &Objects,
    services: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut vars = from_objects(container, objects)?;
    for entry in container.env.iter().flatten() {
        let plain = entry.value.as_deref().filter(|v| !v.is_empty());
        let value = match (plain, &entry.value_from) {
            (Some(text), _) => Some(expand(text, |name| {
                vars.get(name).or_else(|| services.get(name)).cloned()
            })),
            (None, Some(source)) => from_source(&entry.name, source, container, facts, objects)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            vars.insert(entry.name.clone(), value);
        }
    }
    for (name, value) in services {
        vars.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(vars)
}

fn from_objects(
    container: &Container,
    objects: &Objects,
) -> Result<BTreeMap<String, String>, Error> {
    let mut vars = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(r) = &from.config_map_ref {
            match objects.config_maps.get(&r.name) {
                Some(map) => vars.extend(
                    map.data
                        .iter()
                        .flatten()
                        .map(|(k, v)| (format!("{prefix}{k}"), v.clone())),
                ),
                None if r.optional == Some(true) => {}
                None => return Err(Error::NoConfigMap(r.name.clone())),
            }
        }
        if let Some(r) = &from.secret_ref {
            match objects.secrets.get(&r.name) {
                Some(secret) => {
                    let data = secret.data.iter().flatten();
                    vars.extend(data.map(|(k, v)| {
                        (
                            format!("{prefix}{k}"),
                            String::from_utf8_lossy(&v.0).into_owned(),
                        )
                    }));
                }
                None if r.optional == Some(true) => {}
                None => return Err(Error::NoSecret(r.name.clone())),
            }
        }
    }
    Ok(vars)
}

/// The value of a source; `None` when it is optional and not there.
fn from_source(
    variable: &str,
    source: &EnvVarSource,
    container: &Container,
    facts: Facts<'_>,
    objects: &Objects,
) -> Result<Option<String>, Error> {
    let namespace = facts.pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return Ok(Some(self::field(&field.field_path, facts)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        let spec = facts.pod.spec.as_ref();
        let value = downward::resource(resource, Some(container), spec, facts.allocatable)?;
        return Ok(Some(value));
    }
    if let Some(r) = &source.config_map_key_ref {
        let optional = r.optional == Some(true);
        let Some(map) = objects.config_maps.get(&r.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(Error::NoConfigMap(r.name.clone()))
            };
        };
        return match map.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(Error::NoKey {
                key: r.key.clone(),
                kind: "ConfigMap",
                namespace,
                name: r.name.clone(),
            }),
        };
    }
    if let Some(r) = &source.secret_key_ref {
        let optional = r.optional == Some(true);
        let Some(secret) = objects.secrets.get(&r.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(Error::NoSecret(r.name.clone()))
            };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(Error::NoKey {
                key: r.key.clone(),
                kind: "Secret",
                namespace,
                name: r.name.clone(),
            }),
        };
    }
    Err(Error::Source(variable.to_owned()))
}

/// A downward API field of the pod.
fn field(path: &str, facts: Facts<'_>) -> Result<String, downward::Error> {
    let spec = facts.pod.spec.as_ref();
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let join = |ips: &[IpAddr]| {
        ips.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let first = |ips: &[IpAddr]| ips.first().map(ToString::to_string).unwrap_or_default();
    Ok(match path {
        "spec.nodeName" => spec.map(|s| text(&s.node_name)).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .map(|s| text(&s.service_account_name))
            .unwrap_or_default(),
        "status.hostIP" => first(facts.host_ips),
        "status.hostIPs" => join(facts.host_ips),
        "status.podIP" => first(facts.pod_ips),
        "status.podIPs" => join(facts.pod_ips),
        path => return downward::metadata(facts.pod, path),
    })
}

/// Replaces `$(NAME)` by its value and `$$` by `$`; a reference to nothing stays as it is.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..at + name.len() + 3]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
