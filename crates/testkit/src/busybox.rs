//! An image with a shell and small tools, from Debian's static busybox.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use karve_runtime::images::archive::{ImageArchive, Layer, Owner};
use karve_runtime::images::{ImageConfig, ImageRef};

use crate::elf;

/// Where Debian's package `busybox-static` puts it.
pub const PROGRAM: &str = "/bin/busybox";

/// The image, called `name`.
pub fn image(name: &str) -> Result<ImageArchive> {
    let program = Path::new(PROGRAM);
    ensure!(
        elf::libraries(program, &[])?.is_empty(),
        "{PROGRAM} is not static: apt install busybox-static"
    );
    let list = Command::new(program)
        .arg("--list")
        .output()
        .context("list the tools of busybox")?;
    let tools = String::from_utf8(list.stdout).context("list the tools of busybox")?;
    let mut layer = Layer::default();
    for (directory, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("home", 0o755),
    ] {
        layer.directory(directory, Owner::root(mode))?;
    }
    elf::add_file(&mut layer, program, "bin/busybox", 0o755)?;
    for tool in tools.lines().filter(|tool| *tool != "busybox") {
        layer.symlink(&format!("bin/{tool}"), "busybox")?;
    }
    layer.file(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        Owner::root(0o644),
    )?;
    layer.file(
        "etc/group",
        b"root:x:0:\nnogroup:x:65534:\n",
        Owner::root(0o644),
    )?;
    Ok(ImageArchive {
        names: vec![name.parse::<ImageRef>()?],
        config: ImageConfig {
            env: Some(vec!["PATH=/bin".to_owned()]),
            cmd: Some(vec!["sh".to_owned()]),
            ..ImageConfig::default()
        },
        layers: vec![layer.finish()?],
    })
}
