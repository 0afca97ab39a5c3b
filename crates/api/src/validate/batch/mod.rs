//! Jobs and CronJobs.

mod cron;
mod indexes;
mod policy;
mod status;

pub(super) use cron::cron_job;
pub(super) use status::job_status;

use super::checks::{
    Errors, domain_prefixed_path, immutable, int, label_selector, non_negative, same, some, text,
};
use super::pod;
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use crate::selector::LabelSelector;
use serde_json::Value;

const MANAGED_BY_MAX: usize = 63;
const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// From here on, a Job that counts failures by index must bound them (KEP-3850).
const MANY_COMPLETIONS: i64 = 100_000;
const PARALLELISM_OF_MANY_MAX: i64 = 10_000;
const FAILED_INDEXES_OF_MANY_MAX: i64 = 10_000;

const COUNTS: [&str; 7] = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];

fn number(spec: &Value, member: &str) -> Option<i64> {
    some(spec, member).and_then(Value::as_i64)
}

fn is_indexed(spec: &Value) -> bool {
    text(spec, "completionMode") == "Indexed"
}

/// A Job's spec at a path, without what needs its name.
fn job_spec(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    for member in COUNTS {
        non_negative(errors, path, spec, member);
    }
    if some(spec, "maxFailedIndexes").is_some() && some(spec, "backoffLimitPerIndex").is_none() {
        let detail = "when maxFailedIndexes is specified";
        errors.push(Error::required(&path.field("backoffLimitPerIndex"), detail));
    }
    if let Some(manager) = some(spec, "managedBy").and_then(Value::as_str) {
        let at = path.field("managedBy");
        domain_prefixed_path(errors, &at, manager);
        if manager.len() > MANAGED_BY_MAX {
            errors.push(Error::too_long(&at, MANAGED_BY_MAX));
        }
    }
    completion_mode(errors, path, spec);
    if let Some(policy) = some(spec, "podFailurePolicy") {
        policy::failure(errors, &path.field("podFailurePolicy"), spec, policy);
    }
    if let Some(found) = some(spec, "successPolicy") {
        let at = path.field("successPolicy");
        match is_indexed(spec) {
            true => policy::success(errors, &at, spec, found),
            false => errors.push(Error::invalid(
                &at,
                internal::show("batch.SuccessPolicy", Some(found)),
                "requires indexed completion mode",
            )),
        }
    }
    policy::replacement(errors, path, spec);
    let template = path.field("template");
    pod::template(errors, &template, &spec["template"]);
    restart_policy(errors, &template, spec);
}

fn completion_mode(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let mode = text(spec, "completionMode");
    match mode {
        "Indexed" => indexed(errors, path, spec),
        "" | "NonIndexed" => {
            for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = some(spec, member) {
                    let detail = "requires indexed completion mode";
                    errors.push(Error::invalid(&path.field(member), value, detail));
                }
            }
        }
        other => errors.push(Error::not_supported(
            &path.field("completionMode"),
            other,
            &["NonIndexed", "Indexed"],
        )),
    }
}

fn indexed(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let completions = number(spec, "completions");
    let parallelism = number(spec, "parallelism").unwrap_or(0);
    let failed = number(spec, "maxFailedIndexes");
    let (parallelism_path, failed_path) =
        (path.field("parallelism"), path.field("maxFailedIndexes"));
    if completions.is_none() {
        let detail = "when completion mode is Indexed";
        errors.push(Error::required(&path.field("completions"), detail));
    }
    if parallelism > PARALLELISM_MAX {
        let detail = format!(
            "must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed"
        );
        errors.push(Error::invalid(&parallelism_path, parallelism, detail));
    }
    if let (Some(failed), Some(completions)) = (failed, completions)
        && failed > completions
    {
        errors.push(Error::invalid(
            &failed_path,
            failed,
            "must be less than or equal to completions",
        ));
    }
    if let Some(failed) = failed.filter(|f| *f > FAILED_INDEXES_MAX) {
        let detail = format!("must be less than or equal to {FAILED_INDEXES_MAX}");
        errors.push(Error::invalid(&failed_path, failed, detail));
    }
    if completions.is_none_or(|c| c <= MANY_COMPLETIONS)
        || some(spec, "backoffLimitPerIndex").is_none()
    {
        return;
    }
    let bound = |max: i64| {
        format!(
            "must be less than or equal to {max} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        )
    };
    if failed.is_none() {
        let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        errors.push(Error::required(&failed_path, detail));
    }
    if parallelism > PARALLELISM_OF_MANY_MAX {
        errors.push(Error::invalid(
            &parallelism_path,
            parallelism,
            bound(PARALLELISM_OF_MANY_MAX),
        ));
    }
    if let Some(failed) = failed.filter(|f| *f > FAILED_INDEXES_OF_MANY_MAX) {
        errors.push(Error::invalid(
            &failed_path,
            failed,
            bound(FAILED_INDEXES_OF_MANY_MAX),
        ));
    }
}

/// A Job has no default; the one of Pods does not fit it.
fn restart_policy(errors: &mut Errors, template: &Path<'_>, spec: &Value) {
    let pod = template.field("spec");
    let path = pod.field("restartPolicy");
    match text(&spec["template"]["spec"], "restartPolicy") {
        "" | "Always" => errors.push(Error::required(
            &path,
            "valid values: \"OnFailure\", \"Never\"",
        )),
        "Never" => {}
        "OnFailure" if some(spec, "podFailurePolicy").is_some() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&path, "OnFailure", detail));
        }
        "OnFailure" => {}
        other => errors.push(Error::not_supported(&path, other, &["OnFailure", "Never"])),
    }
}

/// The labels that creation puts on the template and the selector that goes with them, unless the Job has its own.
fn generated_selector(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if some(spec, "selector").is_none() || spec["manualSelector"] == true {
        return;
    }
    let meta = &object["metadata"];
    let (uid, name) = (text(meta, "uid"), text(meta, "name"));
    let expected = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    let (root, found) = (Path::root("spec"), &spec["template"]["metadata"]["labels"]);
    let template = root.field("template");
    let template_meta = template.field("metadata");
    let labels = template_meta.field("labels");
    for (key, value) in expected {
        let detail = format!("must be '{value}'");
        match found.get(key) {
            None => errors.push(Error::required(&labels.key(key), detail)),
            Some(other) if other != value => {
                errors.push(Error::invalid(&labels.key(key), found, detail))
            }
            Some(_) => {}
        }
    }
    let labels = expected.map(|(key, value)| (key.to_owned(), Value::from(value)));
    if let Ok(selector) = LabelSelector::from_object(some(spec, "selector"))
        && !selector.matches(Some(&labels.into_iter().collect()))
    {
        let detail = "`selector` not auto-generated";
        errors.push(Error::invalid(
            &root.field("selector"),
            super::workload::shown_selector(some(spec, "selector")),
            detail,
        ));
    }
}

/// The rules of a spec whose selector is its own.
fn selected_spec(errors: &mut Errors, spec: &Value) {
    let path = Path::root("spec");
    job_spec(errors, &path, spec);
    let found = some(spec, "selector");
    match found {
        None => errors.push(Error::required(&path.field("selector"), "")),
        Some(selector) => label_selector(errors, &path.field("selector"), selector),
    }
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

/// Pods of an indexed Job have its name and their index as hostname.
fn name_fits(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let completions = number(spec, "completions").unwrap_or(0);
    if !is_indexed(spec) || completions <= 0 {
        return;
    }
    let name = text(&object["metadata"], "name");
    let last = format!("{name}-{}", completions - 1);
    if !names::dns1123_label(&last).is_empty() {
        let meta = Path::root("metadata");
        let detail = format!("will not able to create pod with invalid DNS label: {last}");
        errors.push(Error::invalid(&meta.field("name"), name, detail));
    }
}

pub(super) fn job(errors: &mut Errors, object: &Value) {
    generated_selector(errors, object);
    selected_spec(errors, &object["spec"]);
    name_fits(errors, object);
}

pub(super) fn job_update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    selected_spec(errors, spec);
    completions(errors, old_spec, spec);
    super::workload::selector_stays(errors, old_spec, spec);
    template_update(errors, old, new);
    immutable(errors, &path, old_spec, spec, "completionMode");
    for (member, ty) in [
        ("podFailurePolicy", "*batch.PodFailurePolicy"),
        ("backoffLimitPerIndex", "*int32"),
        ("managedBy", "*string"),
        ("successPolicy", "*batch.SuccessPolicy"),
    ] {
        if !same(&old_spec[member], &spec[member]) {
            let shown = internal::show(ty, some(spec, member));
            errors.push(Error::invalid(
                &path.field(member),
                shown,
                "field is immutable",
            ));
        }
    }
    name_fits(errors, new);
}

/// Completions of an indexed Job go with its parallelism (KEP-3715); those of others stay.
fn completions(errors: &mut Errors, old: &Value, new: &Value) {
    let path = Path::root("spec");
    if !is_indexed(new) {
        immutable(errors, &path, old, new, "completions");
        return;
    }
    let now = number(new, "completions");
    if now.is_some() && now != number(old, "completions") && now != Some(int(new, "parallelism")) {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(
            &path.field("completions"),
            now.unwrap_or(0),
            detail,
        ));
    }
}

/// The template stays, but for what decides where Pods go, and their resources, while a suspended Job has none.
fn template_update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    let template_path = path.field("template");
    let template = &spec["template"];
    let mut before = old_spec["template"].clone();
    let suspended = old_spec["suspend"] == true;
    let idle =
        some(&old["status"], "startTime").is_none() || status::holds(&old["status"], "Suspended");
    let open = suspended && idle && int(&old["status"], "active") == 0;
    if open {
        take_directives(&mut before, template);
        take_resources(&mut before["spec"], &template["spec"]);
        if !same(&before["spec"], &template["spec"]) {
            let shown = internal::show("core.PodSpec", template.get("spec"));
            errors.push(Error::invalid(
                &template_path.field("spec"),
                shown,
                "field is immutable",
            ));
        }
    } else if !same(&before, template) {
        let shown = internal::show("core.PodTemplateSpec", Some(template));
        errors.push(Error::invalid(&template_path, shown, "field is immutable"));
    }
}

/// Gives the old template what of the new one decides where Pods go (KEP-2926).
fn take_directives(before: &mut Value, template: &Value) {
    for member in ["nodeSelector", "tolerations", "schedulingGates"] {
        before["spec"][member] = template["spec"][member].clone();
    }
    for member in ["labels", "annotations"] {
        before["metadata"][member] = template["metadata"][member].clone();
    }
    let wanted = template["spec"]["affinity"]["nodeAffinity"].clone();
    if !wanted.is_null() || !before["spec"]["affinity"].is_null() {
        before["spec"]["affinity"]["nodeAffinity"] = wanted;
    }
}

fn take_resources(before: &mut Value, spec: &Value) {
    for member in ["containers", "initContainers"] {
        let new = super::checks::list(spec, member);
        let old = before.get_mut(member).and_then(Value::as_array_mut);
        let Some(old) = old.filter(|old| old.len() == new.len()) else {
            continue;
        };
        for (old, new) in old.iter_mut().zip(new) {
            if old["name"] == new["name"] {
                old["resources"] = new["resources"].clone();
            }
        }
    }
}
