//! Start, output, end.

use std::time::Duration;

use karve_runtime::{ContainerState, Mount, RuntimeError, Security};
use libtest_mimic::Trial;

use crate::cluster::{ended, exit, trial, until};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("container_runs_and_its_output_is_logged", async |cluster| {
            let runtime = cluster.runtime().await;
            let config = cluster.container("a", "echo out; echo err >&2; printf part");
            let status = cluster.run(&runtime, config).await;
            assert_eq!(exit(&status), (0, "Completed"));
            let mut log = cluster.log("a");
            log.sort();
            let line = |head: &str, text: &str| (head.to_owned(), text.to_owned());
            assert_eq!(
                log,
                [
                    line("stderr F", "err"),
                    line("stdout F", "out"),
                    line("stdout P", "part")
                ]
            );
        }),
        trial("exit_codes_and_signals_are_told_apart", async |cluster| {
            let runtime = cluster.runtime().await;
            for (uid, script, expected) in [
                ("zero", "exit 0", (0, "Completed")),
                ("three", "exit 3", (3, "Error")),
                ("killed", "sh -c 'kill -9 $$'; exit $?", (137, "Error")),
            ] {
                let status = cluster.run(&runtime, cluster.container(uid, script)).await;
                assert_eq!(exit(&status), expected, "{uid}");
            }
        }),
        trial("much_output_is_logged_whole", async |cluster| {
            let runtime = cluster.runtime().await;
            let config = cluster.container("a", "yes 0123456789 | head -n 100000");
            let status = cluster.run(&runtime, config).await;
            assert_eq!(exit(&status), (0, "Completed"));
            let output = cluster.output("a");
            assert_eq!(output.len(), 100_000);
            assert!(output.iter().all(|line| line == "0123456789"));
        }),
        trial("lines_of_both_outputs_keep_their_order", async |cluster| {
            let runtime = cluster.runtime().await;
            // The pauses let the shim wait again, as it does between the lines of most programs.
            let script = "for i in 1 2 3 4; do echo e >&2; sleep 0.02; echo o; sleep 0.02; done";
            cluster.run(&runtime, cluster.container("a", script)).await;
            let order: String = cluster.log("a").into_iter().map(|(_, line)| line).collect();
            assert_eq!(order, "eoeoeoeo");
        }),
        trial("stop_waits_for_the_grace_period", async |cluster| {
            let runtime = cluster.runtime().await;
            runtime
                .run_sandbox(cluster.sandbox("a"))
                .await
                .expect("run sandbox");
            for (script, grace, expected) in [
                (
                    "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done",
                    30_000,
                    (7, "Error"),
                ),
                (
                    "trap '' TERM; echo ready; while :; do sleep 0.05; done",
                    100,
                    (137, "Error"),
                ),
            ] {
                let mut config = cluster.container("a", script);
                config.log_path = cluster.path().join(format!("logs/{grace}.log"));
                let id = runtime.create_container(config).await.expect("create");
                runtime.start_container(&id).await.expect("start");
                until(|| !cluster.output(&grace.to_string()).is_empty()).await;
                runtime
                    .stop_container(&id, Duration::from_millis(grace))
                    .await
                    .expect("stop");
                let status = runtime.container_status(&id).await.expect("status");
                assert_eq!(exit(&status), expected, "{script}");
                runtime
                    .stop_container(&id, Duration::from_secs(1))
                    .await
                    .expect("stop again");
            }
        }),
        trial("environment_user_and_directory_are_set", async |cluster| {
            let runtime = cluster.runtime().await;
            let mut config = cluster.container("a", "id -u; id -g; id -G; pwd; hostname; env");
            config.env = vec![
                ("B".to_owned(), "2".to_owned()),
                ("A".to_owned(), "1 x".to_owned()),
            ];
            config.working_dir = Some("/not/there/yet".to_owned());
            config.image.config.user = Some("app".to_owned());
            config.security.supplemental_groups = vec![7];
            let status = cluster.run(&runtime, config).await;
            assert_eq!(exit(&status), (0, "Completed"));
            let output = cluster.output("a");
            assert_eq!(
                output[..5],
                ["1000", "1000", "1000 7 2000", "/not/there/yet", "pod-a"]
            );
            // The shell sorts what it hands on; their order is tested where it is planned.
            for line in ["A=1 x", "B=2", "HOME=/home/app", "HOSTNAME=pod-a"] {
                assert!(output.contains(&line.to_owned()), "{line}: {output:?}");
            }
            assert_eq!(status.user.uid, 1000);
        }),
        trial(
            "programs_that_cant_be_executed_are_start_errors",
            async |cluster| {
                let runtime = cluster.runtime().await;
                runtime
                    .run_sandbox(cluster.sandbox("a"))
                    .await
                    .expect("run sandbox");
                for (program, cause) in [
                    (
                        "nosuchprogram",
                        "exec: \"nosuchprogram\": executable file not found in $PATH",
                    ),
                    (
                        "/no/such",
                        "exec: \"/no/such\": stat /no/such: no such file or directory",
                    ),
                    ("/etc/noexec", "exec: \"/etc/noexec\": permission denied"),
                ] {
                    let mut config = cluster.container("a", "");
                    config.command = vec![program.to_owned()];
                    let id = runtime.create_container(config).await.expect("create");
                    let error = runtime.start_container(&id).await.expect_err("start");
                    let text = format!(
                        "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
                     runc create failed: unable to start container process: {cause}: unknown"
                    );
                    assert!(matches!(error, RuntimeError::Start { .. }), "{error:?}");
                    assert_eq!(error.to_string(), text);
                    match runtime.container_status(&id).await.expect("status").state {
                        ContainerState::Exited {
                            exit_code: 128,
                            reason,
                            message,
                            started_at: None,
                            ..
                        } => {
                            assert_eq!((reason.as_str(), message), ("StartError", text));
                        }
                        other => panic!("{program}: {other:?}"),
                    }
                }
            },
        ),
        trial("what_is_no_program_fails_in_the_log", async |cluster| {
            let runtime = cluster.runtime().await;
            let mut config = cluster.container("a", "");
            config.command = vec!["/bin/garbage".to_owned()];
            let status = cluster.run(&runtime, config).await;
            assert_eq!(exit(&status), (255, "Error"));
            let line = (
                "stderr F".to_owned(),
                "exec /bin/garbage: exec format error".to_owned(),
            );
            assert_eq!(cluster.log("a"), [line]);
        }),
        trial(
            "unknown_user_and_missing_command_are_config_errors",
            async |cluster| {
                let runtime = cluster.runtime().await;
                runtime
                    .run_sandbox(cluster.sandbox("a"))
                    .await
                    .expect("run sandbox");
                let mut ghost = cluster.container("a", "true");
                ghost.image.config.user = Some("ghost".to_owned());
                let mut nothing = cluster.container("a", "");
                nothing.command = vec![];
                nothing.image.config.cmd = None;
                for (config, text) in [
                    (
                        ghost,
                        "unable to find user ghost: no matching entries in passwd file",
                    ),
                    (nothing, "no command specified"),
                ] {
                    let error = runtime.create_container(config).await.expect_err("create");
                    assert!(matches!(error, RuntimeError::Config { .. }));
                    assert_eq!(error.to_string(), text);
                }
                let pod = runtime.pod_status("a").await.expect("status").expect("pod");
                assert!(pod.containers.is_empty(), "{:?}", pod.containers);
            },
        ),
        trial("mounts_are_seen_and_read_only_ones_kept", async |cluster| {
            let runtime = cluster.runtime().await;
            let volume = cluster.path().join("volume");
            std::fs::create_dir(&volume).expect("make volume");
            std::fs::write(volume.join("file"), "from the volume\n").expect("write");
            let mut config = cluster.container(
                "a",
                "cat /new/place/file; echo written > /data/back; touch /new/place/x && echo bad; cat /etc/hosts",
            );
            config.mounts = vec![
                Mount {
                    host_path: volume.clone(),
                    container_path: "/new/place".into(),
                    read_only: true,
                },
                Mount {
                    host_path: volume.clone(),
                    container_path: "/data".into(),
                    read_only: false,
                },
            ];
            let status = cluster.run(&runtime, config).await;
            let output = cluster.output("a");
            assert_eq!(output[0], "from the volume", "{status:?}");
            assert_eq!(output[1], "# Kubernetes-managed hosts file.");
            assert_eq!(
                std::fs::read_to_string(volume.join("back")).expect("read"),
                "written\n"
            );
        }),
        trial("writes_stay_in_the_container", async |cluster| {
            let runtime = cluster.runtime().await;
            let script = "cat /etc/noexec; echo changed > /etc/noexec; cat /etc/noexec";
            for uid in ["a", "b"] {
                cluster.run(&runtime, cluster.container(uid, script)).await;
                assert_eq!(cluster.output(uid), ["textchanged"], "{uid}");
            }
        }),
        trial("read_only_root_is_read_only", async |cluster| {
            let runtime = cluster.runtime().await;
            let mut config = cluster.container("a", "touch /file || echo refused");
            config.security = Security {
                read_only_rootfs: true,
                ..Security::default()
            };
            cluster.run(&runtime, config).await;
            assert_eq!(cluster.output("a"), ["refused"]);
        }),
        trial("removed_containers_leave_nothing", async |cluster| {
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
            runtime.remove_container(&id).await.expect("remove");
            runtime.remove_container(&id).await.expect("remove again");
            let pod = runtime.pod_status("a").await.expect("status").expect("pod");
            assert!(pod.containers.is_empty());
            assert!(cluster.log("a").is_empty());
            runtime.remove_sandbox("a").await.expect("remove sandbox");
            runtime
                .remove_sandbox("a")
                .await
                .expect("remove sandbox again");
            assert!(runtime.list().await.expect("list").is_empty());
            let left = std::fs::read_dir(cluster.path().join("data/nodes/node1/containers"))
                .expect("list")
                .count();
            assert_eq!(left, 0);
        }),
        trial("many_pods_start_at_once", async |cluster| {
            let runtime = cluster.runtime().await;
            let pods: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
            let mut tasks = tokio::task::JoinSet::new();
            for uid in pods.clone() {
                let (cluster, runtime) = (cluster.clone(), runtime.clone());
                tasks.spawn(async move {
                    let config = cluster.container(&uid, "hostname");
                    exit(&cluster.run(&runtime, config).await).0
                });
            }
            assert_eq!(tasks.join_all().await, vec![0; pods.len()]);
            let list = runtime.list().await.expect("list");
            let addresses: std::collections::HashSet<_> =
                list.iter().map(|pod| pod.sandbox.ip).collect();
            assert_eq!(addresses.len(), pods.len());
            for uid in &pods {
                assert_eq!(cluster.output(uid), [format!("pod-{uid}")]);
            }
        }),
        trial(
            "containers_of_a_pod_share_hostname_ipc_and_network",
            async |cluster| {
                let runtime = cluster.runtime().await;
                runtime
                    .run_sandbox(cluster.sandbox("a"))
                    .await
                    .expect("run sandbox");
                let kinds = "net ipc uts pid mnt";
                let script = format!(
                    "for kind in {kinds}; do readlink /proc/self/ns/$kind; done; hostname; ls /dev/shm; touch /dev/shm/seen"
                );
                let mut logs = Vec::new();
                for name in ["one", "two"] {
                    let mut config = cluster.container("a", &script);
                    config.log_path = cluster.path().join(format!("logs/{name}.log"));
                    let id = runtime.create_container(config).await.expect("create");
                    runtime.start_container(&id).await.expect("start");
                    ended(&runtime, &id).await;
                    logs.push(cluster.output(name));
                }
                assert_eq!(logs[0][..3], logs[1][..3], "net, ipc and uts are shared");
                let own = std::fs::read_link("/proc/thread-self/ns/net")
                    .expect("read link")
                    .display()
                    .to_string();
                assert_ne!(logs[0][0], own);
                assert_eq!((logs[0][5].as_str(), logs[0].len()), ("pod-a", 6));
                assert_eq!(logs[1].last().map(String::as_str), Some("seen"));
            },
        ),
    ]
}
