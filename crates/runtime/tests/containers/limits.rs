//! Limits and rights.

use karve_runtime::{Resources, Security};
use libtest_mimic::Trial;

use crate::cluster::{exit, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_container_that_takes_too_much_memory_is_oom_killed",
            async |cluster| {
                let runtime = cluster.runtime().await;
                let mut config =
                    cluster.container("a", "x=0123456789abcdef; while :; do x=$x$x; done");
                config.resources = Resources {
                    memory_limit: Some(16 << 20),
                    ..Resources::default()
                };
                let status = cluster.run(&runtime, config).await;
                assert_eq!(exit(&status), (137, "OOMKilled"));
            },
        ),
        trial(
            "limits_are_in_the_cgroup_and_can_be_changed",
            async |cluster| {
                let runtime = cluster.runtime().await;
                runtime
                    .run_sandbox(cluster.sandbox("a"))
                    .await
                    .expect("run sandbox");
                let mut config = cluster.container("a", "sleep 1000");
                config.resources = Resources {
                    cpu_shares: Some(512),
                    cpu_quota: Some(50_000),
                    memory_limit: Some(64 << 20),
                    pids_limit: Some(50),
                    ..Resources::default()
                };
                let id = runtime.create_container(config).await.expect("create");
                runtime.start_container(&id).await.expect("start");
                assert_eq!(memory_limit(&cluster, &id), 64 << 20);
                let more = Resources {
                    memory_limit: Some(128 << 20),
                    ..Resources::default()
                };
                runtime.update_resources(&id, more).await.expect("update");
                assert_eq!(memory_limit(&cluster, &id), 128 << 20);
            },
        ),
        trial("oom_score_is_set_or_as_low_as_it_gets", async |cluster| {
            let runtime = cluster.runtime().await;
            let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")
                .expect("read own score")
                .trim()
                .parse()
                .expect("number");
            for (uid, wanted) in [("high", 900), ("low", -997)] {
                let mut config = cluster.container(uid, "cat /proc/self/oom_score_adj");
                config.resources.oom_score_adj = Some(wanted);
                cluster.run(&runtime, config).await;
                let got: i32 = cluster.output(uid)[0].parse().expect("number");
                assert!(
                    got == wanted || (wanted < own && got == own),
                    "wanted {wanted}, got {got}"
                );
            }
        }),
        trial("capabilities_are_the_default_set", async |cluster| {
            let runtime = cluster.runtime().await;
            let mut config = cluster.container("a", "while read name value; do case $name in Cap*|NoNew*) echo $name $value;; esac; done < /proc/self/status");
            config.security.no_new_privileges = true;
            cluster.run(&runtime, config).await;
            let output = cluster.output("a");
            assert!(
                output.contains(&"CapBnd: 00000000a80425fb".to_owned()),
                "{output:?}"
            );
            assert!(
                output.contains(&"CapInh: 0000000000000000".to_owned()),
                "{output:?}"
            );
            assert!(output.contains(&"NoNewPrivs: 1".to_owned()), "{output:?}");
        }),
        trial("devices_of_the_machine_are_out_of_reach", async |cluster| {
            let runtime = cluster.runtime().await;
            let script = "mknod /disk b 254 0 && cat /disk > /dev/null || echo refused; head -c 4 /dev/zero | wc -c";
            cluster.run(&runtime, cluster.container("a", script)).await;
            assert_eq!(cluster.output("a"), ["refused", "4"]);
        }),
        trial(
            "the_default_filter_keeps_programs_from_making_namespaces",
            async |cluster| {
                let runtime = cluster.runtime().await;
                for (uid, filtered, expected) in [
                    ("free", false, vec!["0", "0", "made"]),
                    ("filtered", true, vec!["0", "2", "refused"]),
                ] {
                    // Threads, pipes, sockets and files of a shell work in both.
                    let script = "umask; while read name value; do case $name in CapEff:|CapBnd:|NoNew*|Seccomp:) echo $value;; esac; done < /proc/self/status; \
                    echo x | cat > /tmp/f && (unshare -U true 2> /dev/null && echo made || echo refused)";
                    let mut config = cluster.container(uid, script);
                    config.security.seccomp_default = filtered;
                    let status = cluster.run(&runtime, config).await;
                    assert_eq!(
                        exit(&status),
                        (0, "Completed"),
                        "{uid}: {:?}",
                        cluster.log(uid)
                    );
                    assert_eq!(
                        cluster.output(uid),
                        [
                            vec!["0022", "00000000a80425fb", "00000000a80425fb"],
                            expected
                        ]
                        .concat(),
                        "{uid}"
                    );
                }
            },
        ),
        trial(
            "a_user_is_filtered_without_keeping_anything",
            async |cluster| {
                let runtime = cluster.runtime().await;
                let script = "while read name value; do case $name in Cap*|Seccomp:) echo $name$value;; esac; done < /proc/self/status";
                let mut config = cluster.container("a", script);
                config.security.run_as_user = Some(1000);
                config.security.seccomp_default = true;
                cluster.run(&runtime, config).await;
                let none = "0000000000000000";
                let bounding = "CapBnd:00000000a80425fb".to_owned();
                let empty = |name: &str| format!("Cap{name}:{none}");
                assert_eq!(
                    cluster.output("a"),
                    [
                        empty("Inh"),
                        empty("Prm"),
                        empty("Eff"),
                        bounding,
                        empty("Amb"),
                        "Seccomp:2".to_owned()
                    ]
                );
            },
        ),
        trial(
            "privileged_containers_have_the_machines_devices",
            async |cluster| {
                let runtime = cluster.runtime().await;
                let mut config =
                    cluster.container("a", "ls /dev; head -c 1 /dev/kmsg > /dev/null && echo read");
                config.security.privileged = true;
                config.security.seccomp_default = true;
                cluster.run(&runtime, config).await;
                let output = cluster.output("a");
                assert!(output.contains(&"kmsg".to_owned()), "{output:?}");
                assert_eq!(
                    output.last().map(String::as_str),
                    Some("read"),
                    "{output:?}"
                );
            },
        ),
        trial("secrets_of_the_kernel_are_masked", async |cluster| {
            let runtime = cluster.runtime().await;
            let script = "cat /proc/kcore | wc -c; echo 1 > /proc/sys/kernel/panic || echo refused";
            let mut config = cluster.container("a", script);
            config.security = Security::default();
            cluster.run(&runtime, config).await;
            assert_eq!(cluster.output("a"), ["0", "refused"]);
        }),
    ]
}

/// As the kernel has it, on either version.
fn memory_limit(cluster: &crate::cluster::Cluster, id: &str) -> u64 {
    let group = format!("{}/node1/poda/{id}", cluster.cgroup());
    [
        format!("/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes"),
        format!("/sys/fs/cgroup/{group}/memory.max"),
    ]
    .iter()
    .find_map(|path| std::fs::read_to_string(path).ok())
    .expect("a memory limit")
    .trim()
    .parse()
    .expect("number")
}
