//! The tutorial, as it is written.

use karve_e2e::{TestHost, eventually, get};

/// The number in "count 7, said by …".
fn count(page: &str) -> u64 {
    let number = page
        .strip_prefix("count ")
        .and_then(|rest| rest.split(',').next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no count in {page:?}"))
}

/// Columns of the line that begins with `name`.
fn line<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{table}"))
        .split_whitespace()
        .collect()
}

#[test]
fn the_tutorial_works_as_written() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2", "--no-load-balancer"]);
    cluster.apply_tutorial(&["redis.yml", "counter.yml"]);
    cluster.rolled_out("redis");
    cluster.rolled_out("counter");

    // A NodePort, on every node's address.
    cluster.apply_tutorial(&["counter-nodeport.yml"]);
    let services = cluster.kubectl(&["get", "svc"]);
    let header = services.lines().next().expect("a header");
    let columns: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(
        columns,
        [
            "NAME",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
            "AGE"
        ]
    );
    let counter = line(&services, "counter-np");
    assert_eq!(
        [counter[1], counter[3], counter[4]],
        ["NodePort", "<none>", "3000:31000/TCP"]
    );
    let kubernetes = line(&services, "kubernetes");
    assert_eq!(
        kubernetes[1..5],
        ["ClusterIP", "10.96.0.1", "<none>", "443/TCP"]
    );
    let redis = line(&services, "redis");
    assert_eq!(
        [redis[1], redis[3], redis[4]],
        ["ClusterIP", "<none>", "6379/TCP"]
    );

    let ip = cluster.karve("ip", &[]).ok().trim().to_owned();
    assert_eq!(ip, "192.168.64.2");
    let mut last = count(&eventually("the node port answers", || {
        get(&format!("{ip}:31000"))
    }));
    for node in ["192.168.64.2", "192.168.64.3"] {
        let now = count(&get(&format!("{node}:31000")).expect("every node answers"));
        assert_eq!(now, last + 1, "one more visit");
        last = now;
    }
    let url = cluster.karve("service counter-np", &["--url"]).ok();
    assert_eq!(url, "http://192.168.64.2:31000\n");

    // The ClusterIP and the name, from a pod.
    let page = cluster.run(
        "inside",
        "busybox",
        &["wget", "-qO-", &format!("http://{}:3000", counter[2])],
    );
    assert_eq!(count(&page), last + 1);
    let page = cluster.run(
        "inside",
        "busybox",
        &[
            "wget",
            "-qO-",
            "http://counter-np.default.svc.cluster.local:3000",
        ],
    );
    assert_eq!(count(&page), last + 2);

    // A LoadBalancer waits, then gets the node's own address, as in the tutorial.
    cluster.apply_tutorial(&["counter-lb.yml"]);
    let services = cluster.kubectl(&["get", "svc", "counter-lb"]);
    let waiting = line(&services, "counter-lb");
    assert_eq!([waiting[1], waiting[3]], ["LoadBalancer", "<pending>"]);
    assert!(
        waiting[4].starts_with("30000:3") && waiting[4].ends_with("/TCP"),
        "{}",
        waiting[4]
    );
    cluster.karve("addons enable metallb", &[]).ok();
    cluster
        .karve("addons configure metallb", &["--start", &ip, "--end", &ip])
        .ok();
    cluster.wait(
        "jsonpath={.status.loadBalancer.ingress}",
        &["svc/counter-lb"],
    );
    let services = cluster.kubectl(&["get", "svc", "counter-lb"]);
    assert_eq!(line(&services, "counter-lb")[3], ip);
    let page = eventually("the load balancer answers", || get(&format!("{ip}:30000")));
    assert_eq!(count(&page), last + 3);
    get("192.168.64.2:31000").expect("the node keeps working");
    cluster.wait("condition=Ready", &["nodes", "--all"]);

    cluster.down();
}
