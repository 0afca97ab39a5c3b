//! `cargo xtask images`: redis from Debian's own packages, our counter, and a busybox.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::packages;
use crate::workspace::{self, Profile};

/// Makes the images and names their folder.
pub fn run() -> Result<()> {
    println!("{}", make(Profile::Release)?.display());
    Ok(())
}

/// Makes the images with programs built by `profile`; their folder.
pub fn make(profile: Profile) -> Result<PathBuf> {
    let folder = workspace::target()?.join("images");
    let redis = packages::unpack(
        &folder.join("redis"),
        &["redis-server", "redis-tools"],
        "usr/bin/redis-server",
    )?;
    let counter = workspace::build("counter", profile)?;
    let writer = workspace::build("tutorial-images", profile)?;
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
