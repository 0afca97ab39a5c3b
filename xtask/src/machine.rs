//! What the machine must have for tests and demo; installed by its package manager when we may.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::workspace;

/// A program, and the Debian package that has it.
struct Needed {
    program: &'static str,
    package: &'static str,
}

const fn needed(program: &'static str, package: &'static str) -> Needed {
    Needed { program, package }
}

/// For the demo.
const DEMO: [&Needed; 6] = [
    &needed("kubectl", "kubernetes-client"),
    &needed("busybox", "busybox-static"),
    &needed("ip", "iproute2"),
    &needed("curl", "curl"),
    &needed("nsenter", "util-linux"),
    &needed("cc", "build-essential"),
];

/// For the tests, besides.
const TEST: [&Needed; 2] = [
    &needed("musl-gcc", "musl-tools"),
    &needed("nft", "nftables"),
];

/// Installs what the demo lacks.
pub fn prepare_for_demo() -> Result<()> {
    prepare(&DEMO)
}

/// Installs what the tests lack.
pub fn prepare_for_test() -> Result<()> {
    prepare(&[DEMO.as_slice(), TEST.as_slice()].concat())
}

fn prepare(needed: &[&Needed]) -> Result<()> {
    let missing: Vec<&Needed> = needed
        .iter()
        .copied()
        .filter(|needed| !has(needed.program))
        .collect();
    let packages: Vec<&str> = missing.iter().map(|needed| needed.package).collect();
    let root = geteuid().is_root();
    let install = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if !root && !packages.is_empty() {
        bail!("root is needed, and some packages: sudo {install}");
    }
    if !root {
        bail!("root is needed, for network namespaces and containers: sudo -E cargo xtask …");
    }
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("Installing {}", packages.join(", "));
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    if workspace::run(&mut apt).is_err() {
        // The lists of packages may be missing or old.
        workspace::run(Command::new("apt-get").args(["update", "-qq"]))?;
        workspace::run(&mut apt)?;
    }
    match missing.iter().find(|needed| !has(needed.program)) {
        Some(needed) => bail!(
            "{} is still not there after installing {}",
            needed.program,
            needed.package
        ),
        None => Ok(()),
    }
}

fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
