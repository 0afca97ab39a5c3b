//! A runtime that was killed, and what the next one finds.

use std::time::Duration;

use karve_runtime::ContainerState;
use libtest_mimic::Trial;

use crate::cluster::{ended, exit, trial, until};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_next_runtime_finds_running_containers",
            async |cluster| {
                let before = cluster.runtime().await;
                before
                    .run_sandbox(cluster.sandbox("a"))
                    .await
                    .expect("run sandbox");
                let script =
                    "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
                let mut config = cluster.container("a", script);
                config.annotations = [("restarts".to_owned(), "2".to_owned())].into();
                let id = before.create_container(config).await.expect("create");
                before.start_container(&id).await.expect("start");
                until(|| cluster.output("a") == ["ready"]).await;
                drop(before);
                let after = cluster.runtime().await;
                let pods = after.list().await.expect("list");
                assert_eq!(pods.len(), 1);
                assert_eq!(pods[0].sandbox.config, cluster.sandbox("a"));
                assert!(pods[0].containers[0].state.is_running());
                assert_eq!(pods[0].containers[0].annotations["restarts"], "2");
                after
                    .stop_container(&id, Duration::from_secs(30))
                    .await
                    .expect("stop");
                assert_eq!(
                    exit(&after.container_status(&id).await.expect("status")),
                    (5, "Error")
                );
                assert_eq!(cluster.output("a"), ["ready", "bye"]);
            },
        ),
        trial("an_end_that_nobody_watched_is_found", async |cluster| {
            let before = cluster.runtime().await;
            before
                .run_sandbox(cluster.sandbox("a"))
                .await
                .expect("run sandbox");
            let go = cluster.path().join("go");
            std::fs::create_dir(&go).expect("make directory");
            let mut config =
                cluster.container("a", "until [ -e /go/now ]; do sleep 0.02; done; exit 9");
            config.mounts = vec![karve_runtime::Mount {
                host_path: go.clone(),
                container_path: "/go".into(),
                read_only: true,
            }];
            let id = before.create_container(config).await.expect("create");
            before.start_container(&id).await.expect("start");
            drop(before);
            std::fs::write(go.join("now"), "").expect("write");
            let after = cluster.runtime().await;
            assert_eq!(exit(&ended(&after, &id).await), (9, "Error"));
        }),
        trial("a_reboot_leaves_no_writable_layers", async |cluster| {
            let stale = cluster
                .path()
                .join("data/nodes/node1/containers/gone/id/upper");
            std::fs::create_dir_all(&stale).expect("make directory");
            let runtime = cluster.runtime().await;
            assert!(runtime.list().await.expect("list").is_empty());
            assert!(!stale.exists());
        }),
        trial("a_killed_shim_takes_its_container_along", async |cluster| {
            let runtime = cluster.runtime().await;
            runtime
                .run_sandbox(cluster.sandbox("a"))
                .await
                .expect("run sandbox");
            let id = runtime
                .create_container(cluster.container("a", "sleep 1000"))
                .await
                .expect("create");
            runtime.start_container(&id).await.expect("start");
            let status = runtime.container_status(&id).await.expect("status");
            let ContainerState::Running { pid, .. } = status.state else {
                panic!("{status:?}")
            };
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("read stat");
            let parent: i32 = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok())
                .expect("parent");
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(parent),
                nix::sys::signal::SIGKILL,
            )
            .expect("kill");
            assert_eq!(
                exit(&ended(&runtime, &id).await),
                (137, "ContainerStatusUnknown")
            );
        }),
        trial(
            "cleanup_takes_everything_and_can_be_repeated",
            async |cluster| {
                let runtime = cluster.runtime().await;
                for uid in ["a", "b"] {
                    runtime
                        .run_sandbox(cluster.sandbox(uid))
                        .await
                        .expect("run sandbox");
                    let id = runtime
                        .create_container(cluster.container(uid, "sleep 1000"))
                        .await
                        .expect("create");
                    runtime.start_container(&id).await.expect("start");
                }
                drop(runtime);
                for _ in 0..2 {
                    karve_runtime::cleanup(&cluster.nodes_dir(), cluster.cgroup())
                        .expect("clean up");
                }
                let run = cluster.nodes_dir().display().to_string();
                let mounts =
                    std::fs::read_to_string("/proc/thread-self/mountinfo").expect("read mounts");
                assert!(!mounts.contains(&run), "{mounts}");
                let group = format!("/sys/fs/cgroup/memory/{}", cluster.cgroup());
                assert!(!std::path::Path::new(&group).exists());
                let left = std::fs::read_dir(cluster.nodes_dir().join("node1/pods"))
                    .expect("list")
                    .count();
                assert_eq!(left, 0);
            },
        ),
    ]
}
