//! Writes the tutorial's images as archives: `tutorial-images REDIS_ROOT COUNTER FOLDER`.
//!
//! Called by `cargo xtask images`, which gets the programs ready.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use karve_runtime::images::archive::ImageArchive;
use karve_testkit::{busybox, tutorial};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [redis_root, counter, folder] = arguments.as_slice() else {
        bail!("usage: tutorial-images REDIS_ROOT COUNTER FOLDER");
    };
    fs::create_dir_all(folder).with_context(|| format!("make directory {}", folder.display()))?;
    write(&tutorial::redis(redis_root)?, &folder.join("redis.tar"))?;
    write(&tutorial::counter(counter)?, &folder.join("counter.tar"))?;
    write(&busybox::image("busybox")?, &folder.join("busybox.tar"))
}

fn write(image: &ImageArchive, path: &Path) -> Result<()> {
    let action = || format!("write {}", path.display());
    let file = File::create(path).with_context(action)?;
    image.write_oci(BufWriter::new(file)).with_context(action)?;
    for name in &image.names {
        println!("{name}");
    }
    Ok(())
}
