//! LoadBalancer addresses: from the dialogue to the ARP reply.

use std::io::Write;
use std::process::Stdio;

use karve_e2e::{TestHost, eventually, get};
use karve_sys::link::Netlink;

#[test]
fn the_dialogue_asks_as_minikube_does() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--no-load-balancer"]);
    let listed = cluster.karve("addons list", &["-o", "json"]).ok();
    assert!(listed.contains("\"disabled\""), "{listed}");

    let mut command = host.command(karve_e2e::binary());
    command.args(["addons", "configure", "metallb", "--name", &cluster.name]);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("input is a pipe");
    input
        .write_all(b"192.168.64.999\n192.168.64.70\n192.168.64.71\n")
        .expect("types");
    drop(input);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        said.matches("-- Enter Load Balancer Start IP:").count(),
        2,
        "asks again: {said}"
    );
    assert_eq!(
        said.matches("-- Enter Load Balancer End IP:").count(),
        1,
        "{said}"
    );

    let config = cluster.json(&["configmap", "config", "-n", "metallb-system"]);
    let pools = config["data"]["config"].as_str().expect("MetalLB's text");
    assert!(pools.contains("- 192.168.64.70-192.168.64.71"), "{pools}");
    let listed = cluster.karve("addons list", &[]).ok();
    assert!(listed.contains("enabled"), "{listed}");
    cluster.down();
}

#[test]
fn a_range_that_makes_no_sense_is_refused() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--no-load-balancer"]);
    let wrong = cluster
        .karve(
            "addons configure metallb",
            &["--start", "10.0.0.2", "--end", "10.0.0.1"],
        )
        .failed();
    assert!(wrong.contains("must not be above"), "{wrong}");
    assert!(!wrong.trim_end().contains('\n'), "one line: {wrong}");
    let unanswered = cluster.karve("addons configure metallb", &[]).failed();
    assert!(
        unanswered.contains("give --start and --end"),
        "{unanswered}"
    );
    cluster.down();
}

#[test]
fn one_node_answers_and_another_takes_over_when_it_dies() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml", "counter-lb.yml"]);
    cluster.rolled_out("counter");
    cluster.wait(
        "jsonpath={.status.loadBalancer.ingress}",
        &["svc/counter-lb"],
    );
    let service = cluster.json(&["svc", "counter-lb"]);
    assert_eq!(
        service["status"]["loadBalancer"]["ingress"][0]["ip"],
        "192.168.64.200"
    );
    eventually("the load balancer answers", || get("192.168.64.200:30000"));

    let holder = holder_of("192.168.64.200");
    cluster.sigkill(&holder);
    let other = if holder == "node1" { "node2" } else { "node1" };
    eventually("another node answers", || {
        // A client that has not heard the other's announcement asks again.
        match holder_of("192.168.64.200") {
            now if now == other => Ok(()),
            now => Err(format!("{now} answers")),
        }
    });
    cluster.karve("start", &[]).ok();
    cluster.down();
}

/// Which node's Ethernet address answers for `ip`.
fn holder_of(ip: &str) -> String {
    let _ = get(&format!("{ip}:30000"));
    let neighbours =
        std::fs::read_to_string("/proc/thread-self/net/arp").expect("the table of neighbours");
    let mac = |ip: &str| {
        let line = neighbours
            .lines()
            .find(|line| line.split_whitespace().next() == Some(ip));
        line.and_then(|line| line.split_whitespace().nth(3))
            .map(str::to_owned)
    };
    for (node, address) in [("node1", "192.168.64.2"), ("node2", "192.168.64.3")] {
        if mac(address).is_some() && mac(address) == mac(ip) {
            return node.to_owned();
        }
    }
    format!("nobody in {neighbours}")
}

#[test]
fn the_hosts_own_network_is_as_it_was() {
    let host = TestHost::new();
    let state = || {
        let mut netlink = Netlink::open().expect("netlink");
        let links: Vec<String> = netlink
            .links()
            .expect("links")
            .into_iter()
            .map(|link| link.name)
            .collect();
        (
            links,
            netlink.addresses().expect("addresses"),
            netlink.routes().expect("routes"),
        )
    };
    let before = state();
    let cluster = host.cluster(&["--nodes", "2"]);
    let routes: Vec<String> = state()
        .2
        .iter()
        .map(|route| route.destination.to_string())
        .collect();
    // Every link that is up has a link-local route.
    let on_link = |route: &String| route.starts_with("192.168.64.") || route == "fe80::/64";
    let ours: Vec<&String> = routes.iter().filter(|route| !on_link(route)).collect();
    assert!(ours.is_empty(), "no route beyond the link's own: {ours:?}");
    cluster.down();
    assert_eq!(state(), before);
}
