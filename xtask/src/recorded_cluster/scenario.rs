//! A scenario file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::kinds::Kind;
use crate::recorded::entries;

/// What is played, and what a real cluster showed.
pub struct Scenario {
    /// `topic/name`
    pub path: String,
    /// The name, which is its Namespace, too.
    pub name: String,
    /// The whole file.
    pub file: Value,
}

/// All scenarios of a folder's topics, ordered by path.
pub fn read(folder: &Path, topic: Option<&str>, filter: Option<&str>) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for directory in entries(folder)?.iter().filter(|path| path.is_dir()) {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        if topic.is_some_and(|topic| topic != name) {
            continue;
        }
        for path in entries(directory)? {
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let scenario = Scenario::read(&path, &name)?;
            if filter.is_none_or(|text| scenario.path.contains(text)) {
                scenarios.push(scenario);
            }
        }
    }
    Ok(scenarios)
}

impl Scenario {
    fn read(path: &Path, topic: &str) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let file: Value =
            serde_json::from_slice(&bytes).with_context(|| format!("decode {}", path.display()))?;
        let name = file["name"]
            .as_str()
            .context("a scenario has a name")?
            .to_owned();
        Ok(Self {
            path: format!("{topic}/{name}"),
            name,
            file,
        })
    }

    /// The objects that are sent.
    pub fn manifests(&self) -> impl Iterator<Item = &Value> {
        self.file["manifests"].as_array().into_iter().flatten()
    }

    /// What is done, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Value> {
        self.file["actions"].as_array().into_iter().flatten()
    }

    /// A list of texts of the file.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.file[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// Whether a flag is set.
    pub fn is(&self, name: &str) -> bool {
        self.file[name] == true
    }

    /// Whether it runs while nothing else does.
    pub fn alone(&self) -> bool {
        self.is("alone")
    }

    /// Whether it runs upstream's `agnhost`.
    pub fn uses_agnhost(&self) -> bool {
        [&self.file["manifests"], &self.file["actions"]]
            .iter()
            .any(|part| part.to_string().contains("/agnhost:"))
    }

    /// The Namespace of a manifest's object.
    pub fn namespace_of<'s>(&'s self, manifest: &'s Value) -> &'s str {
        manifest["metadata"]["namespace"]
            .as_str()
            .unwrap_or(&self.name)
    }

    /// The manifest of `Kind/name`.
    pub fn manifest(&self, reference: &str) -> Option<&Value> {
        let (kind, name) = reference.split_once('/')?;
        let name = name.rsplit('/').next()?;
        self.manifests()
            .find(|one| one["kind"] == *kind && one["metadata"]["name"] == *name)
    }

    /// Kind, Namespace and name of `Kind/name` or `Kind/namespace/name`.
    pub fn resolve<'s>(&'s self, reference: &'s str) -> Result<(Kind, &'s str, &'s str)> {
        let mut parts = reference.splitn(3, '/');
        let known = || format!("{reference} names an object of a known kind");
        let kind = parts.next().and_then(Kind::of).with_context(known)?;
        let (namespace, name) = match (parts.next(), parts.next()) {
            (Some(namespace), Some(name)) => (namespace, name),
            (Some(name), None) => {
                let manifest = self.manifest(reference);
                (
                    manifest.map_or(&*self.name, |one| self.namespace_of(one)),
                    name,
                )
            }
            _ => (&*self.name, ""),
        };
        Ok((kind, if kind.namespaced { namespace } else { "" }, name))
    }

    /// Its own Namespace, and others that its objects lie in.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        let manifests = self.manifests().map(|one| self.namespace_of(one));
        manifests.chain([&*self.name]).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references() {
        let scenario = Scenario {
            path: "t/s".into(),
            name: "s".into(),
            file: json!({"manifests": [{"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "s-x"}}]}),
        };
        let cases = [
            ("ConfigMap/c", ("s-x", "c")),
            ("Pod/web-*", ("s", "web-*")),
            ("Service/default/kubernetes", ("default", "kubernetes")),
            ("Node/n", ("", "n")),
        ];
        for (reference, expected) in cases {
            let (_, namespace, name) = scenario.resolve(reference).unwrap();
            assert_eq!((namespace, name), expected, "{reference}");
        }
        assert!(scenario.resolve("Nothing/a").is_err());
        assert_eq!(
            scenario.namespaces().into_iter().collect::<Vec<_>>(),
            ["s", "s-x"]
        );
    }
}
