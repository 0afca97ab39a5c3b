//! `cargo xtask test`: everything that can be tested on one machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::workspace::{self, Profile};
use crate::{images, layers, machine, packages, sweep};

#[derive(Debug, Args)]
pub struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Builds and tests. What tests left on the machine is removed, also after Ctrl-C.
pub fn run(options: &Options) -> Result<()> {
    machine::prepare_for_test()?;
    let mut interrupt = Interrupt::hold()?;
    layers::run()?;
    let karve = workspace::build("karve", Profile::Dev)?;
    let images = images::make(Profile::Dev)?;
    let path = path_with_registry()?;
    // For the tests' temporary files. Short, because sockets lie in it.
    let folder = env::temp_dir().join(format!("karve-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("make directory {}", folder.display()))?;

    let test = |packages: &[&str], arguments: &[&str]| {
        let mut cargo = workspace::cargo();
        cargo
            .arg("test")
            .args(packages)
            .arg("--")
            .args(&options.filter)
            .args(arguments)
            .env("PATH", &path)
            .env("TMPDIR", &folder)
            .env("KARVE_E2E_BINARY", &karve)
            .env("KARVE_E2E_IMAGES", &images);
        workspace::run(&mut cargo)
    };
    let tested = test(&["--workspace", "--exclude", "karve-e2e"], &[])
        // A cluster each: more at a time than this only wait for each other.
        .and_then(|()| test(&["--package", "karve-e2e"], &["--test-threads=2"]))
        .and_then(|()| interrupt.check());
    let swept = sweep::sweep(&karve, &folder);
    tested.and(swept)
}

/// A real registry for the tests of pulls, which must not become a service of this machine.
fn path_with_registry() -> Result<OsString> {
    let folder = workspace::target()?.join("registry");
    let root = packages::unpack(&folder, &["docker-registry"], "usr/bin/docker-registry")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let programs = std::iter::once(root.join("usr/bin")).chain(env::split_paths(&path));
    env::join_paths(programs.collect::<Vec<_>>().iter().map(Path::new)).context("extend PATH")
}
