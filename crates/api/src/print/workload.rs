//! Controllers of Pods.

use super::age::human_duration;
use super::cells::{
    age, ago, bool_text, containers, int, is_true, labels, list, name, selector, text, text_or,
};
use crate::time;
use jiff::Timestamp;
use serde_json::Value;

fn with_template(mut cells: Vec<Value>, template: &Value) -> Vec<Value> {
    cells.extend(containers(&template["spec"]));
    cells
}

fn with_selector(cells: Vec<Value>, spec: &Value) -> Vec<Value> {
    let mut cells = with_template(cells, &spec["template"]);
    cells.push(selector(spec.get("selector")).into());
    cells
}

pub(super) fn cells(plural: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |member: &str| -> Value { int(status, member).into() };
    let ready = || -> Value {
        format!("{}/{}", int(status, "readyReplicas"), int(spec, "replicas")).into()
    };
    Some(match plural {
        "deployments" => {
            let cells = vec![
                name(object),
                ready(),
                count("updatedReplicas"),
                count("availableReplicas"),
                age(object, now),
            ];
            with_selector(cells, spec)
        }
        "replicasets" | "replicationcontrollers" => {
            let wanted = int(spec, "replicas").into();
            let cells = vec![
                name(object),
                wanted,
                count("replicas"),
                count("readyReplicas"),
                age(object, now),
            ];
            match plural {
                "replicasets" => with_selector(cells, spec),
                _ => {
                    let mut cells = with_template(cells, &spec["template"]);
                    cells.push(labels(spec.get("selector")).into());
                    cells
                }
            }
        }
        "statefulsets" => with_template(
            vec![name(object), ready(), age(object, now)],
            &spec["template"],
        ),
        "daemonsets" => {
            let cells = vec![
                name(object),
                count("desiredNumberScheduled"),
                count("currentNumberScheduled"),
                count("numberReady"),
                count("updatedNumberScheduled"),
                count("numberAvailable"),
                labels(spec.pointer("/template/spec/nodeSelector")).into(),
                age(object, now),
            ];
            with_selector(cells, spec)
        }
        "jobs" => job(object, now),
        "cronjobs" => cron_job(object, now),
        "podtemplates" => {
            let template = &object["template"];
            let mut cells = with_template(vec![name(object)], template);
            cells.push(labels(template["metadata"].get("labels")).into());
            cells
        }
        "controllerrevisions" => vec![
            name(object),
            controller(object).into(),
            int(object, "revision").into(),
            age(object, now),
        ],
        _ => return None,
    })
}

/// `daemonset.apps/x`.
fn controller(object: &Value) -> String {
    let owners = list(&object["metadata"], "ownerReferences");
    let Some(owner) = owners.iter().find(|o| o["controller"] == true) else {
        return "<none>".to_owned();
    };
    let group = text(owner, "apiVersion")
        .split_once('/')
        .map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    format!(
        "{}{dot}{group}/{}",
        text(owner, "kind").to_lowercase(),
        text(owner, "name")
    )
}

fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let state = if is_true(job, "Complete") {
        "Complete"
    } else if is_true(job, "Failed") {
        "Failed"
    } else if job["metadata"]["deletionTimestamp"].is_string() {
        "Terminating"
    } else {
        let words = [
            ("Suspended", "Suspended"),
            ("FailureTarget", "FailureTarget"),
            ("SuccessCriteriaMet", "SuccessCriteriaMet"),
        ];
        let found = words
            .into_iter()
            .find(|(condition, _)| is_true(job, condition));
        found.map_or("Running", |(_, word)| word)
    };
    let done = int(status, "succeeded");
    let completions = match (spec["completions"].as_i64(), int(spec, "parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    };
    let seconds = |member: &str| {
        let parsed = time::parse(text(status, member)).ok();
        parsed.map(|t| t.as_second())
    };
    let duration = match (seconds("startTime"), seconds("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now.as_second()) - start),
    };
    let cells = vec![
        name(job),
        state.into(),
        completions.into(),
        duration.into(),
        age(job, now),
    ];
    with_selector(cells, spec)
}

fn cron_job(cron: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&cron["spec"], &cron["status"]);
    let last = match status["lastScheduleTime"].is_string() {
        true => ago(status, "lastScheduleTime", now),
        false => "<none>".into(),
    };
    let cells = vec![
        name(cron),
        text(spec, "schedule").into(),
        text_or(spec, "timeZone", "<none>").into(),
        bool_text(&spec["suspend"]).into(),
        list(status, "active").len().into(),
        last,
        age(cron, now),
    ];
    with_selector(cells, &spec["jobTemplate"]["spec"])
}
