//! PodSecurity: a namespace's labels say how much its Pods may do.

use std::collections::BTreeMap;

use karve_api::pod_security::{Findings, Level, LevelVersion, Policy, evaluate};
use karve_api::status::Status;
use serde_json::Value;

use super::{Attributes, Notes, Operation, lookup};
use crate::answer::Refusal;
use crate::object::Meta;
use crate::server::Server;

/// So many Pods are looked at when a namespace changes.
const PODS_MAX: usize = 3000;
/// Subresources that change nothing in a Pod's spec.
const IGNORED: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];
const ANNOTATION: &str = "pod-security.kubernetes.io/";

/// Refuses Pods, warns of Pods, templates and namespaces.
pub fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let resource = &attributes.call.resource;
    let subresource = &*attributes.call.path.subresource;
    match (&*resource.group, &*resource.plural) {
        ("", "namespaces") if subresource.is_empty() => namespace(server, attributes, notes),
        ("", "pods") if !IGNORED.contains(&subresource) => pod(server, attributes, notes),
        (group, plural) if subresource.is_empty() => {
            if let Some((metadata, spec)) = template(group, plural, attributes.object()) {
                let (policy, _) = policy_of(server, attributes);
                if policy.warn.level != Level::Privileged || policy.audit.level != Level::Privileged
                {
                    tell(policy, None, (&metadata["annotations"], spec), notes);
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Metadata and spec of the Pods that an object makes.
fn template<'o>(group: &str, plural: &str, object: &'o Value) -> Option<(&'o Value, &'o Value)> {
    let template = match (group, plural) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template
        .is_object()
        .then(|| (&template["metadata"], &template["spec"]))
}

fn policy_of(server: &Server, attributes: &Attributes<'_>) -> (Policy, bool) {
    let namespace = lookup::get(server, "", "namespaces", "", attributes.namespace());
    let labels = namespace.map(|namespace| namespace["metadata"]["labels"].clone());
    let (policy, errors) = Policy::of(&labels.unwrap_or_default());
    (policy, errors.is_empty())
}

fn pod(server: &Server, attributes: &Attributes<'_>, notes: &mut Notes) -> Result<(), Refusal> {
    let (policy, sound) = policy_of(server, attributes);
    let note = |notes: &mut Notes, key: &str, value: String| {
        notes
            .annotations
            .push((format!("{ANNOTATION}{key}"), value));
    };
    if sound && policy.is_privileged() {
        note(notes, "enforce-policy", "privileged:latest".into());
        return Ok(());
    }
    let pod = attributes.object();
    if attributes.old.is_some_and(|old| !is_significant(pod, old)) {
        return Ok(());
    }
    note(notes, "enforce-policy", policy.enforce.to_string());
    let subject = (&pod["metadata"]["annotations"], &pod["spec"]);
    let enforced = evaluate(policy.enforce, subject.0, subject.1);
    let allowed = enforced.is_allowed();
    let refusal = (!allowed).then(|| {
        attributes.forbidden(&format!(
            "violates PodSecurity \"{}\": {enforced}",
            policy.enforce
        ))
    });
    let mut told = Notes::default();
    tell(policy, Some(enforced), subject, &mut told);
    notes.annotations.append(&mut told.annotations);
    match refusal {
        Some(refusal) => Err(refusal),
        None => {
            notes.warnings.append(&mut told.warnings);
            Ok(())
        }
    }
}

/// Notes what the levels for the audit log and for warnings forbid.
fn tell(
    policy: Policy,
    enforced: Option<Findings>,
    (annotations, spec): (&Value, &Value),
    notes: &mut Notes,
) {
    let findings = |level: LevelVersion| match &enforced {
        Some(enforced) if level == policy.enforce => enforced.clone(),
        _ => evaluate(level, annotations, spec),
    };
    let text = |level: LevelVersion, findings: &Findings| {
        format!("would violate PodSecurity \"{level}\": {findings}")
    };
    let audit = findings(policy.audit);
    if !audit.is_allowed() {
        let key = format!("{ANNOTATION}audit-violations");
        notes.annotations.push((key, text(policy.audit, &audit)));
    }
    let warn = findings(policy.warn);
    if !warn.is_allowed() {
        notes.warnings.push(text(policy.warn, &warn));
    }
}

/// Of what may change in a Pod, only images and new containers could matter.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &Value, name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
    let fixed = ["containers", "initContainers"].iter().any(|name| {
        let (new, old) = (list(pod, name), list(old, name));
        new.len() != old.len() || new.iter().zip(&old).any(|(n, o)| n["image"] != o["image"])
    });
    let before = list(old, "ephemeralContainers");
    fixed
        || list(pod, "ephemeralContainers").iter().any(|new| {
            let same = before.iter().find(|old| old["name"] == new["name"]);
            same.is_none_or(|old| old["image"] != new["image"])
        })
}

fn namespace(
    server: &Server,
    attributes: &Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let namespace = attributes.object();
    let (policy, errors) = Policy::of(&namespace["metadata"]["labels"]);
    let old = attributes
        .old
        .map(|old| Policy::of(&old["metadata"]["labels"]));
    let known = |old: &Option<(Policy, Vec<_>)>| old.as_ref().is_some_and(|(_, o)| *o == errors);
    if !errors.is_empty() && !known(&old) {
        return Err(Status::invalid("", "Namespace", namespace.meta("name"), &errors).into());
    }
    let Some((before, _)) = old else {
        return Ok(());
    };
    let (new, before) = (policy.enforce, before.enforce);
    let relaxed = new.version == before.version && new.level <= before.level;
    if new != before && new.level != Level::Privileged && !relaxed {
        notes
            .warnings
            .extend(existing(server, namespace.meta("name"), new));
    }
    Ok(())
}

/// Warnings of the Pods that a new level forbids: they stay, but could not be made again.
fn existing(server: &Server, namespace: &str, level: LevelVersion) -> Vec<String> {
    let pods = lookup::list(server, "", "pods", namespace);
    let total = pods.len();
    let mut by_reasons: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for pod in prioritized(pods.iter().map(|(_, pod)| pod))
        .into_iter()
        .take(PODS_MAX)
    {
        let findings = evaluate(level, &pod["metadata"]["annotations"], &pod["spec"]);
        if findings.is_allowed() {
            continue;
        }
        let name = pod.meta("name").to_owned();
        let (count, first) = by_reasons
            .entry(findings.reasons())
            .or_insert((0, name.clone()));
        *count += 1;
        if name < *first {
            *first = name;
        }
    }
    let mut warnings = Vec::new();
    if total > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {total} existing pods"
        ));
    }
    if !by_reasons.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{level}\""
        ));
    }
    let mut each: Vec<String> = by_reasons
        .into_iter()
        .map(|(reasons, (count, name))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    each.sort();
    warnings.append(&mut each);
    warnings
}

/// One Pod of each controller first.
fn prioritized<'p>(pods: impl Iterator<Item = &'p Value>) -> Vec<&'p Value> {
    let mut seen = std::collections::HashSet::new();
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for pod in pods {
        let owners = pod["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        let controller = owners
            .filter(|o| o["controller"] == true)
            .find_map(|o| o["uid"].as_str());
        match controller.is_none_or(|uid| seen.insert(uid)) {
            true => first.push(pod),
            false => others.push(pod),
        }
    }
    first.append(&mut others);
    first
}
