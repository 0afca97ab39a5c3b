//! `cargo xtask images`: redis from Debian's own packages, our counter, and a busybox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, Profile};

/// Makes the images and names their folder.
pub fn run() -> Result<()> {
    println!("{}", make(Profile::Release)?.display());
    Ok(())
}

/// Makes the images with programs built by `profile`; their folder.
pub fn make(profile: Profile) -> Result<PathBuf> {
    let folder = workspace::target()?.join("images");
    let redis = redis(&folder.join("redis"))?;
    let counter = workspace::build("counter", "counter", profile)?;
    let writer = workspace::build("karve-testkit", "tutorial-images", profile)?;
    let archives = folder.join("archives");
    let mut write = Command::new(writer);
    // The names of the images are no news, and our own output is the folder.
    write
        .arg(redis)
        .arg(counter)
        .arg(&archives)
        .stdout(std::process::Stdio::null());
    workspace::run(&mut write)?;
    Ok(archives)
}

/// Debian's redis, downloaded and unpacked but not installed: nothing of it ever runs as a service.
fn redis(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    let program = root.join("usr/bin/redis-server");
    if program.exists() {
        return Ok(root);
    }
    let packages = folder.join("packages");
    fs::create_dir_all(packages.join("partial"))
        .with_context(|| format!("make directory {}", packages.display()))?;
    if download(&packages).is_err() {
        // The lists of packages may be missing or old.
        workspace::run(Command::new("apt-get").args(["update", "-qq"]))?;
        download(&packages)?;
    }
    let entries =
        fs::read_dir(&packages).with_context(|| format!("list {}", packages.display()))?;
    let unpacked = folder.join("unpacked");
    for entry in entries {
        let package = entry
            .with_context(|| format!("list {}", packages.display()))?
            .path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            workspace::run(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked))?;
        }
    }
    // The name that says that all is there comes last.
    fs::rename(&unpacked, &root).with_context(|| format!("rename {}", unpacked.display()))?;
    ensure!(
        program.exists(),
        "Debian's packages have no {}",
        program.display()
    );
    Ok(root)
}

/// Downloads redis, and what it depends on as far as that is not installed.
fn download(packages: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "--download-only",
        "--reinstall",
    ])
    .arg("-o")
    .arg(format!("Dir::Cache::archives={}", packages.display()))
    .args(["redis-server", "redis-tools"])
    .stdout(std::process::Stdio::null());
    workspace::run(&mut apt)
}
