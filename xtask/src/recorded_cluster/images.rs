//! The images that the recordings have on their node, made from this machine's busybox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::recorded::entries;
use crate::workspace::{self, Profile};

/// Makes them; their archives.
pub fn make(agnhost: Option<&Path>) -> Result<Vec<PathBuf>> {
    let folder = workspace::target()?.join("recorded-images");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let writer = workspace::build("recorded-images", Profile::Dev)?;
    workspace::run(
        Command::new(writer)
            .arg(&folder)
            .args(agnhost)
            .stdout(Stdio::null()),
    )?;
    entries(&folder)
}
