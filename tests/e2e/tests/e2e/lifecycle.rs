//! up, stop, start, down; and what they say when they can't.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use karve_e2e::{Output, TestHost, eventually, get};
use karve_sys::nft::{Batch, Chain, Expr, Family, Hook, Nft, Table, Verdict};
use karve_testkit::traces::Traces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn status_tells_scripts_and_people() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    let status: Value =
        serde_json::from_str(&cluster.karve("status", &["-o", "json"]).ok()).expect("JSON");
    assert_eq!(status["name"], cluster.name.as_str());
    assert_eq!(status["nodes"][1]["status"], "Ready");
    assert_eq!(status["dns"]["answers"], true);
    assert_eq!(status["loadBalancer"][0], "192.168.64.200-192.168.64.250");
    assert!(cluster.karve("status", &[]).ok().contains("192.168.64.3"));
    let list = cluster.karve("service list", &[]).ok();
    assert!(
        list.contains("| default     | kubernetes | No node port |"),
        "{list}"
    );

    cluster.sigkill("node2");
    cluster.wait("condition=Ready=Unknown", &["node/node2"]);
    let output = cluster.karve("status", &["-o", "json"]);
    assert_eq!(output.code, 1);
    let status: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(status["nodes"][1]["status"], "NotReady");
    assert_eq!(status["nodes"][1]["pid"], Value::Null);
    cluster.down();
}

#[test]
fn stop_keeps_objects_and_addresses() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-nodeport.yml"]);
    cluster.rolled_out("counter");
    let services = |columns: &str| cluster.kubectl(&["get", "svc", "-A", "-o", columns]);
    let before = services("custom-columns=:metadata.uid,:spec.clusterIP,:spec.ports[0].nodePort");

    cluster.karve("stop", &[]).ok();
    let left = Traces::of(&cluster.name);
    assert!(
        left.namespaces.is_empty() && left.processes.is_empty() && left.cgroups.is_empty(),
        "{left:?}"
    );
    assert!(left.mounts.is_empty(), "{left:?}");
    let again = cluster.karve("stop", &[]);
    assert!(again.stderr.contains("stopped already"), "{}", again.stderr);
    let up = cluster.karve("up", &[]).failed();
    assert!(up.contains("is there, stopped"), "{up}");

    cluster.karve("start", &[]).ok();
    assert_eq!(
        services("custom-columns=:metadata.uid,:spec.clusterIP,:spec.ports[0].nodePort"),
        before
    );
    assert_eq!(
        cluster.karve("ip", &["--node", "node2"]).ok(),
        "192.168.64.3\n"
    );
    cluster.rolled_out("counter");
    cluster.rolled_out("redis");
    eventually("the Service answers", || get("192.168.64.2:31000"));
    let nothing = cluster.karve("start", &[]);
    assert!(
        nothing.stderr.contains("nothing was missing"),
        "{}",
        nothing.stderr
    );
    cluster.down();
}

#[test]
fn two_clusters_live_side_by_side() {
    let host = TestHost::new();
    let first = host.cluster(&[]);
    let second = host.cluster(&[]);
    assert_eq!(first.karve("ip", &[]).ok(), "192.168.64.2\n");
    assert_eq!(second.karve("ip", &[]).ok(), "192.168.65.2\n");
    first.kubectl(&["create", "configmap", "mine"]);
    assert_eq!(second.try_kubectl(&["get", "configmap", "mine"]).code, 1);
    first.karve("down", &[]).ok();
    second.wait("condition=Ready", &["nodes", "--all"]);
    second.down();
}

#[test]
fn up_says_in_one_line_why_it_cannot_and_leaves_nothing() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    let name = cluster.name.clone();
    let one_line = |output: Output, wanted: &str| {
        let said = output.failed();
        assert!(said.contains(wanted), "{wanted}: {said}");
        assert_eq!(
            said.trim()
                .lines()
                .filter(|line| line.starts_with("karve: "))
                .count(),
            1,
            "{said}"
        );
    };
    one_line(cluster.karve("up", &[]), "is up already");
    cluster.karve("down", &[]).ok();
    assert!(
        cluster
            .karve("down", &[])
            .stderr
            .contains("There is nothing")
    );
    one_line(cluster.karve("start", &[]), "there is no cluster");
    one_line(cluster.karve("status", &[]), "there is no cluster");

    // A port of somebody else.
    let taken = TcpListener::bind("0.0.0.0:6443").expect("the port is free");
    one_line(cluster.karve("up", &[]), "port 6443 is taken");
    cluster.assert_no_traces();
    drop(taken);

    // Half removed.
    std::fs::create_dir_all(host.data_root().join(&name).join("pki")).expect("a part of a cluster");
    one_line(cluster.karve("up", &[]), "half made or half removed");
    cluster.karve("down", &[]).ok();
    cluster.assert_no_traces();

    // Not root.
    let mut command = host.command(karve_e2e::binary());
    command.args(["up", "--name", &name]).uid(65534).gid(65534);
    let output = command.output();
    if let Ok(output) = output {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("need root: `sudo karve up"), "{said}");
    }
    cluster.assert_no_traces();
}

#[test]
fn an_address_range_that_is_taken_is_left_alone() {
    let host = TestHost::new();
    let mut netlink = karve_sys::link::Netlink::open().expect("netlink");
    netlink
        .create_bridge("theirs")
        .expect("a link of somebody else");
    let index = netlink.link_index("theirs").expect("is there");
    netlink
        .add_address(index, "192.168.64.9/24".parse().expect("an address"))
        .expect("has an address");
    let cluster = host.cluster(&[]);
    assert_eq!(cluster.karve("ip", &[]).ok(), "192.168.65.2\n");
    cluster.karve("down", &[]).ok();
    assert!(netlink.link_index("theirs").is_ok());
}

/// As on a host with Docker, which makes bridges subject to `FORWARD` and lets nothing of others through.
#[test]
fn the_hosts_firewall_does_not_come_between_the_nodes() {
    let host = TestHost::new();
    let mut firewall = Batch::new(Family::Ip);
    let (table, chain) = ("filter", "FORWARD");
    firewall.add_table(&Table {
        name: table,
        userdata: &[],
    });
    firewall.add_chain(
        table,
        &Chain {
            name: chain,
            hook: Some(Hook {
                kind: "filter",
                // `NF_INET_FORWARD`.
                number: 2,
                priority: 0,
            }),
        },
    );
    firewall.add_rule(
        table,
        chain,
        "nothing passes",
        &[Expr::Verdict(Verdict::Drop)],
    );
    Nft::open()
        .and_then(|mut nft| nft.commit(firewall))
        .expect("a firewall");

    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-nodeport.yml"]);
    cluster.rolled_out("counter");
    // The app's Pod is on one of them only.
    for node in ["192.168.64.2", "192.168.64.3"] {
        eventually(node, || get(&format!("{node}:31000")));
    }
    cluster.down();
}

#[test]
fn ctrl_c_during_up_leaves_nothing() {
    let host = TestHost::new();
    let name = format!("t{}-ctrl-c", std::process::id());
    let mut command = host.command(karve_e2e::binary());
    command
        .args(["up", "--name", &name, "--nodes", "3"])
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    // As soon as there is something to undo.
    eventually("it has begun", || {
        match host.data_root().join(&name).exists() {
            true => Ok(()),
            false => Err("nothing is made yet"),
        }
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("kill");
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(130));
    let left = Traces::of(&name);
    assert!(
        left.namespaces.is_empty() && left.processes.is_empty() && left.cgroups.is_empty(),
        "{left:?}"
    );
    assert!(
        !left.links.iter().any(|link| link.starts_with("kv")),
        "{left:?}"
    );
    assert!(!host.data_root().join(&name).exists() && !host.run_root().join(&name).exists());
}

#[test]
fn foreground_stays_until_interrupted() {
    let host = TestHost::new();
    let name = format!("t{}-front", std::process::id());
    let mut command = host.command(karve_e2e::binary());
    command
        .args(["up", "--name", &name, "--foreground"])
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("runs");
    eventually("its context is there", || {
        let mut kubectl = host.command("kubectl");
        let output = Output::of(kubectl.args(["--context", &name, "get", "nodes", "-o", "name"]));
        if output.stdout == "node/node1\n" {
            Ok(())
        } else {
            Err(output.stderr)
        }
    });
    assert!(child.try_wait().expect("asks").is_none(), "it stays");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("kill");
    assert!(child.wait().expect("ends").success());
    let left = Traces::of(&name);
    assert!(
        left.namespaces.is_empty() && left.processes.is_empty() && left.mounts.is_empty(),
        "{left:?}"
    );
}
