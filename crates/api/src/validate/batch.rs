//! Jobs and CronJobs.

use super::checks::{
    Errors, immutable, int, label_selector, list, non_negative, one_of, some, text,
};
use super::pod;
use crate::field::{Bad, Error, Path, quote};
use crate::names;
use crate::selector::LabelSelector;
use serde_json::Value;

const COUNTS: [&str; 7] = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
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
        errors.push(Error::not_supported(
            &path.field("completionMode"),
            mode,
            &["NonIndexed", "Indexed"],
        ));
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
                errors.push(Error::invalid(
                    &path.field(member),
                    value,
                    "requires indexed completion mode",
                ));
            }
        }
    }
    if let (Some(policy), false) = (some(spec, "successPolicy"), indexed) {
        let detail = "requires indexed completion mode";
        errors.push(Error::invalid(
            &path.field("successPolicy"),
            go_success_policy(policy),
            detail,
        ));
    }
    let manager = text(spec, "managedBy");
    if !manager.is_empty() {
        super::checks::invalid_each(
            errors,
            &path.field("managedBy"),
            manager,
            names::domain_prefixed_path(manager),
        );
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
        other => errors.push(Error::not_supported(
            &pod_path.field("restartPolicy"),
            other,
            &["OnFailure", "Never"],
        )),
    }
}

/// Go's marshalling of a success policy, which has no JSON names.
fn go_success_policy(policy: &Value) -> Bad {
    let rules: Vec<String> = list(policy, "rules")
        .iter()
        .map(|rule| {
            format!(
                r#"{{"SucceededIndexes":{},"SucceededCount":{}}}"#,
                some(rule, "succeededIndexes").unwrap_or(&Value::Null),
                some(rule, "succeededCount").unwrap_or(&Value::Null)
            )
        })
        .collect();
    Bad::Text(format!(r#"{{"Rules":[{}]}}"#, rules.join(",")))
}

/// The selector that creation generates must be all there is, unless the Job has its own.
fn generated_selector(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let Some(selector) = some(spec, "selector").filter(|_| spec["manualSelector"] != true) else {
        return;
    };
    let uid = &object["metadata"]["uid"];
    let labels = selector["matchLabels"].as_object();
    let alone = labels
        .is_some_and(|l| l.len() == 1 && l.get("batch.kubernetes.io/controller-uid") == Some(uid));
    if !alone || !list(selector, "matchExpressions").is_empty() {
        let path = Path::root("spec");
        errors.push(Error::invalid(
            &path.field("selector"),
            selector,
            "`selector` not auto-generated",
        ));
    }
}

/// Counts, and what being finished asks for (KEP-3998).
pub(super) fn job_status(errors: &mut Errors, job: &Value) {
    let (status, path) = (&job["status"], Path::root("status"));
    for member in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(errors, &path, status, member);
    }
    let holds = |kind: &str| {
        list(status, "conditions")
            .iter()
            .any(|c| text(c, "type") == kind && text(c, "status") == "True")
    };
    let conditions = path.field("conditions");
    let complete = holds("Complete");
    if complete && some(status, "completionTime").is_none() {
        let detail = "completionTime is required for Complete jobs";
        errors.push(Error::required(&path.field("completionTime"), detail));
    }
    for (end, reason) in [
        ("Complete", "SuccessCriteriaMet"),
        ("Failed", "FailureTarget"),
    ] {
        if holds(end) && !holds(reason) {
            let detail =
                format!("cannot set {end}=True condition without the {reason}=true condition");
            let mut error = Error::invalid(&conditions, Value::Null, detail);
            error.value = Bad::Omitted;
            errors.push(error);
        }
    }
    if complete || holds("Failed") {
        for member in ["active", "terminating"] {
            let count = int(status, member);
            if count > 0 {
                let detail = format!("{member}>0 is invalid for finished job");
                errors.push(Error::invalid(&path.field(member), count, detail));
            }
        }
    }
}

pub(super) fn job(errors: &mut Errors, object: &Value) {
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let found = some(spec, "selector");
    match found {
        None => errors.push(Error::required(&path.field("selector"), "")),
        Some(selector) => label_selector(errors, &path.field("selector"), selector),
    }
    generated_selector(errors, object);
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
    for member in [
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
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
            let detail = format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            );
            errors.push(Error::invalid(&schedule_path, schedule, detail));
        } else if !schedule.starts_with('@')
            && let Err(detail) = cron_fields(&fields)
        {
            errors.push(Error::invalid(&schedule_path, schedule, detail));
        }
    }
    if text(spec, "timeZone").eq_ignore_ascii_case("local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(
            &path.field("timeZone"),
            text(spec, "timeZone"),
            detail,
        ));
    }
    if some(spec, "timeZone").is_some_and(|z| z == "") {
        let detail = "timeZone must be nil or non-empty string";
        errors.push(Error::invalid(&path.field("timeZone"), "", detail));
    }
    one_of(
        errors,
        &path,
        spec,
        "concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
    );
    for member in [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ] {
        non_negative(errors, &path, spec, member);
    }
    let template = path.field("jobTemplate");
    job_spec(
        errors,
        &template.field("spec"),
        &spec["jobTemplate"]["spec"],
    );
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The five fields of a schedule, with the texts of the cron library that upstream uses.
fn cron_fields(fields: &[&str]) -> Result<(), String> {
    let bounds: [(i64, i64, &[&str], i64); 5] = [
        (0, 59, &[], 0),
        (0, 23, &[], 0),
        (1, 31, &[], 0),
        (1, 12, &MONTHS, 1),
        (0, 6, &DAYS, 0),
    ];
    for (field, (min, max, words, first)) in fields.iter().zip(bounds) {
        let number = |text: &str| {
            let word = words.iter().position(|w| w.eq_ignore_ascii_case(text));
            let number = word.map(|i| i as i64 + first).or_else(|| text.parse().ok());
            number.ok_or_else(|| {
                format!(
                    "failed to parse int from {text}: strconv.Atoi: parsing {}: invalid syntax",
                    quote(text)
                )
            })
        };
        for expression in field.split(',') {
            let (range, step) = match expression.split_once('/') {
                Some((range, step)) => (range, Some(number(step)?)),
                None => (expression, None),
            };
            let (low, high) = match range.split_once('-') {
                _ if range == "*" || range == "?" => (min, max),
                Some((low, high)) => (number(low)?, number(high)?),
                None => (
                    number(range)?,
                    if step.is_some() { max } else { number(range)? },
                ),
            };
            if low < min {
                return Err(format!(
                    "beginning of range ({low}) below minimum ({min}): {expression}"
                ));
            }
            if high > max {
                return Err(format!(
                    "end of range ({high}) above maximum ({max}): {expression}"
                ));
            }
            if low > high {
                return Err(format!(
                    "beginning of range ({low}) beyond end of range ({high}): {expression}"
                ));
            }
            if step == Some(0) {
                return Err(format!(
                    "step of range should be a positive number: {expression}"
                ));
            }
        }
    }
    Ok(())
}
