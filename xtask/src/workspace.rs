//! Where things are in this checkout, and how to build them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For tests.
    Dev,
    /// For people and measurements.
    Release,
}

impl Profile {
    /// The folder in the target directory.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the checkout")
        .to_path_buf()
}

/// Cargo itself, in the checkout.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// What `cargo metadata` says.
pub fn metadata() -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()
        .context("run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("decode cargo metadata")
}

/// The target directory.
pub fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let path = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names the target directory")?;
    Ok(PathBuf::from(path))
}

/// What is built in one go in release, always: cargo builds a library with what all of its users want of it, so
/// another choice of packages would build the libraries again.
const TOGETHER: [&str; 7] = [
    "karve",
    "counter",
    "karve-testkit",
    "apibench",
    "dnsbench",
    "podbench",
    "svcbench",
];

/// Builds a program; its path.
pub fn build(program: &str, profile: Profile) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--bins"]);
    match profile {
        // Tests are built so too.
        Profile::Dev => {
            cargo.arg("--workspace");
        }
        Profile::Release => {
            cargo.arg("--release");
            for package in TOGETHER {
                cargo.args(["--package", package]);
            }
        }
    }
    run(&mut cargo)?;
    Ok(target()?.join(profile.folder()).join(program))
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = words.join(" ");
    let status = command.status().with_context(|| format!("run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}
