//! A scenario file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// What is played, in the order in which it is written.
pub struct Scenario {
    /// `topic/name`
    pub path: String,
    pub name: String,
    /// Whether the scenario has a namespace of its name, and the ServiceAccount `default` in it.
    pub namespace: bool,
    pub service_account: bool,
    /// Name and text of files for kubectl.
    pub files: Vec<(String, String)>,
    pub steps: Vec<Value>,
    /// Paths to be deleted in the end.
    pub cleanup: Vec<String>,
}

/// All scenarios of a folder's topics, ordered by path. Other documents have no steps and are left out.
pub fn read(folder: &Path, filter: Option<&str>) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for topic in entries(folder)?.iter().filter(|path| path.is_dir()) {
        for file in entries(topic)? {
            if file.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let value: Value = serde_json::from_slice(&bytes)
                .with_context(|| format!("decode {}", file.display()))?;
            let topic = topic.file_name().unwrap_or_default().to_string_lossy();
            if let Some(scenario) = Scenario::new(&topic, &value)
                && filter.is_none_or(|text| scenario.path.contains(text))
            {
                scenarios.push(scenario);
            }
        }
    }
    Ok(scenarios)
}

/// The entries of a folder, sorted.
pub fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths = list
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("list {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

impl Scenario {
    fn new(topic: &str, value: &Value) -> Option<Self> {
        let steps = value["steps"].as_array()?.clone();
        let name = value["name"].as_str()?.to_owned();
        let files = value["files"].as_object().into_iter().flatten();
        let cleanup = value["cleanup"].as_array().into_iter().flatten();
        Some(Self {
            path: format!("{topic}/{name}"),
            name,
            namespace: value["namespace"] != false,
            service_account: value["service_account"] != false,
            files: files
                .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
                .collect(),
            steps,
            cleanup: cleanup
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        })
    }
}
