//! Statuses against those that a real cluster (v1.37.2) wrote in the scenarios named at each test.

use serde_json::{Value, json};

use super::*;
use crate::observed::{Container, Exit, Sandbox, State};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + secs).expect("small")
}

const IP: &str = "10.244.1.5";

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": "BestEffort",
            "conditions": [{"type": "PodScheduled", "status": "True"}]},
    }))
    .expect("a pod")
}

fn container(name: &str, attempt: u32, state: State) -> Container {
    Container {
        id: format!("{name}{attempt}"),
        name: name.to_owned(),
        attempt,
        image: "docker.io/library/busybox:1.37".to_owned(),
        image_id: "sha256:1".to_owned(),
        definition: "busybox:1.37".to_owned(),
        state,
    }
}

fn exited(code: i32) -> State {
    let reason = if code == 0 { "Completed" } else { "Error" };
    State::Exited(Exit {
        code,
        reason: reason.to_owned(),
        message: None,
        started_at: Some(at(1)),
        finished_at: at(2),
    })
}

fn running() -> State {
    State::Running { started_at: at(1) }
}

/// A pod whose status is computed step by step, as its worker does.
struct History {
    pod: Pod,
    previous: PodStatus,
    waiting: BTreeMap<String, Waiting>,
    verdict: Option<Verdict>,
    ended: bool,
}

impl History {
    fn of(spec: Value) -> History {
        let pod = pod(spec);
        let previous = pod.status.clone().expect("set");
        History {
            pod,
            previous,
            waiting: BTreeMap::new(),
            verdict: None,
            ended: false,
        }
    }

    fn see(&mut self, ready: Option<bool>, containers: Vec<Container>) -> Value {
        let ip = IP.parse().ok();
        let observed = Observed {
            sandbox: ready.map(|ready| Sandbox { ready, ip }),
            containers,
        };
        let status = status(&Inputs {
            pod: &self.pod,
            previous: &self.previous,
            observed: &observed,
            waiting: &self.waiting,
            verdict: self.verdict.as_ref(),
            ended: self.ended,
            host_ips: &["192.168.64.2".parse().expect("ip")],
            now: at(3),
        });
        self.previous = status.clone();
        serde_json::to_value(status).expect("serializes")
    }
}

/// `TYPE=STATUS reason message` of each condition.
fn conditions(status: &Value) -> Vec<String> {
    let text = |v: &Value| v.as_str().map(|s| format!(" {s}")).unwrap_or_default();
    let one = |c: &Value| {
        format!(
            "{}={}{}{}",
            c["type"].as_str().expect("set"),
            c["status"].as_str().expect("set"),
            text(&c["reason"]),
            text(&c["message"])
        )
    };
    status["conditions"]
        .as_array()
        .expect("set")
        .iter()
        .map(one)
        .collect()
}

fn busybox(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "busybox:1.37"}]})
}

/// The recorded scenario pod-succeeds.
#[test]
fn a_pod_that_succeeds_goes_through_the_recorded_states() {
    let mut history = History::of(busybox("Never"));
    let first = history.see(None, vec![]);
    assert_eq!(first["phase"], "Pending");
    assert_eq!(
        first["containerStatuses"][0],
        json!({"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {}, "ready": false, "restartCount": 0, "image": "busybox:1.37", "imageID": "", "started": false})
    );
    assert_eq!(
        conditions(&first),
        [
            "PodReadyToStartContainers=False PodSandboxNotReady no pod sandbox exists",
            "Initialized=True",
            "Ready=False ContainersNotReady containers with unready status: [c]",
            "ContainersReady=False ContainersNotReady containers with unready status: [c]",
            "PodScheduled=True",
        ]
    );
    assert_eq!(
        (&first["hostIP"], &first["hostIPs"]),
        (&json!("192.168.64.2"), &json!([{"ip": "192.168.64.2"}]))
    );
    assert_eq!(
        (&first["resources"], &first["observedGeneration"]),
        (&json!({}), &json!(1))
    );

    let up = history.see(Some(true), vec![container("c", 0, running())]);
    assert_eq!(
        (&up["phase"], &up["podIP"]),
        (&json!("Running"), &json!(IP))
    );
    assert_eq!(
        up["containerStatuses"][0],
        json!({"name": "c", "state": {"running": {"startedAt": "1970-01-12T13:46:41Z"}},
        "lastState": {}, "ready": true, "restartCount": 0, "image": "docker.io/library/busybox:1.37", "imageID": "sha256:1",
        "containerID": "karve://c0", "started": true, "resources": {}})
    );
    assert!(conditions(&up).iter().all(|c| c.ends_with("=True")));

    let done = history.see(Some(true), vec![container("c", 0, exited(0))]);
    assert_eq!(done["phase"], "Running", "held while the sandbox is up");
    assert_eq!(
        conditions(&done)[1..4],
        [
            "Initialized=True PodCompleted",
            "Ready=False PodCompleted",
            "ContainersReady=False PodCompleted"
        ]
    );
    assert_eq!(
        done["containerStatuses"][0]["state"],
        json!({"terminated": {"exitCode": 0, "reason": "Completed",
        "startedAt": "1970-01-12T13:46:41Z", "finishedAt": "1970-01-12T13:46:42Z", "containerID": "karve://c0"}})
    );

    let over = history.see(Some(false), vec![container("c", 0, exited(0))]);
    assert_eq!(
        (&over["phase"], &over["podIP"]),
        (&json!("Succeeded"), &json!(IP))
    );
    assert_eq!(
        conditions(&over)[0],
        "PodReadyToStartContainers=False PodSandboxNotReady pod sandbox is not ready"
    );
}

/// The recorded scenario pod-crashloop-exit0.
#[test]
fn a_crash_loop_keeps_the_last_end_and_says_that_it_waits() {
    let mut history = History::of(busybox("Always"));
    history.see(Some(true), vec![container("c", 0, running())]);
    let ended = history.see(Some(true), vec![container("c", 0, exited(0))]);
    assert_eq!(
        (&ended["phase"], &ended["containerStatuses"][0]["ready"]),
        (&json!("Running"), &json!(false))
    );
    assert_eq!(
        conditions(&ended)[2],
        "Ready=False ContainersNotReady containers with unready status: [c]"
    );
    let again = history.see(
        Some(true),
        vec![container("c", 1, running()), container("c", 0, exited(0))],
    );
    assert_eq!(again["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(
        again["containerStatuses"][0]["lastState"]["terminated"]["containerID"],
        "karve://c0"
    );
    let waiting = Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off 10s".to_owned(),
    };
    history.waiting.insert("c".to_owned(), waiting);
    let waits = history.see(
        Some(true),
        vec![container("c", 1, exited(0)), container("c", 0, exited(0))],
    );
    let status = &waits["containerStatuses"][0];
    assert_eq!(
        status["state"],
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    );
    assert_eq!(
        status["lastState"]["terminated"]["containerID"],
        "karve://c1"
    );
    assert_eq!(
        (&waits["phase"], &status["restartCount"]),
        (&json!("Running"), &json!(1))
    );
}

/// The recorded scenarios pod-command-not-found and pod-command-not-found-never.
#[test]
fn a_command_that_is_not_there_ends_or_waits_by_the_restart_policy() {
    let failed = || {
        State::Exited(Exit {
            code: 128,
            reason: "StartError".to_owned(),
            message: Some("no such file".to_owned()),
            started_at: None,
            finished_at: at(2),
        })
    };
    let waiting = Waiting {
        reason: "RunContainerError".to_owned(),
        message: "no such file".to_owned(),
    };
    for (policy, phase, state) in [
        ("Never", "Pending", "terminated"),
        ("Always", "Running", "waiting"),
    ] {
        let mut history = History::of(busybox(policy));
        history.waiting.insert("c".to_owned(), waiting.clone());
        let status = history.see(Some(true), vec![container("c", 0, failed())]);
        assert_eq!(status["phase"], phase, "{policy}");
        let container = &status["containerStatuses"][0];
        let end = if policy == "Never" {
            &container["state"]
        } else {
            &container["lastState"]
        };
        assert_eq!(end["terminated"]["startedAt"], "1970-01-01T00:00:00Z");
        assert!(container["state"].get(state).is_some(), "{container}");
        if policy == "Never" {
            assert_eq!(
                history.see(Some(false), vec![container_never(failed())])["phase"],
                "Failed"
            );
        }
    }
    fn container_never(state: State) -> Container {
        container("c", 0, state)
    }
}

/// The recorded scenario init-ok.
#[test]
fn init_containers_hold_the_pod_in_pending() {
    let mut history = History::of(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}]}));
    let first = history.see(None, vec![]);
    assert_eq!(
        conditions(&first)[1],
        "Initialized=False ContainersNotInitialized containers with incomplete status: [one two]"
    );
    assert_eq!(
        first["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodInitializing"
    );
    let half = history.see(Some(true), vec![container("one", 0, exited(0))]);
    assert_eq!(
        conditions(&half)[1],
        "Initialized=False ContainersNotInitialized containers with incomplete status: [two]"
    );
    assert_eq!(
        (&half["phase"], &half["initContainerStatuses"][0]["ready"]),
        (&json!("Pending"), &json!(true))
    );
    let main = vec![
        container("c", 0, running()),
        container("two", 0, exited(0)),
        container("one", 0, exited(0)),
    ];
    let up = history.see(Some(true), main);
    assert_eq!(
        (&up["phase"], conditions(&up)[1].as_str()),
        (&json!("Running"), "Initialized=True")
    );
}

/// The recorded scenario init-fails-never.
#[test]
fn an_init_container_that_fails_for_good_fails_the_pod() {
    let mut history = History::of(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "one", "image": "i"}], "containers": [{"name": "c", "image": "i"}]}));
    let failed = history.see(Some(true), vec![container("one", 0, exited(4))]);
    assert_eq!(
        (&failed["phase"], conditions(&failed)[2].as_str()),
        (&json!("Pending"), "Ready=False PodFailed")
    );
    let over = history.see(Some(false), vec![container("one", 0, exited(4))]);
    assert_eq!(over["phase"], "Failed");
    assert_eq!(
        over["containerStatuses"][0]["state"],
        json!({"waiting": {"reason": "PodInitializing"}})
    );
}

/// The recorded scenario end-sigterm-ignored.
#[test]
fn a_deleted_pod_ends_as_failed_in_one_write() {
    let mut history = History::of(busybox("Always"));
    history.see(Some(true), vec![container("c", 0, running())]);
    history.ended = true;
    assert_eq!(
        history.see(Some(true), vec![container("c", 0, running())])["phase"],
        "Running"
    );
    let over = history.see(Some(false), vec![container("c", 0, exited(137))]);
    assert_eq!(over["phase"], "Failed");
    assert_eq!(
        conditions(&over)[2..4],
        ["Ready=False PodFailed", "ContainersReady=False PodFailed"]
    );
}

/// The recorded scenario active-deadline.
#[test]
fn a_deadline_shows_in_the_conditions_first_and_in_the_phase_when_all_has_ended() {
    let mut history = History::of(busybox("Always"));
    history.see(Some(true), vec![container("c", 0, running())]);
    history.verdict = Some(Verdict {
        reason: "DeadlineExceeded".to_owned(),
        message: "too long".to_owned(),
    });
    history.ended = true;
    let early = history.see(Some(true), vec![container("c", 0, running())]);
    assert_eq!(
        (&early["phase"], early.get("reason")),
        (&json!("Running"), None)
    );
    assert_eq!(conditions(&early)[2], "Ready=False PodFailed");
    let over = history.see(Some(false), vec![container("c", 0, exited(0))]);
    assert_eq!(
        (&over["phase"], &over["reason"], &over["message"]),
        (
            &json!("Failed"),
            &json!("DeadlineExceeded"),
            &json!("too long")
        )
    );
    history.verdict = None;
    let later = history.see(Some(false), vec![container("c", 0, exited(0))]);
    assert_eq!(
        (&later["phase"], &later["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded")),
        "also after a restart of the agent"
    );
}

/// The recorded scenarios qos-classes and sec-run-as.
#[test]
fn resources_are_summed_and_containers_are_sorted_by_name() {
    let limits = json!({"limits": {"cpu": "50m", "memory": "32Mi"}, "requests": {"cpu": "50m", "memory": "32Mi"}});
    let mut history = History::of(json!({"containers": [
        {"name": "b", "image": "i"}, {"name": "a", "image": "i", "resources": limits}, {"name": "c", "image": "i", "resources": limits}]}));
    let status = history.see(
        Some(true),
        vec![
            container("a", 0, running()),
            container("b", 0, running()),
            container("c", 0, running()),
        ],
    );
    assert_eq!(
        status["allocatedResources"],
        json!({"cpu": "100m", "memory": "64Mi"})
    );
    assert_eq!(
        status["resources"]["limits"],
        json!({"cpu": "100m", "memory": "64Mi"})
    );
    let names: Vec<&Value> = status["containerStatuses"]
        .as_array()
        .expect("set")
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        status["containerStatuses"][0]["allocatedResources"],
        json!({"cpu": "50m", "memory": "32Mi"})
    );
    assert_eq!(
        (
            &status["containerStatuses"][1]["resources"],
            status["containerStatuses"][1].get("allocatedResources")
        ),
        (&json!({}), None)
    );
}

/// The recorded scenario sidecar-crashes.
#[test]
fn a_sidecar_that_waits_for_its_restart_when_the_pod_is_done_counts_as_lost() {
    let mut history = History::of(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}]}));
    let end = |code, finished| {
        State::Exited(Exit {
            code,
            reason: "Error".to_owned(),
            message: None,
            started_at: Some(at(1)),
            finished_at: at(finished),
        })
    };
    history.see(
        Some(true),
        vec![
            container("c", 0, running()),
            container("side", 1, end(3, 2)),
        ],
    );
    let over = history.see(
        Some(false),
        vec![
            container("c", 0, end(0, 4)),
            container("side", 1, end(3, 2)),
        ],
    );
    assert_eq!(over["phase"], "Succeeded");
    let side = &over["initContainerStatuses"][0];
    assert_eq!(
        side["state"],
        json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated"}})
    );
    assert_eq!(
        (
            &side["lastState"]["terminated"]["exitCode"],
            &side["restartCount"]
        ),
        (&json!(3), &json!(1))
    );
    let stopped = history.see(
        Some(false),
        vec![
            container("c", 0, end(0, 4)),
            container("side", 1, end(0, 5)),
        ],
    );
    assert_eq!(
        stopped["initContainerStatuses"][0]["state"]["terminated"]["exitCode"],
        0
    );
}

#[test]
fn a_restarted_agent_finds_the_status_as_it_was() {
    let mut history = History::of(busybox("Always"));
    let containers = || vec![container("c", 1, running()), container("c", 0, exited(1))];
    let before = history.see(Some(true), containers());
    let mut again = History::of(busybox("Always"));
    again.pod.status = serde_json::from_value(before.clone()).ok();
    again.previous = again.pod.status.clone().expect("set");
    assert_eq!(again.see(Some(true), containers()), before);
}

#[test]
fn conditions_of_others_are_kept_and_readiness_gates_are_asked() {
    let mut history = History::of(
        json!({"readinessGates": [{"conditionType": "x/y"}], "containers": [{"name": "c", "image": "i"}]}),
    );
    let up = || vec![container("c", 0, running())];
    let missing = "Ready=False ReadinessGatesNotReady corresponding condition of pod readiness gate \"x/y\" does not exist.";
    assert_eq!(conditions(&history.see(Some(true), up()))[2], missing);
    let foreign =
        serde_json::from_value(json!({"type": "x/y", "status": "True"})).expect("a condition");
    history
        .pod
        .status
        .as_mut()
        .expect("set")
        .conditions
        .as_mut()
        .expect("set")
        .push(foreign);
    let status = history.see(Some(true), up());
    assert_eq!(conditions(&status)[0], "x/y=True");
    assert_eq!(conditions(&status)[3], "Ready=True");
}

#[test]
fn a_refused_pod_says_only_why() {
    let pod = pod(busybox("Always"));
    let verdict = Verdict {
        reason: "OutOfcpu".to_owned(),
        message: "Node didn't have enough resource: cpu".to_owned(),
    };
    let status = rejected(&pod, &PodStatus::default(), &verdict, at(3));
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("OutOfcpu"))
    );
    assert_eq!(
        status.message.as_deref(),
        Some("Pod was rejected: Node didn't have enough resource: cpu")
    );
    assert_eq!(status.container_statuses, None);
}
