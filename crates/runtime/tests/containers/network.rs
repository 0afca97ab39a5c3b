//! Pods on the node's network.

use karve_runtime::PodNetwork;
use libtest_mimic::Trial;

use crate::cluster::{exit, trial, until};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("pods_reach_each_other_without_arp", async |cluster| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward packets");
            let runtime = cluster.runtime().await;
            let first = runtime
                .run_sandbox(cluster.sandbox("one"))
                .await
                .expect("run sandbox");
            let ip = first.ip.expect("address");
            let script =
                format!("ping -c 1 -W 5 {ip} > /dev/null && echo reached; cat /proc/net/arp");
            let status = cluster
                .run(&runtime, cluster.container("two", &script))
                .await;
            assert_eq!(exit(&status), (0, "Completed"));
            let output = cluster.output("two");
            assert_eq!(output[0], "reached", "{output:?}");
            // Just the permanent entry (flags 0x6) of the gateway.
            assert!(
                output[2].starts_with("169.254.1.1") && output[2].contains("0x6"),
                "{output:?}"
            );
        }),
        trial("addresses_are_not_given_again_at_once", async |cluster| {
            let runtime = cluster.runtime().await;
            let first = runtime
                .run_sandbox(cluster.sandbox("one"))
                .await
                .expect("run sandbox");
            assert_eq!(first.ip, Some("10.244.1.2".parse().expect("address")));
            runtime.remove_sandbox("one").await.expect("remove");
            let second = runtime
                .run_sandbox(cluster.sandbox("two"))
                .await
                .expect("run sandbox");
            assert_eq!(second.ip, Some("10.244.1.3".parse().expect("address")));
            let again = runtime
                .run_sandbox(cluster.sandbox("two"))
                .await
                .expect("run sandbox again");
            assert_eq!(again, second);
        }),
        trial("stopped_sandboxes_have_no_link", async |cluster| {
            let runtime = cluster.runtime().await;
            let sandbox = runtime
                .run_sandbox(cluster.sandbox("one"))
                .await
                .expect("run sandbox");
            let link = format!(
                "/proc/sys/net/ipv4/conf/{}",
                sandbox.interface.expect("interface")
            );
            assert!(std::path::Path::new(&link).exists());
            runtime.stop_sandbox("one").await.expect("stop");
            runtime.stop_sandbox("one").await.expect("stop again");
            // The kernel takes links of a namespace away after its end.
            until(|| !std::path::Path::new(&link).exists()).await;
            let pod = runtime
                .pod_status("one")
                .await
                .expect("status")
                .expect("pod");
            assert!(!pod.sandbox.ready);
            assert_eq!(pod.sandbox.ip, sandbox.ip);
        }),
        trial("host_network_pods_see_the_nodes_links", async |cluster| {
            let runtime = cluster.runtime().await;
            let mut sandbox = cluster.sandbox("host");
            sandbox.network = PodNetwork::Host;
            runtime
                .run_sandbox(cluster.sandbox("other"))
                .await
                .expect("run other sandbox");
            let status = runtime.run_sandbox(sandbox).await.expect("run sandbox");
            assert_eq!((status.ip, status.interface), (None, None));
            let config = cluster.container("host", "ls /proc/sys/net/ipv4/conf");
            cluster.run(&runtime, config).await;
            let output = cluster.output("host");
            assert!(
                output.iter().any(|name| name.starts_with("kv")),
                "{output:?}"
            );
            assert!(!output.contains(&"eth0".to_owned()), "{output:?}");
        }),
    ]
}
