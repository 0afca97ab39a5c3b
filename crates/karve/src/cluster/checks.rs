//! What must be true before a cluster is made. Each check that fails is one line that says what to do.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use karve_sys::netlink::{Family, Socket};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::config::ClusterConfig;
use super::layout::{Layout, create_private_dir};
use super::name::ClusterName;
use super::{cgroup, command, mounts, network, process};

/// We are root.
pub fn root(verb: &str, name: &ClusterName) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and containers need root: `sudo {}`",
        command(verb, name)
    );
    Ok(())
}

/// We may look at clusters.
pub fn root_owns(name: &ClusterName) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "cluster \"{name}\" belongs to root: use sudo"
    );
    Ok(())
}

/// There is no cluster of this name, nor a part of one.
pub fn absent(name: &ClusterName, layout: &Layout) -> Result<()> {
    let down = command("down", name);
    let processes = process::find(name)?;
    if ClusterConfig::read(&layout.config())?.is_some() {
        if processes.is_empty() {
            bail!(
                "cluster \"{name}\" is there, stopped: `{}`, or `{down}` first",
                command("start", name)
            );
        }
        bail!(
            "cluster \"{name}\" is up already: `{}`, or `{down}` first",
            command("status", name)
        );
    }
    let network = network::traces(name)?;
    let traces = [
        !processes.is_empty(),
        network.link.is_some(),
        !network.namespaces.is_empty(),
        !cgroup::traces(name)?.is_empty(),
        layout.data.exists(),
        layout.run.exists(),
    ];
    ensure!(
        !traces.contains(&true),
        "cluster \"{name}\" is half made or half removed: `{down}` first"
    );
    Ok(())
}

/// The kernel can do what a cluster needs, found out by trying. Bridges and veths are tried by making
/// the cluster's own.
pub fn kernel(layout: &Layout) -> Result<()> {
    Socket::open(Family::Netfilter)
        .context("open nf_tables: the kernel needs CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT")?;
    let controllers = mounts::list()?
        .iter()
        .any(|mount| mount.kind == "cgroup" || mount.kind == "cgroup2");
    ensure!(
        controllers,
        "no cgroups are mounted: `mount -t cgroup2 none /sys/fs/cgroup`"
    );
    overlay(layout)
}

/// Mounts an overlay on the file system that will hold containers, where nobody sees it.
fn overlay(layout: &Layout) -> Result<()> {
    let parent = layout.data.parent().context("the data root has a parent")?;
    create_private_dir(parent).with_context(|| format!("make directory {}", parent.display()))?;
    let dir = parent.join(format!(".overlay-{}", std::process::id()));
    let result = thread::scope(|scope| {
        let trial = scope.spawn(|| try_overlay(&dir));
        trial
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let removed = match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    result.with_context(|| {
        format!(
            "mount an overlay on {}: the kernel needs CONFIG_OVERLAY_FS, the file system xattrs",
            parent.display()
        )
    })?;
    removed.with_context(|| format!("remove {}", dir.display()))
}

fn try_overlay(dir: &Path) -> Result<()> {
    for part in ["lower", "upper", "work", "merged"] {
        create_private_dir(&dir.join(part))?;
    }
    // This thread's own mounts, which end with it.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let at = |part: &str| dir.join(part).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower"),
        at("upper"),
        at("work")
    );
    let merged = dir.join("merged");
    mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?;
    umount2(&merged, MntFlags::MNT_DETACH)?;
    Ok(())
}
