//! SIGKILL where it hurts.

use std::thread;

use karve_e2e::{TestHost, eventually, get};

#[test]
fn acknowledged_writes_survive_a_killed_server() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    let acknowledged: Vec<String> = thread::scope(|scope| {
        // Threads of ours are in our network. Each writes until the server is gone.
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let kubectl = cluster.kubectl_for_thread();
                scope.spawn(move || {
                    let names = (0..).map(|number| format!("write-{writer}-{number}"));
                    names
                        .take_while(|name| kubectl(&["create", "configmap", name]).code == 0)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        eventually("some writes are done", || {
            let list = cluster
                .try_kubectl(&["get", "configmaps", "-o", "name"])
                .stdout;
            if list.lines().count() > 12 {
                Ok(())
            } else {
                Err(list)
            }
        });
        cluster.sigkill("server");
        writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("a writer"))
            .collect()
    });
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    let started = cluster.karve("start", &[]);
    assert!(
        started.stderr.contains("1 process was started"),
        "only what is missing: {}",
        started.stderr
    );
    started.ok();
    let list = cluster.kubectl(&["get", "configmaps", "-o", "name"]);
    for name in &acknowledged {
        assert!(
            list.lines().any(|line| line == format!("configmap/{name}")),
            "{name} is lost"
        );
    }
    cluster.down();
}

#[test]
fn pods_and_connections_go_on_without_server_and_agents() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-nodeport.yml"]);
    cluster.rolled_out("redis");
    cluster.rolled_out("counter");
    eventually("the Service answers", || get("192.168.64.3:31000"));
    let pods = |columns: &str| cluster.kubectl(&["get", "pods", "-o", columns]);
    let before =
        pods("custom-columns=:metadata.uid,:status.podIP,:status.containerStatuses[0].containerID");

    cluster.sigkill("server");
    for _ in 0..20 {
        get("192.168.64.3:31000").expect("new connections go on without the server");
    }
    cluster.sigkill("node1");
    cluster.sigkill("node2");
    for _ in 0..20 {
        // The counter asks DNS, which is in the agent: only what is in the kernel goes on.
        std::net::TcpStream::connect("192.168.64.3:31000")
            .expect("the kernel goes on without agents");
    }
    cluster.karve("start", &[]).ok();
    cluster.wait("condition=Ready", &["nodes", "--all"]);
    get("192.168.64.2:31000").expect("answers");
    cluster.wait("condition=Ready", &["pods", "--all"]);
    let after =
        pods("custom-columns=:metadata.uid,:status.podIP,:status.containerStatuses[0].containerID");
    assert_eq!(after, before, "no pod was disturbed");
    let restarts = pods("custom-columns=:status.containerStatuses[0].restartCount");
    assert!(
        restarts.split_whitespace().all(|count| count == "0"),
        "{restarts}"
    );
    cluster.down();
}
