//! `metadata.generation`: which kinds have one, and what moves it.

use crate::resource::Resource;
use serde_json::Value;

/// The members whose change moves the generation; `None` for kinds that have no generation.
fn watched(resource: &Resource) -> Option<&'static [&'static str]> {
    const SPEC: Option<&[&str]> = Some(&["/spec"]);
    match (&*resource.group, &*resource.plural) {
        ("", "pods" | "replicationcontrollers") => SPEC,
        ("", "podtemplates") => Some(&["/template"]),
        ("apps", "deployments") => Some(&["/spec", "/metadata/annotations"]),
        ("apps", "controllerrevisions") => None,
        ("apps" | "autoscaling" | "batch" | "apiextensions.k8s.io", _) => SPEC,
        ("policy" | "flowcontrol.apiserver.k8s.io", _) => SPEC,
        ("networking.k8s.io", "ingresses" | "ingressclasses" | "networkpolicies") => SPEC,
        ("discovery.k8s.io", "endpointslices") => {
            Some(&["/addressType", "/endpoints", "/ports", "/metadata/labels"])
        }
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => Some(&["/webhooks"]),
        ("admissionregistration.k8s.io", _) => SPEC,
        ("storage.k8s.io", "csidrivers") => SPEC,
        ("resource.k8s.io", "deviceclasses" | "devicetaintrules" | "resourceslices") => SPEC,
        // It starts and never moves: nothing but metadata and the description can change.
        ("scheduling.k8s.io", "priorityclasses") => Some(&[]),
        _ => None,
    }
}

pub(super) fn start(resource: &Resource, object: &mut Value) {
    // Upstream counts the changes of these only.
    let unnumbered = resource.plural == "csidrivers" && !resource.is_custom();
    if resource.is_custom() || watched(resource).is_some() && !unnumbered {
        object["metadata"]["generation"] = 1.into();
    }
}

/// Everything of a custom resource counts but metadata and, where it is a subresource, the status.
fn custom_changed(resource: &Resource, old: &Value, new: &Value) -> bool {
    let own_status = resource.subresource("status").is_some();
    let counts = |name: &str| name != "metadata" && !(own_status && name == "status");
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return false;
    };
    let changed = |a: &serde_json::Map<String, Value>, b: &serde_json::Map<String, Value>| {
        a.iter()
            .any(|(name, value)| counts(name) && b.get(name) != Some(value))
    };
    changed(new, old) || changed(old, new)
}

/// Gives the new object the old one's generation, or the next when what counts has changed.
///
/// Annotations count only when the object itself is written: the deployment controller sets the revision through
/// `/status`.
pub(super) fn carry(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    let generation = old.pointer("/metadata/generation").and_then(Value::as_i64);
    let counts = |path: &str| subresource.is_empty() || path != "/metadata/annotations";
    let changed = match resource.is_custom() {
        true => custom_changed(resource, old, new),
        false => watched(resource).is_some_and(|paths| {
            paths
                .iter()
                .any(|p| counts(p) && present(old, p) != present(new, p))
        }),
    };
    let next = match (generation, changed) {
        (Some(generation), true) => Some(generation + 1),
        // An object from before its kind had one.
        (None, true) => Some(1),
        (generation, false) => generation,
    };
    match next {
        Some(generation) => new["metadata"]["generation"] = generation.into(),
        None => {
            new["metadata"]
                .as_object_mut()
                .and_then(|m| m.remove("generation"));
        }
    }
}

/// Null and the empty map of annotations are as good as absent.
fn present<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    object
        .pointer(path)
        .filter(|v| !v.is_null() && v.as_object().is_none_or(|m| !m.is_empty()))
}
