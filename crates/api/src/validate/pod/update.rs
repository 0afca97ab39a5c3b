//! What of a Pod can change.

use super::super::checks::{Errors, list, map, same, some, text};
use super::{MIRROR, annotations, own};
use crate::field::{Error, Path, quote};
use crate::internal;
use crate::strategy::qos;
use serde_json::Value;
use std::collections::HashSet;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A changed Pod, its metadata already checked.
pub(in super::super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    own(errors, new);
    annotations::update(errors, old, new);
    let (old_spec, spec, path) = (&old["spec"], &new["spec"], Path::root("spec"));
    for member in ["containers", "initContainers"] {
        let at = path.field(member);
        if list(old_spec, member).len() != list(spec, member).len() {
            errors.push(Error::forbidden(
                &at,
                "pod updates may not add or remove containers",
            ));
            return;
        }
        for (i, container) in list(spec, member).iter().enumerate() {
            if text(container, "image").is_empty() {
                errors.push(Error::required(&at.index(i).field("image"), ""));
            }
            super::container::image_padding(errors, &at.index(i), container);
        }
    }
    if !deadline(errors, old_spec, spec) {
        return;
    }
    tolerations(errors, old_spec, spec);
    scheduling_gates(errors, old_spec, spec);
    if same(old_spec, spec) {
        return;
    }
    let munged = with_allowed_put_back(errors, old_spec, spec);
    if !same(&munged, old_spec) {
        let diff = internal::diff("core.PodSpec", old_spec, &munged);
        errors.push(Error::forbidden(&path, format!("{ALLOWED}\n{diff}")));
    }
}

/// A deadline can come, and then only get nearer. Whether it is worth to look on.
fn deadline(errors: &mut Errors, old: &Value, new: &Value) -> bool {
    const MEMBER: &str = "activeDeadlineSeconds";
    let spec = Path::root("spec");
    let path = spec.field(MEMBER);
    let seconds = |spec: &Value| some(spec, MEMBER).and_then(Value::as_i64);
    match (seconds(old), seconds(new)) {
        (_, Some(new)) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let detail = "must be between 0 and 2147483647, inclusive";
            errors.push(Error::invalid(&path, new, detail));
            return false;
        }
        (Some(old), Some(new)) if new > old => {
            errors.push(Error::invalid(
                &path,
                new,
                "must be less than or equal to previous value",
            ));
            return false;
        }
        (Some(_), None) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(Error::invalid(&path, Value::Null, detail));
        }
        _ => {}
    }
    true
}

/// Tolerations can be added; an existing one may change its seconds only.
fn tolerations(errors: &mut Errors, old: &Value, new: &Value) {
    let spec = Path::root("spec");
    let keys = |spec| -> HashSet<[&str; 4]> {
        let all: &[Value] = list(spec, "tolerations");
        let key = |t| ["key", "operator", "value", "effect"].map(|member| text(t, member));
        all.iter().map(key).collect()
    };
    if !keys(old).is_subset(&keys(new)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(&spec.field("tolerations"), detail));
        return;
    }
    super::scheduling::tolerations(errors, &spec, new);
}

/// Gates can only be taken away (KEP-3521).
fn scheduling_gates(errors: &mut Errors, old: &Value, new: &Value) {
    let spec = Path::root("spec");
    let path = spec.field("schedulingGates");
    let before: HashSet<&str> = list(old, "schedulingGates")
        .iter()
        .map(|g| text(g, "name"))
        .collect();
    for (i, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !before.contains(name) {
            let (at, detail) = (
                path.index(i),
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            );
            errors.push(Error::forbidden(&at.field("name"), detail));
        }
    }
}

fn put_back(to: &mut Value, from: &Value, member: &str) {
    match some(from, member) {
        Some(value) => to[member] = value.clone(),
        None => drop(to.as_object_mut().and_then(|m| m.remove(member))),
    }
}

/// The new spec with everything that may change put back.
fn with_allowed_put_back(errors: &mut Errors, old: &Value, new: &Value) -> Value {
    let mut munged = new.clone();
    for member in ["containers", "initContainers"] {
        let ours = munged.get_mut(member).and_then(Value::as_array_mut);
        for (ours, theirs) in ours.into_iter().flatten().zip(list(old, member)) {
            ours["image"] = theirs["image"].clone();
        }
    }
    for member in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put_back(&mut munged, old, member);
    }
    let grace = |s: &Value| s["terminationGracePeriodSeconds"].as_i64();
    if grace(old).is_some_and(|g| g < 0) && grace(new) == Some(1) {
        put_back(&mut munged, old, "terminationGracePeriodSeconds");
    }
    // A Pod that waits for its gates may be narrowed to fewer Nodes (KEP-3838).
    if !list(old, "schedulingGates").is_empty() {
        narrowed(errors, old, &mut munged);
    }
    munged
}

fn narrowed(errors: &mut Errors, old: &Value, munged: &mut Value) {
    let path = Path::root("spec");
    if !same(&old["nodeSelector"], &munged["nodeSelector"]) {
        let kept = map(old, "nodeSelector")
            .all(|(key, value)| munged["nodeSelector"].get(key) == Some(value));
        if !kept {
            let detail =
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(Error::invalid(
                &path.field("nodeSelector"),
                munged.get("nodeSelector"),
                detail,
            ));
        }
        put_back(munged, old, "nodeSelector");
    }
    let (before, after) = (
        &old["affinity"]["nodeAffinity"],
        &munged["affinity"]["nodeAffinity"],
    );
    if same(before, after) {
        return;
    }
    node_affinity(errors, before, after);
    let before = before.clone();
    if !before.is_null() || munged["affinity"].is_object() {
        munged["affinity"]["nodeAffinity"] = before;
    }
}

/// Required terms may get longer, but not more.
fn node_affinity(errors: &mut Errors, old: &Value, new: &Value) {
    let spec = Path::root("spec");
    let affinity = spec.field("affinity");
    let node = affinity.field("nodeAffinity");
    let required = node.field(REQUIRED);
    let path = required.field("nodeSelectorTerms");
    let (before, after) = (
        list(&old[REQUIRED], "nodeSelectorTerms"),
        list(&new[REQUIRED], "nodeSelectorTerms"),
    );
    if before.is_empty() {
        return;
    }
    if before.len() != after.len() {
        let shown = internal::show(
            "[core.NodeSelectorTerm",
            new[REQUIRED].get("nodeSelectorTerms"),
        );
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(&path, shown, detail));
        return;
    }
    for (i, (before, after)) in before.iter().zip(after).enumerate() {
        let grown = ["matchExpressions", "matchFields"].iter().all(|member| {
            let (before, after) = (list(before, member), list(after, member));
            after.len() >= before.len() && before.iter().zip(after).all(|(b, a)| same(b, a))
        });
        let empty = |term: &Value| {
            list(term, "matchExpressions").is_empty() && list(term, "matchFields").is_empty()
        };
        if !grown || empty(before) && !empty(after) {
            let shown = internal::show("core.NodeSelectorTerm", Some(after));
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(Error::invalid(&path.index(i), shown, detail));
        }
    }
}

/// Pods that a kubelet made of files can't be changed.
fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// A Pod with more ephemeral containers: those that it has stay (KEP-277). Its metadata is already checked.
pub(in super::super) fn ephemeral(errors: &mut Errors, old: &Value, new: &Value) {
    if is_mirror(old) {
        *errors = vec![Error::forbidden(
            &Path::root(""),
            "static pods do not support ephemeral containers",
        )];
        return;
    }
    own(errors, new);
    annotations::update(errors, old, new);
    let spec = Path::root("spec");
    let path = spec.field("ephemeralContainers");
    for before in list(&old["spec"], "ephemeralContainers") {
        let name = text(before, "name");
        let all = list(&new["spec"], "ephemeralContainers").iter();
        let detail = match all.rev().find(|c| c["name"] == before["name"]) {
            None => format!(
                "existing ephemeral containers {} may not be removed\n",
                quote(name)
            ),
            Some(after) if !same(before, after) => {
                let diff = internal::diff("core.EphemeralContainer", before, after);
                format!(
                    "existing ephemeral containers {} may not be changed\n{diff}",
                    quote(name)
                )
            }
            Some(_) => continue,
        };
        errors.push(Error::forbidden(&path, detail));
    }
}

/// A Pod with other requests and limits (KEP-1287): of cpu and memory only, and of the same class.
pub(in super::super) fn resize(errors: &mut Errors, old: &Value, new: &Value) {
    let refused = match old["spec"]["os"]["name"] == "windows" {
        _ if is_mirror(old) => "static pods cannot be resized",
        true => "windows pods cannot be resized",
        false => "",
    };
    if !refused.is_empty() {
        *errors = vec![Error::forbidden(&Path::root(""), refused)];
        return;
    }
    own(errors, new);
    let (path, before) = (Path::root("spec"), &old["spec"]);
    let class = old["status"]["qosClass"]
        .as_str()
        .unwrap_or_else(|| qos::class(old).as_str());
    if class != qos::class(new).as_str() {
        let shown = text(&new["status"], "qosClass");
        errors.push(Error::invalid(
            &path,
            shown,
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    let mut munged = new["spec"].clone();
    pod_level(errors, before, &mut munged);
    if !same_order(errors, before, &new["spec"]) {
        return;
    }
    each_container(errors, before, &new["spec"]);
    let detail = "only cpu and memory resources are mutable";
    for member in ["containers", "initContainers"] {
        let at = path.field(member);
        let ours = munged.get_mut(member).and_then(Value::as_array_mut);
        for (i, (ours, theirs)) in ours
            .into_iter()
            .flatten()
            .zip(list(before, member))
            .enumerate()
        {
            let modified = !same(ours, theirs);
            amounts_back(&mut ours["resources"], &theirs["resources"]);
            if member == "containers" {
                if !same(ours, theirs) {
                    errors.push(Error::forbidden(&path, detail));
                }
                continue;
            }
            init_container(errors, &at.index(i), modified, ours, theirs);
        }
    }
    if !same(&munged["volumes"], &before["volumes"]) {
        let detail = "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled";
        errors.push(Error::forbidden(&path.field("volumes"), detail));
    }
    if errors.is_empty() && !same(&munged, before) {
        errors.push(Error::forbidden(&path, detail));
    }
}

fn init_container(errors: &mut Errors, path: &Path<'_>, modified: bool, new: &Value, old: &Value) {
    if !same(new, old) {
        let detail = "only cpu and memory resources for init or sidecar containers are mutable";
        errors.push(Error::forbidden(path, detail));
    }
    if modified && text(new, "restartPolicy") != "Always" {
        let restarts = |p: &&Value| p["restartPolicy"] == "RestartContainer";
        for _ in list(new, "resizePolicy").iter().filter(restarts) {
            let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.push(Error::forbidden(path, detail));
        }
    }
}

/// Amounts of the Pod itself can change, but not go away.
fn pod_level(errors: &mut Errors, old: &Value, munged: &mut Value) {
    let path = Path::root("spec");
    let at = path.field("resources");
    let set = |spec: &Value| {
        let amounts = |member| map(&spec["resources"], member).count();
        amounts("requests") + amounts("limits") > 0
    };
    if !set(old) && !set(munged) {
        return;
    }
    let before = &old["resources"];
    if some(old, "resources").is_some() && some(munged, "resources").is_none() {
        errors.push(Error::forbidden(
            &at,
            "pod-level resources cannot be removed",
        ));
        return;
    }
    for (member, noun) in [("requests", "requests"), ("limits", "limits")] {
        if map(before, member).any(|(name, _)| munged["resources"][member].get(name).is_none()) {
            let detail = format!("pod-level resource {noun} cannot be removed");
            errors.push(Error::forbidden(&at.field(member), detail));
        }
    }
    amounts_back(&mut munged["resources"], before);
    if same(&munged["resources"], &Value::Null) && before.is_null() {
        munged["resources"] = Value::Null;
    }
    if !same(&munged["resources"], before) {
        let detail = "only cpu and memory resources are mutable at pod-level";
        errors.push(Error::forbidden(&path, detail));
    }
}

/// Whether the containers are the same, in the same order.
fn same_order(errors: &mut Errors, old: &Value, new: &Value) -> bool {
    let (path, before) = (Path::root("spec"), errors.len());
    for member in ["containers", "initContainers"] {
        let at = path.field(member);
        let (ours, theirs) = (list(new, member), list(old, member));
        if ours.len() != theirs.len() {
            let detail = format!("{member} may not be added or removed on resize");
            errors.push(Error::forbidden(&at, detail));
            continue;
        }
        for (i, _) in ours
            .iter()
            .zip(theirs)
            .enumerate()
            .filter(|(_, (a, b))| a["name"] != b["name"])
        {
            let (at, detail) = (
                at.index(i),
                format!("{member} may not be renamed or reordered on resize"),
            );
            errors.push(Error::forbidden(&at.field("name"), detail));
        }
    }
    errors.len() == before
}

/// What a container asks for can't be taken back whole, and memory's limit only with its consent.
fn each_container(errors: &mut Errors, old: &Value, new: &Value) {
    let path = Path::root("spec");
    for member in ["initContainers", "containers"] {
        let all = path.field(member);
        for (i, (new, old)) in list(new, member).iter().zip(list(old, member)).enumerate() {
            let at = all.index(i);
            let resources = at.field("resources");
            for kind in ["requests", "limits"] {
                let removed =
                    |(name, _): (&String, &Value)| new["resources"][kind].get(name).is_none();
                if map(&old["resources"], kind).any(removed) {
                    let detail = format!("resource {kind} cannot be removed");
                    errors.push(Error::forbidden(&resources.field(kind), detail));
                }
            }
        }
    }
}

/// Requests and limits of cpu and memory as they were.
fn amounts_back(resources: &mut Value, before: &Value) {
    if !resources.is_object() && before.is_null() {
        return;
    }
    for member in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            match before[member].get(name) {
                Some(amount) => resources[member][name] = amount.clone(),
                None => {
                    if let Some(amounts) = resources.get_mut(member).and_then(Value::as_object_mut)
                    {
                        amounts.remove(name);
                    }
                }
            }
        }
    }
}
