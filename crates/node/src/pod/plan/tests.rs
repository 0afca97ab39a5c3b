//! Each row: a pod, what the runtime holds, what was tried; and the steps that follow.

use serde_json::{Value, json};

use super::*;
use crate::observed::Sandbox;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + secs).expect("small")
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "a", "namespace": "ns", "uid": "u"}, "spec": spec}),
    )
    .expect("a pod")
}

fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]})
}

fn container(name: &str, attempt: u32, state: State) -> observed::Container {
    observed::Container {
        id: format!("{name}-{attempt}"),
        name: name.to_owned(),
        attempt,
        image: "i".to_owned(),
        image_id: String::new(),
        definition: "i".to_owned(),
        state,
    }
}

fn running() -> State {
    State::Running { started_at: at(0) }
}

fn exited(code: i32, finished: i64) -> State {
    State::Exited(Exit {
        code,
        reason: String::new(),
        message: None,
        started_at: Some(at(0)),
        finished_at: at(finished),
    })
}

fn observed(ready: bool, containers: Vec<observed::Container>) -> Observed {
    Observed {
        sandbox: Some(Sandbox { ready, ip: None }),
        containers,
    }
}

struct Case {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    volumes: Progress,
    end: Option<End>,
    now: i64,
    exact: Option<Timestamp>,
}

impl Case {
    fn new(spec: Value, observed: Observed) -> Case {
        Case {
            pod: pod(spec),
            observed,
            memory: Memory::default(),
            volumes: Progress::Ready,
            end: None,
            now: 100,
            exact: None,
        }
    }

    fn ending(mut self, end: End) -> Case {
        self.end = Some(end);
        self
    }

    fn plan(&self) -> Plan {
        plan(&Inputs {
            pod: &self.pod,
            end: self.end,
            observed: &self.observed,
            volumes: self.volumes,
            memory: &self.memory,
            terminal: false,
            deadline: None,
            now: self.exact.unwrap_or(at(self.now)),
        })
    }

    fn steps(&self) -> Vec<String> {
        self.plan().steps.iter().map(text).collect()
    }
}

fn text(step: &Step) -> String {
    match step {
        Step::CreateSandbox => "sandbox".to_owned(),
        Step::Start(s) => format!(
            "start {}{} {}",
            if s.init { "init " } else { "" },
            s.name,
            s.attempt
        ),
        Step::AnnounceBackOff { name, .. } => format!("announce back-off {name}"),
        Step::BackOff { name, trouble } => format!("back-off {name}: {}", trouble.waiting.message),
        Step::Stop(s) => format!("stop {} {}s: {}", s.id, s.grace, s.message),
        Step::ExceedDeadline => "exceed deadline".to_owned(),
        Step::StopSandbox => "stop sandbox".to_owned(),
        Step::Remove { id } => format!("remove {id}"),
        Step::Finish => "finish".to_owned(),
        Step::CleanUp => "clean up".to_owned(),
    }
}

#[test]
fn a_pod_is_started_kept_and_settled() {
    let none = Observed::default();
    let rows: Vec<(&str, Case, Vec<&str>)> = vec![
        ("new", Case::new(one("Always"), none), vec!["sandbox"]),
        (
            "sandbox ready",
            Case::new(one("Always"), observed(true, vec![])),
            vec!["start c 0"],
        ),
        (
            "running",
            Case::new(
                one("Always"),
                observed(true, vec![container("c", 0, running())]),
            ),
            vec![],
        ),
        (
            "first exit restarts at once",
            Case::new(
                one("Always"),
                observed(true, vec![container("c", 0, exited(0, 99))]),
            ),
            vec!["start c 1"],
        ),
        (
            "failure restarts",
            Case::new(
                one("OnFailure"),
                observed(true, vec![container("c", 0, exited(1, 99))]),
            ),
            vec!["start c 1"],
        ),
        (
            "success ends",
            Case::new(
                one("OnFailure"),
                observed(true, vec![container("c", 0, exited(0, 99))]),
            ),
            vec!["stop sandbox"],
        ),
        (
            "never restarts",
            Case::new(
                one("Never"),
                observed(true, vec![container("c", 0, exited(1, 99))]),
            ),
            vec!["stop sandbox"],
        ),
        (
            "settled",
            Case::new(
                one("Never"),
                observed(false, vec![container("c", 0, exited(1, 99))]),
            ),
            vec![],
        ),
        (
            "half made by an agent that died",
            Case::new(
                one("Never"),
                observed(true, vec![container("c", 0, State::Created)]),
            ),
            vec!["remove c-0", "start c 0"],
        ),
        (
            "the sandbox is lost",
            Case::new(
                one("Always"),
                observed(false, vec![container("c", 0, exited(137, 99))]),
            ),
            vec!["sandbox"],
        ),
    ];
    for (name, case, want) in rows {
        assert_eq!(case.steps(), want, "{name}");
    }
}

#[test]
fn init_containers_come_one_after_the_other() {
    let spec = |policy: &str| {
        json!({"restartPolicy": policy, "initContainers": [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}],
            "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]})
    };
    let rows: Vec<(&str, &str, Vec<observed::Container>, Vec<&str>)> = vec![
        ("first", "Always", vec![], vec!["start init one 0"]),
        (
            "waits",
            "Always",
            vec![container("one", 0, running())],
            vec![],
        ),
        (
            "second",
            "Always",
            vec![container("one", 0, exited(0, 99))],
            vec!["start init two 0"],
        ),
        (
            "failed",
            "Always",
            vec![container("one", 0, exited(1, 99))],
            vec!["start init one 1"],
        ),
        (
            "failed for good",
            "Never",
            vec![container("one", 0, exited(1, 99))],
            vec!["stop sandbox"],
        ),
        (
            "main",
            "Always",
            vec![
                container("one", 0, exited(0, 98)),
                container("two", 0, exited(0, 99)),
            ],
            vec!["start c 0", "start d 0"],
        ),
        (
            "main goes on without init records",
            "Always",
            vec![container("c", 0, running())],
            vec!["start d 0"],
        ),
    ];
    for (name, policy, containers, want) in rows {
        assert_eq!(
            Case::new(spec(policy), observed(true, containers)).steps(),
            want,
            "{name}"
        );
    }
}

#[test]
fn a_sidecar_runs_beside_and_is_stopped_last() {
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
        "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}]});
    let side = || container("side", 0, running());
    type Row<'a> = (&'a str, Vec<observed::Container>, Option<End>, Vec<&'a str>);
    let rows: Vec<Row<'_>> = vec![
        ("started first", vec![], None, vec!["start init side 0"]),
        ("need not end", vec![side()], None, vec!["start c 0"]),
        (
            "restarts beside a running one",
            vec![
                container("side", 0, exited(0, 99)),
                container("c", 0, running()),
            ],
            None,
            vec!["start init side 1"],
        ),
        (
            "stopped when the rest is done",
            vec![side(), container("c", 0, exited(0, 99))],
            None,
            vec!["stop side-0 5s: Stopping container side"],
        ),
        (
            "not before the others",
            vec![side(), container("c", 0, running())],
            Some(End::Deleted),
            vec!["stop c-0 5s: Stopping container c"],
        ),
    ];
    for (name, containers, end, want) in rows {
        let mut case = Case::new(spec.clone(), observed(true, containers));
        case.end = end;
        assert_eq!(case.steps(), want, "{name}");
    }
}

#[test]
fn a_crash_loop_shows_the_end_then_backs_off_then_restarts() {
    let mut case = Case::new(
        one("Always"),
        observed(true, vec![container("c", 1, exited(1, 100))]),
    );
    case.memory.restarts.next("c", at(98), at(98));
    case.now = 100;
    assert_eq!(case.steps(), ["announce back-off c"]);
    case.memory.announced.insert("c".to_owned(), at(100));
    let show_at = at(110) - BACK_OFF_SHOWN;
    assert_eq!(case.plan().wake_at, Some(show_at));
    assert!(case.steps().is_empty());
    case.exact = Some(show_at);
    assert_eq!(
        case.steps(),
        ["back-off c: back-off 10s restarting failed container=c pod=a_ns(u)"]
    );
    let Step::BackOff { name, trouble } = case.plan().steps.remove(0) else {
        panic!("a back-off")
    };
    case.memory.troubles.insert(name, trouble);
    assert_eq!(
        case.plan(),
        Plan {
            steps: vec![],
            wake_at: Some(at(110))
        }
    );
    case.exact = Some(at(110));
    assert_eq!(case.steps(), ["start c 2"]);
}

#[test]
fn a_container_that_could_not_be_started_is_tried_again_in_time() {
    let mut case = Case::new(one("Always"), observed(true, vec![]));
    let waiting = Waiting {
        reason: "ErrImagePull".to_owned(),
        message: String::new(),
    };
    case.memory.troubles.insert(
        "c".to_owned(),
        Trouble {
            waiting,
            retry_at: at(105),
        },
    );
    assert_eq!(
        case.plan(),
        Plan {
            steps: vec![],
            wake_at: Some(at(105))
        }
    );
    case.now = 105;
    assert_eq!(case.steps(), ["start c 0"]);
}

#[test]
fn a_deleted_pod_is_taken_down_in_order() {
    let spec = json!({"terminationGracePeriodSeconds": 7, "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]});
    let both = || vec![container("c", 0, running()), container("d", 0, running())];
    let dead = || {
        vec![
            container("c", 0, exited(0, 99)),
            container("d", 0, exited(0, 99)),
        ]
    };
    let case = |o| Case::new(spec.clone(), o).ending(End::Deleted);
    assert_eq!(
        case(observed(true, both())).steps(),
        [
            "stop c-0 7s: Stopping container c",
            "stop d-0 7s: Stopping container d"
        ]
    );
    assert_eq!(case(observed(true, dead())).steps(), ["stop sandbox"]);
    assert_eq!(case(observed(false, dead())).steps(), ["finish"]);
    assert_eq!(case(Observed::default()).steps(), ["finish"]);
    assert_eq!(
        Case::new(spec.clone(), Observed::default())
            .ending(End::Gone)
            .steps(),
        ["clean up"]
    );
    assert!(
        Case::new(spec.clone(), observed(false, dead()))
            .ending(End::Failed)
            .steps()
            .is_empty()
    );

    let mut stopping = case(observed(true, both()));
    stopping.memory.stopping.insert("c-0".to_owned());
    stopping.memory.grace = Some(0);
    assert_eq!(
        stopping.steps(),
        ["stop d-0 1s: Stopping container d"],
        "at least a second, and each once"
    );
}

#[test]
fn a_new_image_replaces_the_container_without_back_off() {
    let spec =
        json!({"terminationGracePeriodSeconds": 3, "containers": [{"name": "c", "image": "new"}]});
    let case = Case::new(
        spec.clone(),
        observed(true, vec![container("c", 0, running())]),
    );
    assert_eq!(
        case.steps(),
        ["stop c-0 3s: Container c definition changed, will be restarted"]
    );
    let mut case = Case::new(
        spec,
        observed(true, vec![container("c", 0, exited(0, 100))]),
    );
    case.memory.restarts.next("c", at(99), at(99));
    assert_eq!(case.steps(), ["start c 1"]);
}

#[test]
fn only_the_last_dead_attempt_is_kept() {
    let containers = vec![
        container("c", 2, running()),
        container("c", 1, exited(1, 50)),
        container("c", 0, exited(1, 40)),
    ];
    assert_eq!(
        Case::new(one("Always"), observed(true, containers)).steps(),
        ["remove c-0"]
    );
}

#[test]
fn a_deadline_is_waited_for_and_then_ends_the_pod() {
    let case = Case::new(
        one("Always"),
        observed(true, vec![container("c", 0, running())]),
    );
    let with = |deadline| {
        plan(&Inputs {
            pod: &case.pod,
            end: None,
            observed: &case.observed,
            volumes: Progress::Ready,
            memory: &case.memory,
            terminal: false,
            deadline: Some(deadline),
            now: at(100),
        })
    };
    assert_eq!(
        with(at(103)),
        Plan {
            steps: vec![],
            wake_at: Some(at(103))
        }
    );
    assert_eq!(with(at(100)), Plan::now(vec![Step::ExceedDeadline]));
}

#[test]
fn a_container_that_the_runtime_lost_counts_as_a_restart() {
    let mut case = Case::new(one("Always"), observed(true, vec![]));
    case.pod.status = serde_json::from_value(
        json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "",
        "ready": true, "restartCount": 2, "state": {"running": {}}}]}),
    )
    .ok();
    assert_eq!(case.steps(), ["start c 3"]);
}

#[test]
fn nothing_is_made_before_the_volumes_are_found_and_nothing_started_before_they_are_made() {
    let rows = [
        (Progress::Pending, Observed::default(), vec![]),
        (Progress::Found, Observed::default(), vec!["sandbox"]),
        (Progress::Ready, Observed::default(), vec!["sandbox"]),
        (Progress::Pending, observed(true, vec![]), vec![]),
        (Progress::Found, observed(true, vec![]), vec![]),
        (Progress::Ready, observed(true, vec![]), vec!["start c 0"]),
        (
            Progress::Found,
            observed(true, vec![container("c", 0, exited(1, 99))]),
            vec![],
        ),
        (
            Progress::Ready,
            observed(true, vec![container("c", 0, exited(1, 99))]),
            vec!["start c 1"],
        ),
    ];
    for (volumes, observed, want) in rows {
        let mut case = Case::new(one("Always"), observed);
        case.volumes = volumes;
        assert_eq!(case.steps(), want, "{volumes:?}");
    }
}
