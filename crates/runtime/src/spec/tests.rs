use std::path::Path;

use super::*;
use crate::config::{Mount, Resources};
use crate::images::{Digest, Image, ImageConfig};

fn config() -> ContainerConfig {
    ContainerConfig {
        pod_uid: "u".to_owned(),
        name: "c".to_owned(),
        attempt: 0,
        image: Image {
            reference: "docker.io/library/x:latest".to_owned(),
            id: Digest::of(b"config"),
            manifest: Digest::of(b"manifest"),
            names: vec![],
            repo_digests: vec![],
            size: 0,
            layers: vec![],
            config: ImageConfig::default(),
        },
        command: vec![],
        args: vec![],
        working_dir: None,
        env: vec![],
        mounts: vec![],
        resources: Resources::default(),
        security: Security::default(),
        log_path: "/log".into(),
        annotations: Default::default(),
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn planned(config: &ContainerConfig) -> Value {
    let user = ContainerUser {
        uid: 5,
        gid: 6,
        supplemental_groups: vec![7],
    };
    plan(&Input {
        config,
        user: &user,
        home: "/home/x",
        hostname: "pod",
        namespaces: Namespaces {
            net: Some(Path::new("/n/net")),
            uts: Path::new("/n/uts"),
            ipc: Path::new("/n/ipc"),
        },
        pod_files: PodFiles {
            hosts: Path::new("/p/hosts"),
            resolv_conf: Path::new("/p/resolv.conf"),
            hostname: Path::new("/p/hostname"),
            shm: Path::new("/p/shm"),
        },
        cgroup: Path::new("/karve/a/node1/podu/c"),
        cgroup_v1: true,
        devices: &[Device {
            path: "/dev/vda".into(),
            block: true,
            major: 254,
            minor: 0,
            mode: 0o660,
            uid: 0,
            gid: 6,
        }],
        bounding: &Capabilities::all(),
    })
    .expect("plan")
}

#[test]
fn command_and_args_replace_the_images() {
    let (entry, cmd) = (strings(&["/entry", "-e"]), strings(&["cmd"]));
    for (entrypoint, image_cmd, command, args_given, expected) in [
        (
            Some(&entry),
            Some(&cmd),
            vec![],
            vec![],
            Ok(strings(&["/entry", "-e", "cmd"])),
        ),
        (
            Some(&entry),
            Some(&cmd),
            vec![],
            strings(&["a"]),
            Ok(strings(&["/entry", "-e", "a"])),
        ),
        (
            Some(&entry),
            Some(&cmd),
            strings(&["/x"]),
            vec![],
            Ok(strings(&["/x"])),
        ),
        (
            Some(&entry),
            Some(&cmd),
            strings(&["/x"]),
            strings(&["a"]),
            Ok(strings(&["/x", "a"])),
        ),
        (None, Some(&cmd), vec![], vec![], Ok(strings(&["cmd"]))),
        (
            None,
            None,
            vec![],
            vec![],
            Err("no command specified".to_owned()),
        ),
        (
            None,
            None,
            strings(&[""]),
            vec![],
            Err("no command specified".to_owned()),
        ),
    ] {
        let mut config = config();
        config.image.config.entrypoint = entrypoint.cloned();
        config.image.config.cmd = image_cmd.cloned();
        config.command = command;
        config.args = args_given;
        assert_eq!(args(&config), expected, "{config:?}");
    }
}

#[test]
fn variables_keep_their_first_place_and_have_their_last_value() {
    let mut config = config();
    config.command = strings(&["x"]);
    config.image.config.env = Some(strings(&["PATH=/image", "A=image", "B=image"]));
    config.env = vec![
        ("B".to_owned(), "pod".to_owned()),
        ("C".to_owned(), "x=y".to_owned()),
    ];
    let expected = [
        "PATH=/image",
        "HOSTNAME=pod",
        "A=image",
        "B=pod",
        "C=x=y",
        "HOME=/home/x",
    ];
    assert_eq!(planned(&config)["process"]["env"], json!(expected));
}

#[test]
fn own_mounts_come_parents_first_and_replace_the_pods_files() {
    let mut config = config();
    config.command = strings(&["x"]);
    let mount = |target: &str| Mount {
        host_path: "/v".into(),
        container_path: target.into(),
        read_only: true,
    };
    config.mounts = vec![mount("/data/deep"), mount("/etc/hosts"), mount("/data")];
    let spec = planned(&config);
    let targets: Vec<&str> = spec["mounts"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|m| m["destination"].as_str())
        .collect();
    assert_eq!(
        targets[6..],
        [
            "/etc/resolv.conf",
            "/etc/hostname",
            "/dev/shm",
            "/data",
            "/data/deep",
            "/etc/hosts"
        ]
    );
    assert_eq!(
        spec["mounts"][9]["options"],
        json!(["rbind", "rprivate", "ro"])
    );
}

#[test]
fn privileged_containers_have_everything_and_others_the_default() {
    let mut config = config();
    config.command = strings(&["x"]);
    let spec = planned(&config);
    assert_eq!(
        spec["process"]["capabilities"]["bounding"]
            .as_array()
            .map(Vec::len),
        Some(14)
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([{ "allow": false, "access": "rwm" }])
    );
    assert!(spec["linux"]["maskedPaths"].is_array());
    config.security.privileged = true;
    let spec = planned(&config);
    assert_eq!(
        spec["process"]["capabilities"]["bounding"]
            .as_array()
            .map(Vec::len),
        Some(41)
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([{ "allow": true, "access": "rwm" }])
    );
    assert!(spec["linux"]["maskedPaths"].is_null());
    assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/vda");
}

#[test]
fn the_filter_is_installed_by_whoever_may() {
    let mut config = config();
    let all = Capabilities::all();
    let none = Capabilities::bounding("CapBnd:\t0\n");
    assert_eq!(seccomp(&config, &all), Ok(Seccomp::Unconfined));
    config.security.seccomp_default = true;
    assert_eq!(seccomp(&config, &all), Ok(Seccomp::Keeping(0xa804_25fb)));
    assert_eq!(seccomp(&config, &none), Ok(Seccomp::WithoutNewPrivileges));
    config.security.no_new_privileges = true;
    assert_eq!(seccomp(&config, &all), Ok(Seccomp::WithoutNewPrivileges));
    config.security.privileged = true;
    assert_eq!(seccomp(&config, &all), Ok(Seccomp::Unconfined));
}
