//! StatefulSets.

use super::super::checks::{
    Errors, at_most_all, count_or_percent, invalid_each, list, non_negative, same, some, text,
};
use super::super::storage;
use super::{is_zero, pod, selector, spec_path};
use crate::field::{Error, Path};
use crate::internal;
use crate::names;
use serde_json::{Value, json};

pub(in super::super) fn stateful_set(errors: &mut Errors, object: &Value) {
    spec(errors, &object["spec"], true);
}

/// `with_template` is false for a set whose template was wrong before and may stay so.
fn spec(errors: &mut Errors, spec: &Value, with_template: bool) {
    let path = spec_path();
    match text(spec, "podManagementPolicy") {
        "OrderedReady" | "Parallel" => {}
        "" => errors.push(Error::required(&path.field("podManagementPolicy"), "")),
        other => {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(Error::invalid(
                &path.field("podManagementPolicy"),
                other,
                detail,
            ));
        }
    }
    update_strategy(
        errors,
        &path.field("updateStrategy"),
        &spec["updateStrategy"],
    );
    if let Some(retention) = some(spec, "persistentVolumeClaimRetentionPolicy") {
        let at = path.field("persistentVolumeClaimRetentionPolicy");
        for member in ["whenDeleted", "whenScaled"] {
            let word = text(retention, member);
            if !matches!(word, "Retain" | "Delete") {
                let supported = ["Retain", "Delete"];
                errors.push(Error::not_supported(&at.field(member), word, &supported));
            }
        }
    }
    if with_template {
        let templates = path.field("volumeClaimTemplates");
        for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
            let at = templates.index(i);
            storage::claim_spec(errors, &at.field("spec"), &claim["spec"]);
        }
    }
    non_negative(errors, &path, spec, "replicas");
    non_negative(errors, &path, spec, "minReadySeconds");
    if let Some(ordinals) = some(spec, "ordinals") {
        non_negative(errors, &path.field("ordinals"), ordinals, "start");
    }
    let service = text(spec, "serviceName");
    if !service.is_empty() {
        invalid_each(
            errors,
            &path.field("serviceName"),
            service,
            names::dns1123_label(service),
        );
    }
    template(errors, spec, with_template);
}

fn update_strategy(errors: &mut Errors, path: &Path<'_>, strategy: &Value) {
    let rolling_path = path.field("rollingUpdate");
    match (text(strategy, "type"), some(strategy, "rollingUpdate")) {
        ("", _) => errors.push(Error::required(path, "")),
        ("RollingUpdate", Some(rolling)) => {
            non_negative(errors, &rolling_path, rolling, "partition");
            if let Some(count) = some(rolling, "maxUnavailable") {
                let at = rolling_path.field("maxUnavailable");
                count_or_percent(errors, &at, count);
                if is_zero(count) {
                    errors.push(Error::invalid(&at, count, "cannot be 0"));
                }
                at_most_all(errors, &at, count);
            }
        }
        ("OnDelete", Some(rolling)) => errors.push(Error::invalid(
            &rolling_path,
            internal::show("apps.RollingUpdateStatefulSetStrategy", Some(rolling)),
            "only allowed for updateStrategy 'RollingUpdate'",
        )),
        ("RollingUpdate" | "OnDelete", None) => {}
        _ => errors.push(Error::invalid(
            path,
            internal::show("apps.StatefulSetUpdateStrategy", Some(strategy)),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
}

fn template(errors: &mut Errors, spec: &Value, with_template: bool) {
    let parent = spec_path();
    let path = parent.field("template");
    let found = selector(
        errors,
        spec,
        "empty selector is invalid for statefulset",
        "",
    );
    if let Some(selector) = found {
        let template = expected_template(spec);
        let labels = template["metadata"].get("labels");
        if !selector.is_everything() && !selector.matches(labels.and_then(Value::as_object)) {
            let meta = path.field("metadata");
            let detail = "`selector` does not match template `labels`";
            errors.push(Error::invalid(&meta.field("labels"), labels, detail));
        }
        if with_template {
            pod::template(errors, &path, &template);
        }
    }
    super::always_restarts(errors, &spec["template"], "StatefulSet");
}

/// The template with what the controller puts in: names, and a volume for each claim.
fn expected_template(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = list(spec, "volumeClaimTemplates");
    let Some(pod) = template["spec"].as_object_mut() else {
        return template;
    };
    pod.remove("hostname");
    pod.remove("subdomain");
    if claims.is_empty() {
        return template;
    }
    let mut names: Vec<&str> = Vec::new();
    for name in claims.iter().map(|c| text(&c["metadata"], "name")) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut volumes: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    let own = pod.get("volumes").and_then(Value::as_array);
    let rest = own
        .into_iter()
        .flatten()
        .filter(|v| !names.contains(&text(v, "name")));
    volumes.extend(rest.cloned());
    pod.insert("volumes".to_owned(), volumes.into());
    template
}

/// What ties a StatefulSet to its Pods and claims can't change.
pub(in super::super) fn stateful_set_update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, new_spec, path) = (&old["spec"], &new["spec"], spec_path());
    let mut before = Errors::new();
    spec(&mut before, old_spec, true);
    spec(errors, new_spec, before.is_empty());
    super::selector_stays(errors, old_spec, new_spec);
    if !same(
        &old_spec["volumeClaimTemplates"],
        &new_spec["volumeClaimTemplates"],
    ) {
        let found = some(new_spec, "volumeClaimTemplates");
        let shown = internal::show("[core.PersistentVolumeClaim", found);
        let at = path.field("volumeClaimTemplates");
        errors.push(Error::invalid(&at, shown, "field is immutable"));
    }
    for member in ["serviceName", "podManagementPolicy"] {
        if text(old_spec, member) != text(new_spec, member) {
            let shown = text(new_spec, member);
            errors.push(Error::invalid(
                &path.field(member),
                shown,
                "field is immutable",
            ));
        }
    }
}
