//! The files of a volume that shows what the API has: a pure function of the pod and of what is known.

mod collect;

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, ProjectedVolumeSource, Secret,
    Volume, VolumeProjection,
};

use self::collect::{Collected, Keyed};
use super::owner;
use super::trust::{self, Bundles};
use crate::objects::Seen;
use crate::pod::downward;

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
    /// Who owns it, if not the node.
    pub user: Option<u32>,
}

/// A source of a projected volume: the volume's name, and which source it is.
pub type Place = (String, usize);

/// What is known.
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// What the node has: thousandths of a CPU, bytes of memory.
    pub allocatable: (i64, i64),
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Seen<ConfigMap>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Seen<Secret>>,
    /// The trust bundles, once all are known.
    pub bundles: Option<Bundles>,
    /// Tokens, or why there is none; one that is not here is on its way.
    pub tokens: BTreeMap<Place, Result<String, String>>,
}

/// Why a volume has no content.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// An object was not yet looked up: what its kind is called.
    Unknown(&'static str),
    /// All is there but what the API makes for this pod alone.
    Awaited,
    /// It can't be had as things are; upstream's words.
    Failed(String),
}

/// The files of a volume, in the order of their paths.
pub fn files(volume: &Volume, facts: &Facts<'_>) -> Result<Vec<File>, Lack> {
    let mut collected = Collected::default();
    if let Some(source) = &volume.config_map {
        collected.config_map(
            facts,
            &Keyed {
                name: &source.name,
                items: source.items.as_deref(),
                optional: source.optional == Some(true),
                mode: mode(source.default_mode),
            },
        );
    } else if let Some(source) = &volume.secret {
        collected.secret(
            facts,
            &Keyed {
                name: source.secret_name.as_deref().unwrap_or_default(),
                items: source.items.as_deref(),
                optional: source.optional == Some(true),
                mode: mode(source.default_mode),
            },
        );
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.iter().flatten();
        collected.downward(facts, items, mode(source.default_mode));
    } else if let Some(source) = &volume.projected {
        projected(&mut collected, facts, &volume.name, source);
    }
    collected.finish()
}

fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(DEFAULT_MODE)
}

/// Where sources have the same path, the last wins.
fn projected(
    collected: &mut Collected,
    facts: &Facts<'_>,
    volume: &str,
    projected: &ProjectedVolumeSource,
) {
    let mode = mode(projected.default_mode);
    let sources = projected.sources.iter().flatten();
    for (at, source) in sources.enumerate() {
        let keyed = |name, items, optional| Keyed {
            name,
            items,
            optional: optional == Some(true),
            mode,
        };
        if let Some(map) = &source.config_map {
            collected.config_map(facts, &keyed(&map.name, map.items.as_deref(), map.optional));
        }
        if let Some(secret) = &source.secret {
            let items = secret.items.as_deref();
            collected.secret(facts, &keyed(&secret.name, items, secret.optional));
        }
        if let Some(downward) = &source.downward_api {
            collected.downward(facts, downward.items.iter().flatten(), mode);
        }
        let place = (volume.to_owned(), at);
        token(collected, facts, &place, source, mode);
        bundle(collected, facts, source, mode);
    }
}

fn token(
    collected: &mut Collected,
    facts: &Facts<'_>,
    place: &Place,
    source: &VolumeProjection,
    mode: u32,
) {
    let Some(source) = &source.service_account_token else {
        return;
    };
    match facts.tokens.get(place) {
        None => collected.awaited = true,
        Some(Err(message)) => collected.failed.push(message.clone()),
        Some(Ok(token)) => {
            let data = token.clone().into_bytes();
            collected.credential(facts.spec, &source.path, data, mode);
        }
    }
}

fn bundle(collected: &mut Collected, facts: &Facts<'_>, source: &VolumeProjection, mode: u32) {
    let Some(source) = &source.cluster_trust_bundle else {
        return;
    };
    match facts.bundles.as_ref().map(|b| trust::anchors(source, b)) {
        None => collected.unknown = Some("ClusterTrustBundle"),
        Some(Err(message)) => collected.failed.push(message),
        Some(Ok(text)) => {
            collected.credential(facts.spec, &source.path, text.into_bytes(), mode);
        }
    }
}

impl Collected {
    fn config_map(&mut self, facts: &Facts<'_>, keyed: &Keyed<'_>) {
        let seen = facts.config_maps.get(keyed.name).unwrap_or(&Seen::Unknown);
        let Some(map) = self.object("configmap", keyed, seen) else {
            return;
        };
        let text = map.iter().flat_map(|map| map.data.iter().flatten());
        let text = text.map(|(key, value)| (key.as_str(), value.as_bytes()));
        let binary = map.iter().flat_map(|map| map.binary_data.iter().flatten());
        let binary = binary.map(|(key, value)| (key.as_str(), value.0.as_slice()));
        let data = text.chain(binary).collect();
        self.keys("configmap references non-existent config key", keyed, &data);
    }

    fn secret(&mut self, facts: &Facts<'_>, keyed: &Keyed<'_>) {
        let seen = facts.secrets.get(keyed.name).unwrap_or(&Seen::Unknown);
        let Some(secret) = self.object("secret", keyed, seen) else {
            return;
        };
        let data = secret
            .iter()
            .flat_map(|secret| secret.data.iter().flatten());
        let data = data
            .map(|(key, value)| (key.as_str(), value.0.as_slice()))
            .collect();
        self.keys("references non-existent secret key", keyed, &data);
    }

    fn downward<'a>(
        &mut self,
        facts: &Facts<'_>,
        items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
        mode: u32,
    ) {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => downward::metadata(facts.pod, &field.field_path),
                (None, Some(resource)) => {
                    downward::resource(resource, None, Some(facts.spec), facts.allocatable)
                }
                (None, None) => Ok(String::new()),
            };
            let mode = item.mode.map_or(mode, |own| self::mode(Some(own)));
            match value {
                Ok(value) => self.put(&item.path, value.into_bytes(), mode),
                Err(err) => self.failed.push(err.to_string()),
            }
        }
    }

    /// A file that only the pod's own user may read, when it is known who that is. A group gets its right to read with
    /// the whole volume.
    fn credential(&mut self, spec: &PodSpec, path: &str, data: Vec<u8>, mode: u32) {
        let (user, group) = (owner::user(spec), owner::Group::of(spec));
        let known = user.is_some() || group.is_some();
        self.put(path, data, if known { 0o600 } else { mode });
        self.own(path, user);
    }
}

/// A key's mode.
fn item_mode(item: &KeyToPath, default: u32) -> u32 {
    item.mode.map_or(default, |own| mode(Some(own)))
}

#[cfg(test)]
mod tests;
