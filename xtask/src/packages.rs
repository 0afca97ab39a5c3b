//! Debian packages that are used without being installed, so that nothing of them runs as a service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Downloads and unpacks packages below `folder`, unless that was done before; the root they lie in.
///
/// What they depend on comes along as far as it is not installed. `program` is what is wanted of them,
/// such as `usr/bin/redis-server`.
pub fn unpack(folder: &Path, packages: &[&str], program: &str) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.join(program).exists() {
        return Ok(root);
    }
    let archives = folder.join("packages");
    fs::create_dir_all(archives.join("partial"))
        .with_context(|| format!("make directory {}", archives.display()))?;
    if download(&archives, packages).is_err() {
        // The lists of packages may be missing or old.
        workspace::run(Command::new("apt-get").args(["update", "-qq"]))?;
        download(&archives, packages)?;
    }
    let unpacked = folder.join("unpacked");
    let entries =
        fs::read_dir(&archives).with_context(|| format!("list {}", archives.display()))?;
    for entry in entries {
        let archive = entry
            .with_context(|| format!("list {}", archives.display()))?
            .path();
        if archive.extension().is_some_and(|kind| kind == "deb") {
            workspace::run(Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacked))?;
        }
    }
    // The name that says that all is there comes last.
    fs::rename(&unpacked, &root).with_context(|| format!("rename {}", unpacked.display()))?;
    ensure!(
        root.join(program).exists(),
        "packages {} have no {program}",
        packages.join(", ")
    );
    Ok(root)
}

fn download(archives: &Path, packages: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-qq", "--no-install-recommends"])
        // Also what is installed already.
        .args(["--download-only", "--reinstall"])
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        .args(packages)
        .stdout(Stdio::null());
    workspace::run(&mut apt)
}
