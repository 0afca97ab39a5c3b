//! Plans the OCI runtime configuration (`config.json`) of a container.
//!
//! Pure: from what the pod wants and what the image says to the document. The choices (mounts, masked
//! paths, capabilities, order of variables) are containerd's CRI defaults, so that a container finds
//! itself at home.

mod capabilities;
mod mounts;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{ContainerConfig, Security};
use crate::devices::Device;
use crate::status::ContainerUser;

pub(crate) use capabilities::Capabilities;
pub(crate) use mounts::PodFiles;

/// What programs expect, whatever the umask of the agent.
const UMASK: u32 = 0o022;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that the plan depends on.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) config: &'a ContainerConfig,
    pub(crate) user: &'a ContainerUser,
    pub(crate) home: &'a str,
    pub(crate) hostname: &'a str,
    /// Files of the pod's namespaces; no `net` when the pod uses the node's.
    pub(crate) namespaces: Namespaces<'a>,
    pub(crate) pod_files: PodFiles<'a>,
    /// Below the root of each hierarchy, with a leading slash.
    pub(crate) cgroup: &'a Path,
    /// The machine has cgroups of version 1: they guard devices, and have no namespace worth the name.
    pub(crate) cgroup_v1: bool,
    /// The machine's devices, for a privileged container.
    pub(crate) devices: &'a [Device],
    /// What the calling process may hand on.
    pub(crate) bounding: &'a Capabilities,
}

/// Files of namespaces to join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Namespaces<'a> {
    pub(crate) net: Option<&'a Path>,
    pub(crate) uts: &'a Path,
    pub(crate) ipc: &'a Path,
}

/// Plans the document; the error is what the kubelet shows.
pub(crate) fn plan(input: &Input<'_>) -> Result<Value, String> {
    let security = &input.config.security;
    let mut spec = json!({
        "ociVersion": "1.1.0",
        "process": process(input)?,
        "root": { "path": "rootfs", "readonly": security.read_only_rootfs },
        "mounts": mounts::plan(input.config, &input.pod_files, input.namespaces.net.is_some()),
        "linux": {
            "namespaces": namespaces(input.namespaces, input.cgroup_v1),
            "cgroupsPath": input.cgroup,
        },
    });
    let linux = &mut spec["linux"];
    if input.cgroup_v1 {
        linux["resources"] =
            json!({ "devices": [{ "allow": security.privileged, "access": "rwm" }] });
    }
    if security.privileged {
        linux["devices"] = input.devices.iter().map(device).collect();
    } else {
        linux["maskedPaths"] = json!(mounts::MASKED_PATHS);
        linux["readonlyPaths"] = json!(mounts::READONLY_PATHS);
    }
    Ok(spec)
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": if device.block { "b" } else { "c" },
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn process(input: &Input<'_>) -> Result<Value, String> {
    let mut capabilities = capabilities(input.config, input.bounding)?;
    if let Seccomp::Keeping(_) = seccomp(input.config, input.bounding)? {
        capabilities = capabilities.and(Capabilities::to_filter());
    }
    let capabilities = capabilities.names();
    Ok(json!({
        "terminal": false,
        "user": {
            "uid": input.user.uid,
            "gid": input.user.gid,
            "additionalGids": input.user.supplemental_groups,
            "umask": UMASK,
        },
        "args": args(input.config)?,
        "env": env(input),
        "cwd": working_dir(input.config),
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": input.config.security.no_new_privileges,
    }))
}

/// The capabilities that the program gets.
fn capabilities(config: &ContainerConfig, bounding: &Capabilities) -> Result<Capabilities, String> {
    let Security {
        privileged,
        add_capabilities,
        drop_capabilities,
        ..
    } = &config.security;
    let set = match privileged {
        true => Capabilities::all(),
        false => Capabilities::default().changed(add_capabilities, drop_capabilities)?,
    };
    Ok(set.only(bounding))
}

/// How the default filter of system calls is to be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Seccomp {
    /// Not at all.
    Unconfined,
    /// With `no_new_privs`.
    WithoutNewPrivileges,
    /// With the capabilities that it takes otherwise; these are kept afterwards.
    Keeping(u64),
}

/// Plans the filter. Whoever lacks the capabilities himself can only filter without new privileges.
pub(crate) fn seccomp(
    config: &ContainerConfig,
    bounding: &Capabilities,
) -> Result<Seccomp, String> {
    let security = &config.security;
    if !security.seccomp_default || security.privileged {
        return Ok(Seccomp::Unconfined);
    }
    if security.no_new_privileges || !bounding.contains(Capabilities::to_filter()) {
        return Ok(Seccomp::WithoutNewPrivileges);
    }
    Ok(Seccomp::Keeping(capabilities(config, bounding)?.bits()))
}

/// `command` replaces entry point and arguments, `args` the arguments alone.
pub(crate) fn args(config: &ContainerConfig) -> Result<Vec<String>, String> {
    let image = &config.image.config;
    let from_image = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut args = match config.command.is_empty() {
        true => from_image(&image.entrypoint),
        false => config.command.clone(),
    };
    match (config.args.is_empty(), config.command.is_empty()) {
        (false, _) => args.extend(config.args.iter().cloned()),
        (true, true) => args.extend(from_image(&image.cmd)),
        (true, false) => {}
    }
    match args.first() {
        Some(first) if !first.is_empty() => Ok(args),
        _ => Err("no command specified".to_owned()),
    }
}

pub(crate) fn working_dir(config: &ContainerConfig) -> &str {
    [
        config.working_dir.as_deref(),
        config.image.config.working_dir.as_deref(),
    ]
    .into_iter()
    .flatten()
    .find(|dir| !dir.is_empty())
    .unwrap_or("/")
}

/// In containerd's order: a variable keeps its first place and has its last value.
fn env(input: &Input<'_>) -> Vec<String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set =
        |name: &str, value: &str| match variables.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => variables.push((name.to_owned(), value.to_owned())),
        };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", input.hostname);
    for variable in input.config.image.config.env.iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(name, value);
    }
    for (name, value) in &input.config.env {
        set(name, value);
    }
    if !variables.iter().any(|(name, _)| name == "HOME") {
        variables.push(("HOME".to_owned(), input.home.to_owned()));
    }
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// On v2 the container sees its own cgroup as the root, as containerd has it.
fn namespaces(files: Namespaces<'_>, cgroup_v1: bool) -> Value {
    let mut list = vec![
        json!({ "type": "pid" }),
        json!({ "type": "mount" }),
        json!({ "type": "ipc", "path": files.ipc }),
        json!({ "type": "uts", "path": files.uts }),
    ];
    if !cgroup_v1 {
        list.push(json!({ "type": "cgroup" }));
    }
    if let Some(net) = files.net {
        list.push(json!({ "type": "network", "path": net }));
    }
    Value::Array(list)
}

#[cfg(test)]
mod tests;
