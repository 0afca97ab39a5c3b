//! The tutorial's images, under the names that its manifests use, from programs of this machine.

use std::path::{Path, PathBuf};

use anyhow::Result;
use karve_runtime::images::ImageConfig;
use karve_runtime::images::archive::{ImageArchive, Layer, Owner};

use crate::elf;

/// The user that redis runs as, as in Docker's own image.
const REDIS_USER: u32 = 999;

/// redis from Debian's packages, unpacked (not installed) in `root`.
pub fn redis(root: &Path) -> Result<ImageArchive> {
    let search: Vec<PathBuf> = [
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/aarch64-linux-gnu",
        "usr/lib",
    ]
    .into_iter()
    .map(|dir| root.join(dir))
    .filter(|dir| dir.is_dir())
    .collect();
    let mut layer = base("redis:x:999:999:redis:/data:/bin/false", "redis:x:999:")?;
    layer.directory(
        "data",
        Owner {
            uid: REDIS_USER,
            gid: REDIS_USER,
            mode: 0o755,
        },
    )?;
    elf::add_program(
        &mut layer,
        &root.join("usr/bin/redis-server"),
        "usr/bin/redis-server",
        &search,
    )?;
    elf::add_program(
        &mut layer,
        &root.join("usr/bin/redis-cli"),
        "usr/bin/redis-cli",
        &search,
    )?;
    Ok(ImageArchive {
        names: vec!["redis".parse()?],
        config: ImageConfig {
            user: Some(format!("{REDIS_USER}:{REDIS_USER}")),
            env: Some(vec!["PATH=/usr/bin".to_owned()]),
            // Docker's image trusts its network too: without this, redis talks to loopback only.
            entrypoint: Some(
                ["redis-server", "--protected-mode", "no"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            working_dir: Some("/data".to_owned()),
            exposed_ports: Some([("6379/tcp".to_owned(), serde_json::json!({}))].into()),
            ..ImageConfig::default()
        },
        layers: vec![layer.finish()?],
    })
}

/// The tutorial's app, from `program`, which uses the C library of this machine.
pub fn counter(program: &Path) -> Result<ImageArchive> {
    let mut layer = base(
        "nobody:x:65534:65534:nobody:/:/bin/false",
        "nogroup:x:65534:",
    )?;
    elf::add_program(&mut layer, program, "usr/bin/counter", &[])?;
    Ok(ImageArchive {
        names: vec!["ghcr.io/subicura/counter:latest".parse()?],
        config: ImageConfig {
            user: Some("65534:65534".to_owned()),
            env: Some(vec!["PATH=/usr/bin".to_owned()]),
            cmd: Some(vec!["counter".to_owned()]),
            exposed_ports: Some([("3000/tcp".to_owned(), serde_json::json!({}))].into()),
            ..ImageConfig::default()
        },
        layers: vec![layer.finish()?],
    })
}

/// What every image has: root, one more user, and a directory for temporary files.
fn base(user: &str, group: &str) -> Result<Layer> {
    let mut layer = Layer::default();
    layer.directory("etc", Owner::root(0o755))?;
    layer.directory("tmp", Owner::root(0o1777))?;
    let passwd = format!("root:x:0:0:root:/root:/bin/false\n{user}\n");
    layer.file("etc/passwd", passwd.as_bytes(), Owner::root(0o644))?;
    layer.file(
        "etc/group",
        format!("root:x:0:\n{group}\n").as_bytes(),
        Owner::root(0o644),
    )?;
    Ok(layer)
}
