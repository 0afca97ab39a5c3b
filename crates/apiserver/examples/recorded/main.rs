//! Plays recorded scenarios against a server inside this process and compares the answers.
//!
//! `cargo run -p karve-apiserver --example recorded DIRECTORY [FILTER] [-v]`: plays `DIRECTORY/*/*.json`, prints one line
//! per scenario with the number of steps that agreed, and with `-v` what differed.

mod matcher;
mod play;

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|a| a == "-v");
    let mut names = arguments.iter().filter(|a| !a.starts_with('-'));
    let directory = PathBuf::from(names.next().context("name the directory of scenarios")?);
    let filter = names.next().cloned().unwrap_or_default();
    let mut files = Vec::new();
    for topic in
        std::fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?
    {
        let topic = topic?.path();
        if topic.is_dir() {
            files.extend(
                std::fs::read_dir(topic)?
                    .filter_map(Result::ok)
                    .map(|e| e.path()),
            );
        }
    }
    files.retain(|f| {
        f.extension().is_some_and(|e| e == "json") && f.to_string_lossy().contains(&filter)
    });
    files.sort();
    let (mut agreed, mut total, mut whole, mut scenarios) = (0, 0, 0, 0);
    for file in files {
        let scenario: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        if !scenario["steps"].is_array() {
            continue;
        }
        let result = play::scenario(&scenario, verbose).await?;
        let topic = file
            .parent()
            .and_then(|p| p.file_name())
            .unwrap_or_default()
            .to_string_lossy();
        let name = scenario["name"].as_str().unwrap_or_default();
        println!("{:>4}/{:<4} {topic}/{name}", result.agreed, result.total);
        agreed += result.agreed;
        total += result.total;
        whole += usize::from(result.agreed == result.total);
        scenarios += 1;
    }
    println!("{agreed} of {total} steps, {whole} of {scenarios} scenarios");
    Ok(())
}
