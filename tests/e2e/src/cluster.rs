//! A cluster of a test.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use karve_testkit::traces::Traces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::binary;
use crate::{Output, TestHost};

/// A cluster that is up; it is removed at the end, and nothing of it may be left.
pub struct TestCluster<'a> {
    host: &'a TestHost,
    /// Its name.
    pub name: String,
}

impl<'a> TestCluster<'a> {
    pub(crate) fn up(host: &'a TestHost, name: String, arguments: &[&str]) -> Self {
        let cluster = Self { host, name };
        cluster.karve("up", arguments).ok();
        cluster
    }

    /// `karve VERB --name NAME ARGUMENTS`.
    pub fn karve(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = self.host.command(binary());
        command
            .args(verb.split(' '))
            .args(["--name", &self.name])
            .args(arguments);
        Output::of(&mut command)
    }

    /// `kubectl ARGUMENTS`, whatever comes of it.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        Output::of(self.kubectl_command().args(arguments))
    }

    /// Standard output of `kubectl ARGUMENTS`, which must succeed.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).ok()
    }

    /// `kubectl ARGUMENTS` for another thread of the test, which is in the same network.
    pub fn kubectl_for_thread(&self) -> impl Fn(&[&str]) -> Output + Clone + Send + use<> {
        let (kubeconfig, context) = (self.host.kubeconfig(), self.name.clone());
        move |arguments| {
            let mut command = Command::new("kubectl");
            command
                .env("KUBECONFIG", &kubeconfig)
                .args(["--context", &context])
                .args(arguments);
            Output::of(&mut command)
        }
    }

    fn kubectl_command(&self) -> Command {
        let mut command = self.host.command("kubectl");
        command.args(["--context", &self.name]);
        command
    }

    /// `kubectl VERB -f -` with the manifest as input.
    pub fn feed(&self, verb: &str, manifest: &str) -> Output {
        let mut command = self.kubectl_command();
        command
            .args([verb, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("run kubectl");
        let mut input = child.stdin.take().expect("input is a pipe");
        input.write_all(manifest.as_bytes()).expect("kubectl reads");
        drop(input);
        let output = child.wait_with_output().expect("kubectl ends");
        Output {
            line: format!("kubectl {verb} -f -"),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Applies a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        self.feed("apply", manifest).ok();
    }

    /// Applies the tutorial's manifests.
    pub fn apply_tutorial(&self, files: &[&str]) {
        let folder = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/tutorial"
        ));
        for file in files {
            self.kubectl(&["apply", "-f", &folder.join(file).display().to_string()]);
        }
    }

    /// An object, or a list of objects, as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Waits until the Deployment is rolled out.
    #[track_caller]
    pub fn rolled_out(&self, deployment: &str) {
        self.kubectl(&[
            "rollout",
            "status",
            &format!("deployment/{deployment}"),
            "--timeout=60s",
        ]);
    }

    /// `kubectl wait --for=FOR ARGUMENTS`.
    #[track_caller]
    pub fn wait(&self, condition: &str, arguments: &[&str]) {
        self.kubectl(
            &[
                &["wait", "--timeout=60s", &format!("--for={condition}")],
                arguments,
            ]
            .concat(),
        );
    }

    /// Runs a pod of the image to its end; its log.
    #[track_caller]
    pub fn run(&self, name: &str, image: &str, command: &[&str]) -> String {
        let image = format!("--image={image}");
        let create = [
            "run",
            name,
            &image,
            "--image-pull-policy=IfNotPresent",
            "--restart=Never",
            "--command",
            "--",
        ];
        self.kubectl(&[&create, command].concat());
        self.wait(
            "jsonpath={.status.phase}=Succeeded",
            &[&format!("pod/{name}")],
        );
        let log = self.kubectl(&["logs", name]);
        self.kubectl(&["delete", "pod", name]);
        log
    }

    /// Kills the cluster's server, or a node's agent, without a warning.
    pub fn sigkill(&self, process: &str) {
        let run = self.host.run_root().join(&self.name);
        let file = match process {
            "server" => run.join("server.pid"),
            node => run.join("nodes").join(node).join("agent.pid"),
        };
        let text = fs::read(&file).expect("a pid file");
        let id: Value = serde_json::from_slice(&text).expect("a pid file is JSON");
        let pid = i32::try_from(id["pid"].as_i64().expect("a number")).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    }

    /// Removes the cluster; nothing of it is left.
    #[track_caller]
    pub fn down(self) {
        self.karve("down", &[]).ok();
        self.assert_no_traces();
    }

    /// Nothing on this machine has the cluster's name.
    #[track_caller]
    pub fn assert_no_traces(&self) {
        let left = Traces::of(&self.name);
        let nothing = Traces {
            links: ["lo".to_owned()].into(),
            ..Traces::default()
        };
        // Drivers that are built in put a few links, which are down, into every namespace.
        let links = left
            .links
            .iter()
            .filter(|link| link.starts_with("kv") || link.starts_with("veth"));
        assert_eq!(links.count(), 0, "links are left: {left:?}");
        assert_eq!(
            Traces {
                links: nothing.links.clone(),
                ..left
            },
            nothing
        );
        for root in [self.host.data_root(), self.host.run_root()] {
            assert!(
                !root.join(&self.name).exists(),
                "{} is left",
                root.join(&self.name).display()
            );
        }
    }
}

impl Drop for TestCluster<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person needs to see why.
            for what in [
                vec!["get", "all,nodes", "-A", "-o", "wide"],
                vec!["get", "events", "-A"],
            ] {
                let output = self.try_kubectl(&what);
                eprintln!("{}{}", output.stdout, output.stderr);
            }
            for node in [None, Some("node1"), Some("node2")] {
                let arguments = node.map_or(vec![], |node| vec!["--node", node]);
                eprintln!("{}", self.karve("logs", &arguments).stdout);
            }
        }
        self.karve("down", &[]);
    }
}
