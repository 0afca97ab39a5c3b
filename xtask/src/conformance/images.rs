//! The images of the tests, under the names that this very test program has for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Options, output};
use crate::packages;
use crate::workspace::{self, Profile};

/// Makes what can be made; the folder of the archives, which is not there when nothing was made.
pub fn make(e2e: &Path, options: &Options) -> Result<PathBuf> {
    let folder = workspace::target()?.join("conformance-images");
    let archives = folder.join("archives");
    let Some(agnhost) = &options.agnhost else {
        return Ok(folder.join("none"));
    };
    let agnhost = program(agnhost, &folder)?;
    let nginx = packages::unpack(&folder.join("nginx"), &["nginx-light"], "usr/sbin/nginx")?;
    let writer = workspace::build("conformance-images", Profile::Dev)?;
    let mut write = Command::new(writer);
    write
        .arg(agnhost)
        .arg(nginx)
        .arg(
            options
                .sample_apiserver
                .as_deref()
                .unwrap_or(Path::new("-")),
        )
        .arg(options.etcd.as_deref().unwrap_or(Path::new("-")))
        .arg(&archives)
        .args(names(e2e)?);
    let made = output(&mut write)?;
    eprintln!("xtask: made {} images", made.lines().count());
    Ok(archives)
}

/// The images that tests may ask for.
fn names(e2e: &Path) -> Result<Vec<String>> {
    let list = output(Command::new(e2e).arg("--list-images"))?;
    let names = list
        .lines()
        .map(str::trim)
        .filter(|line| line.contains('/') && line.contains(':'));
    Ok(names.map(str::to_owned).collect())
}

/// The program, built if its source is given.
fn program(path: &Path, folder: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).context("find agnhost")?;
    if !path.is_dir() {
        return Ok(path);
    }
    let program = folder.join("agnhost");
    let mut go = Command::new("go");
    go.current_dir(&path)
        .env("CGO_ENABLED", "0")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".");
    workspace::run(&mut go)?;
    Ok(program)
}
