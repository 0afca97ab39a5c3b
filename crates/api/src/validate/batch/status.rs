//! A Job's status, which other controllers may write too (KEP-4368).
//!
//! Most rules hold only for what the update changes, so that a status that is wrong already can be written on.

use super::super::checks::{Errors, int, list, non_negative, same, some, text};
use super::{indexes, is_indexed, number};
use crate::field::{Bad, Error, Path};
use serde_json::Value;
use std::collections::HashSet;

/// Whether a condition is true.
pub(super) fn holds(status: &Value, kind: &str) -> bool {
    condition(status, kind, "True")
}

fn condition(status: &Value, kind: &str, value: &str) -> bool {
    let all = list(status, "conditions");
    all.iter()
        .any(|c| text(c, "type") == kind && text(c, "status") == value)
}

fn finished(status: &Value) -> bool {
    holds(status, "Complete") || holds(status, "Failed")
}

/// Both versions of a Job, and what of its status differs.
struct Change<'a> {
    spec: &'a Value,
    old: &'a Value,
    new: &'a Value,
}

impl Change<'_> {
    fn member(&self, member: &str) -> bool {
        !same(&self.old[member], &self.new[member])
    }

    fn condition(&self, kind: &str) -> bool {
        holds(self.old, kind) != holds(self.new, kind)
    }

    fn finished(&self) -> bool {
        finished(self.old) != finished(self.new)
    }
}

/// What is wrong with a changed status. Its metadata is already checked.
pub(in super::super) fn job_status(errors: &mut Errors, old: &Value, new: &Value) {
    let change = Change {
        spec: &new["spec"],
        old: &old["status"],
        new: &new["status"],
    };
    counts(errors, change.new);
    ends(errors, &change);
    after_the_end(errors, &change);
    named_indexes(errors, &change);
    running(errors, &change);
    transitions(errors, &change);
}

fn path() -> Path<'static> {
    Path::root("status")
}

fn conditions(errors: &mut Errors, detail: impl Into<String>) {
    errors.push(Error::invalid(
        &path().field("conditions"),
        Bad::Omitted,
        detail,
    ));
}

fn counts(errors: &mut Errors, status: &Value) {
    for member in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(errors, &path(), status, member);
    }
    let (root, uncounted) = (path(), &status["uncountedTerminatedPods"]);
    let parent = root.field("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for member in ["succeeded", "failed"] {
        let list_path = parent.field(member);
        let all = list(uncounted, member).iter().filter_map(Value::as_str);
        for (i, uid) in all.enumerate() {
            let at = list_path.index(i);
            if uid.is_empty() {
                errors.push(Error::invalid(&at, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&at, uid));
            }
        }
    }
}

/// Which conditions and times go together.
fn ends(errors: &mut Errors, change: &Change<'_>) {
    let (status, root) = (change.new, path());
    let time_path = root.field("completionTime");
    let (complete, failed) = (holds(status, "Complete"), holds(status, "Failed"));
    let (complete_changed, failed_changed) =
        (change.condition("Complete"), change.condition("Failed"));
    if (complete_changed || failed_changed) && complete && failed {
        conditions(
            errors,
            "cannot set Complete=True and Failed=true conditions",
        );
    }
    if (complete_changed || change.condition("FailureTarget"))
        && complete
        && holds(status, "FailureTarget")
    {
        conditions(
            errors,
            "cannot set Complete=True and FailureTarget=true conditions",
        );
    }
    let (start, end) = (some(status, "startTime"), some(status, "completionTime"));
    if complete_changed || change.member("completionTime") {
        if end.is_some() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(Error::invalid(&time_path, end, detail));
        }
        if end.is_none() && complete {
            errors.push(Error::required(
                &time_path,
                "completionTime is required for Complete jobs",
            ));
        }
    }
    // Times are stored in one zone and one form, so that texts compare as times do.
    if let (Some(start), Some(finish)) =
        (start.and_then(Value::as_str), end.and_then(Value::as_str))
        && (change.member("startTime") || change.member("completionTime"))
        && finish < start
    {
        errors.push(Error::invalid(
            &time_path,
            finish,
            "must be equal to or after `startTime`",
        ));
    }
    let failure_target = holds(status, "FailureTarget");
    if (failed_changed || change.member("failedIndexes")) && failed && !failure_target {
        conditions(
            errors,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        );
    }
    let met = holds(status, "SuccessCriteriaMet");
    if (complete_changed || change.condition("SuccessCriteriaMet")) && complete && !met {
        let detail =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        conditions(errors, detail);
    }
}

/// A finished Job has started, and has nothing left to count.
fn after_the_end(errors: &mut Errors, change: &Change<'_>) {
    let (status, root) = (change.new, path());
    if !finished(status) {
        return;
    }
    let ended = change.finished();
    let active = int(status, "active");
    if (ended || change.member("active")) && active > 0 {
        let detail = "active>0 is invalid for finished job";
        errors.push(Error::invalid(&root.field("active"), active, detail));
    }
    let nothing_to_do =
        change.spec["suspend"] == true && number(change.spec, "completions") == Some(0);
    let start = some(status, "startTime");
    if (ended || change.member("startTime")) && !nothing_to_do && start.is_none() {
        errors.push(Error::required(
            &root.field("startTime"),
            "startTime is required for finished job",
        ));
    }
    let uncounted = &status["uncountedTerminatedPods"];
    let pending = !list(uncounted, "failed").is_empty() || !list(uncounted, "succeeded").is_empty();
    if (ended || change.member("uncountedTerminatedPods")) && pending {
        let shown = crate::internal::show("batch.UncountedTerminatedPods", Some(uncounted));
        let at = root.field("uncountedTerminatedPods");
        errors.push(Error::invalid(&at, shown, "must be empty for finished job"));
    }
}

fn named_indexes(errors: &mut Errors, change: &Change<'_>) {
    let (spec, status, root) = (change.spec, change.new, path());
    let (completed_path, failed_path) =
        (root.field("completedIndexes"), root.field("failedIndexes"));
    let completed = text(status, "completedIndexes");
    let failed = some(status, "failedIndexes").and_then(Value::as_str);
    let completions = number(spec, "completions");
    let limited = some(spec, "backoffLimitPerIndex").is_some();
    let (completed_changed, failed_changed) = (
        change.member("completedIndexes"),
        change.member("failedIndexes"),
    );
    if let Some(all) = completions.filter(|_| completed_changed)
        && let Err(why) = indexes::count(completed, all)
    {
        let detail = format!("error parsing completedIndexes: {why}");
        errors.push(Error::invalid(&completed_path, completed, detail));
    }
    if let (Some(all), Some(failed)) = (completions.filter(|_| failed_changed && limited), failed)
        && let Err(why) = indexes::count(failed, all)
    {
        let detail = format!("error parsing failedIndexes: {why}");
        errors.push(Error::invalid(&failed_path, failed, detail));
    }
    if completed_changed && !completed.is_empty() && !is_indexed(spec) {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(Error::invalid(&completed_path, completed, detail));
    }
    let Some(failed) = failed else {
        return;
    };
    if failed_changed && !limited {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(Error::invalid(&failed_path, failed, detail));
    }
    if let Some(all) = completions.filter(|_| failed_changed || completed_changed)
        && let Some(index) = indexes::overlap(completed, failed, all)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(Error::invalid(&failed_path, failed, detail));
    }
}

fn running(errors: &mut Errors, change: &Change<'_>) {
    let (status, root) = (change.new, path());
    let terminating = int(status, "terminating");
    let terminating_counts = change.finished() || change.member("terminating");
    if terminating_counts && finished(status) && terminating > 0 {
        let detail = "terminating>0 is invalid for finished job";
        errors.push(Error::invalid(
            &root.field("terminating"),
            terminating,
            detail,
        ));
    }
    let (ready, active) = (int(status, "ready"), int(status, "active"));
    let counted = some(status, "ready").is_some();
    if counted && (change.member("ready") || change.member("active")) && ready > active {
        let detail = "cannot set more ready pods than active";
        errors.push(Error::invalid(&root.field("ready"), ready, detail));
    }
    let met = holds(status, "SuccessCriteriaMet");
    if met && holds(status, "Failed") {
        conditions(
            errors,
            "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        );
    }
    if met && holds(status, "FailureTarget") {
        conditions(
            errors,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        );
    }
    if some(change.spec, "successPolicy").is_some() && !met && holds(status, "Complete") {
        let detail =
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        conditions(errors, detail);
    }
}

/// What never goes back.
fn transitions(errors: &mut Errors, change: &Change<'_>) {
    let (spec, old, status, root) = (change.spec, change.old, change.new, path());
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if holds(old, kind) && !holds(status, kind) {
            conditions(
                errors,
                format!("cannot disable the terminal {kind}=True condition"),
            );
        }
    }
    let scalable = is_indexed(spec) && number(spec, "completions") == number(spec, "parallelism");
    for (member, checked) in [("failed", true), ("succeeded", !scalable)] {
        let count = int(status, member);
        if checked && count < int(old, member) {
            let detail = format!("cannot decrease the {member} counter");
            errors.push(Error::invalid(&root.field(member), count, detail));
        }
    }
    let end = some(status, "completionTime");
    if end.is_some() && some(old, "completionTime").is_some() && change.member("completionTime") {
        errors.push(Error::invalid(
            &root.field("completionTime"),
            end,
            "field is immutable",
        ));
    }
    let resuming = holds(old, "Suspended") && condition(status, "Suspended", "False");
    let started = some(old, "startTime").is_some() && change.member("startTime");
    if started && !resuming && spec["suspend"] != true {
        let detail = "field is immutable for unsuspended job once set";
        errors.push(Error::invalid(
            &root.field("startTime"),
            some(status, "startTime"),
            detail,
        ));
    }
    let (met_before, met) = (
        holds(old, "SuccessCriteriaMet"),
        holds(status, "SuccessCriteriaMet"),
    );
    if met_before && !met {
        conditions(
            errors,
            "cannot disable the SuccessCriteriaMet=True condition",
        );
    }
    if holds(old, "Complete") && !met_before && met {
        let detail =
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        conditions(errors, detail);
    }
}
