//! `cargo xtask test`: everything that can be tested on one machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::workspace::{self, Profile};
use crate::{images, layers, machine};

#[derive(Debug, Args)]
pub struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Builds and tests. What end-to-end tests left on the machine is removed, also after Ctrl-C.
pub fn run(options: &Options) -> Result<()> {
    machine::prepare_for_test()?;
    let mut interrupt = Interrupt::hold()?;
    layers::run()?;
    let karve = workspace::build("karve", "karve", Profile::Dev)?;
    let images = images::make(Profile::Dev)?;
    let clusters = std::env::temp_dir().join(format!("karve-e2e-{}", std::process::id()));
    fs::create_dir(&clusters).with_context(|| format!("make directory {}", clusters.display()))?;
    let tested = test(options, &karve, &images, &clusters).and_then(|()| interrupt.check());
    let swept = sweep(&karve, &clusters);
    tested.and(swept)
}

fn test(options: &Options, karve: &Path, images: &Path, clusters: &Path) -> Result<()> {
    let test = |packages: &[&str], arguments: &[&str]| {
        let mut cargo = workspace::cargo();
        cargo
            .arg("test")
            .args(packages)
            .arg("--")
            .args(&options.filter)
            .args(arguments);
        cargo
            .env("KARVE_E2E_BINARY", karve)
            .env("KARVE_E2E_IMAGES", images)
            .env("KARVE_E2E_ROOT", clusters);
        workspace::run(&mut cargo)
    };
    test(&["--workspace", "--exclude", "karve-e2e"], &[])?;
    // A cluster each: more at a time than this only wait for each other.
    test(&["--package", "karve-e2e"], &["--test-threads=2"])
}

/// Removes the clusters of tests that were killed. Each test has a folder here, with its roots in it.
fn sweep(karve: &Path, clusters: &Path) -> Result<()> {
    for host in folders(clusters)? {
        let data = host.join("data");
        for cluster in folders(&data)? {
            let Some(name) = cluster.file_name().filter(|name| *name != "images") else {
                continue;
            };
            let mut down = Command::new(karve);
            down.args(["down", "--name"]).arg(name);
            down.env("KARVE_DATA_ROOT", &data)
                .env("KARVE_RUN_ROOT", host.join("run"));
            workspace::run(&mut down)?;
        }
    }
    fs::remove_dir_all(clusters).with_context(|| format!("remove {}", clusters.display()))
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", dir.display()))?
            .path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}
