//! What dies comes back: containers, pods, nodes.

use std::collections::BTreeSet;

use karve_e2e::{TestCluster, TestHost, eventually, get};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Names of the nodes that the counter's pods run on.
fn nodes_of_counter(cluster: &TestCluster<'_>) -> Vec<String> {
    let pods = cluster.json(&["pods", "-l", "tier=app"]);
    let items = pods["items"].as_array().expect("a list").iter();
    items
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Addresses of the ready endpoints of a Service.
fn endpoints(cluster: &TestCluster<'_>, service: &str) -> BTreeSet<String> {
    let slices = cluster.json(&[
        "endpointslices",
        "-l",
        &format!("kubernetes.io/service-name={service}"),
    ]);
    let slices = slices["items"].as_array().expect("a list").iter();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] == Value::Bool(true))
        .filter_map(|endpoint| endpoint["addresses"][0].as_str())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_killed_container_restarts_in_its_pod() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-nodeport.yml"]);
    cluster.rolled_out("redis");
    cluster.rolled_out("counter");
    let before = cluster.json(&["pods", "-l", "tier=app"])["items"][0].clone();

    kill_processes("usr/bin/counter", &cluster.name);
    let pod = before["metadata"]["name"].as_str().expect("a name");
    cluster.wait(
        "jsonpath={.status.containerStatuses[0].restartCount}=1",
        &[&format!("pod/{pod}")],
    );
    cluster.wait("condition=Ready", &[&format!("pod/{pod}")]);
    let after = cluster.json(&["pod", pod]);
    assert_eq!(
        after["status"]["podIP"], before["status"]["podIP"],
        "the pod keeps its address"
    );
    assert_eq!(
        after["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        137
    );
    eventually("the Service answers", || get("192.168.64.2:31000"));
    cluster.down();
}

/// Kills the processes whose program ends in `program`, in cgroups of the cluster.
fn kill_processes(program: &str, cluster: &str) {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if exe.ends_with(program) && cgroup.contains(&format!("/karve/{cluster}/")) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
            killed += 1;
        }
    }
    assert!(killed > 0, "no {program} runs");
}

#[test]
fn a_deleted_pod_is_replaced_and_three_spread_over_the_nodes() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-nodeport.yml"]);
    cluster.rolled_out("redis");
    cluster.rolled_out("counter");
    let old = endpoints(&cluster, "counter-np");
    assert_eq!(old.len(), 1);
    cluster.kubectl(&["delete", "pod", "-l", "tier=app"]);
    cluster.rolled_out("counter");
    let new = eventually("the endpoint is another", || {
        match endpoints(&cluster, "counter-np") {
            now if now.len() == 1 && now != old => Ok(now),
            now => Err(format!("{now:?}")),
        }
    });

    cluster.kubectl(&["scale", "deployment/counter", "--replicas=3"]);
    cluster.rolled_out("counter");
    let nodes: BTreeSet<String> = nodes_of_counter(&cluster).into_iter().collect();
    assert_eq!(nodes.len(), 2, "spread over both nodes: {nodes:?}");
    eventually("three endpoints", || {
        match endpoints(&cluster, "counter-np") {
            now if now.len() == 3 && now.is_superset(&new) => Ok(()),
            now => Err(format!("{now:?}")),
        }
    });
    let speakers: BTreeSet<String> = (0..40)
        .map(|_| {
            get("192.168.64.2:31000")
                .expect("answers")
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(speakers.len(), 3, "all three serve: {speakers:?}");

    cluster.kubectl(&["scale", "deployment/counter", "--replicas=0"]);
    eventually("no endpoints", || match endpoints(&cluster, "counter-np") {
        now if now.is_empty() => Ok(()),
        now => Err(format!("{now:?}")),
    });
    // A connection that was begun while a pod was going may still be on its way to it.
    eventually("a Service without endpoints refuses", || {
        match get("192.168.64.2:31000") {
            Err(error) if error.to_string().contains("refused") => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(page) => Err(page),
        }
    });
    cluster.down();
}

#[test]
fn a_dead_agent_makes_its_node_not_ready_and_endpoints_leave() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-nodeport.yml"]);
    cluster.rolled_out("redis");
    cluster.kubectl(&["scale", "deployment/counter", "--replicas=4"]);
    cluster.rolled_out("counter");
    eventually("four endpoints", || {
        match endpoints(&cluster, "counter-np").len() {
            4 => Ok(()),
            n => Err(format!("{n}")),
        }
    });
    cluster.sigkill("node2");
    cluster.wait("condition=Ready=Unknown", &["node/node2"]);
    let nodes = cluster.kubectl(&["get", "nodes"]);
    let node2 = nodes
        .lines()
        .find(|line| line.starts_with("node2"))
        .expect("node2 is there");
    assert_eq!(node2.split_whitespace().nth(1), Some("NotReady"), "{nodes}");
    eventually("only node1's pods are endpoints", || {
        match endpoints(&cluster, "counter-np") {
            now if !now.is_empty() && now.iter().all(|ip| ip.starts_with("10.244.1.")) => Ok(()),
            now => Err(format!("{now:?}")),
        }
    });

    cluster.karve("start", &[]).ok();
    cluster.wait("condition=Ready", &["node/node2"]);
    eventually("all pods are endpoints again", || {
        match endpoints(&cluster, "counter-np").len() {
            4 => Ok(()),
            n => Err(format!("{n}")),
        }
    });
    let pods = cluster.json(&["pods", "-l", "tier=app"]);
    for pod in pods["items"].as_array().expect("a list") {
        assert_eq!(
            pod["status"]["containerStatuses"][0]["restartCount"], 0,
            "no pod was disturbed"
        );
    }
    cluster.down();
}
