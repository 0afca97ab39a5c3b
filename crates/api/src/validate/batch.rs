//! Jobs and CronJobs.

use super::checks::{
    Errors, immutable, int, label_selector, non_negative, one_of, some, text,
};
use super::pod;
use crate::field::{Error, Path};
use crate::names;
use crate::selector::LabelSelector;
use serde_json::Value;

const COUNTS: [&str; 7] = [
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
    "maxFailedIndexes",
];

/// A Job's spec at a path, without what needs its name.
fn job_spec(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    for member in COUNTS {
        non_negative(errors, path, spec, member);
    }
    let indexed = text(spec, "completionMode") == "Indexed";
    let mode = text(spec, "completionMode");
    if !mode.is_empty() && mode != "Indexed" && mode != "NonIndexed" {
        errors.push(Error::not_supported(&path.field("completionMode"), mode, &["NonIndexed", "Indexed"]));
    }
    if indexed && some(spec, "completions").is_none() {
        let detail = "when completion mode is Indexed";
        errors.push(Error::required(&path.field("completions"), detail));
    }
    if some(spec, "maxFailedIndexes").is_some() && some(spec, "backoffLimitPerIndex").is_none() {
        let detail = "when maxFailedIndexes is specified";
        errors.push(Error::required(&path.field("backoffLimitPerIndex"), detail));
    }
    if !indexed {
        for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = some(spec, member) {
                errors.push(Error::invalid(&path.field(member), value, "requires indexed completion mode"));
            }
        }
    }
    let manager = text(spec, "managedBy");
    if !manager.is_empty() {
        super::checks::invalid_each(errors, &path.field("managedBy"), manager, names::domain_prefixed_path(manager));
    }
    let template = path.field("template");
    pod::template(errors, &template, &spec["template"]);
    let pod_path = template.field("spec");
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    let detail = "valid values: \"OnFailure\", \"Never\"";
    match policy {
        "OnFailure" | "Never" => {}
        // A Job has no default; the one of Pods does not fit it.
        "" | "Always" => errors.push(Error::required(&pod_path.field("restartPolicy"), detail)),
        other => errors.push(Error::not_supported(&pod_path.field("restartPolicy"), other, &["OnFailure", "Never"])),
    }
}

pub(super) fn job(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let found = some(spec, "selector");
    match found {
        None => errors.push(Error::required(&path.field("selector"), "")),
        Some(selector) => label_selector(errors, &path.field("selector"), selector),
    }
    job_spec(errors, &path, spec);
    let labels = spec["template"]["metadata"].get("labels");
    if let Ok(selector) = LabelSelector::from_object(found)
        && !selector.matches(labels.and_then(Value::as_object))
    {
        let template = path.field("template");
        let meta = template.field("metadata");
        let detail = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&meta.field("labels"), labels, detail));
    }
}

pub(super) fn job_update(errors: &mut Errors, old: &Value, new: &Value) {
    job(errors, new);
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    let indexed = text(spec, "completionMode") == "Indexed";
    let elastic = indexed && int(spec, "completions") == int(spec, "parallelism");
    if !elastic {
        immutable(errors, &path, old_spec, spec, "completions");
    }
    for member in ["selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        let suspended = old_spec["suspend"] == true && some(&old["status"], "startTime").is_none();
        if member != "template" || !suspended {
            immutable(errors, &path, old_spec, spec, member);
        }
    }
}

pub(super) fn cron_job(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let schedule_path = path.field("schedule");
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(Error::required(&schedule_path, ""));
    } else {
        let fields: Vec<&str> = schedule.split_whitespace().collect();
        if schedule.contains("TZ=") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(Error::invalid(&schedule_path, schedule, detail));
        } else if !schedule.starts_with('@') && fields.len() != 5 {
            let detail = format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "));
            errors.push(Error::invalid(&schedule_path, schedule, detail));
        }
    }
    if some(spec, "timeZone").is_some_and(|z| z == "") {
        let detail = "timeZone must be nil or non-empty string";
        errors.push(Error::invalid(&path.field("timeZone"), "", detail));
    }
    one_of(errors, &path, spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    for member in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(errors, &path, spec, member);
    }
    let template = path.field("jobTemplate");
    job_spec(errors, &template.field("spec"), &spec["jobTemplate"]["spec"]);
}
