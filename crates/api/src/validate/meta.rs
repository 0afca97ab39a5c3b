//! `metadata`, of all kinds.

use super::checks::{Errors, immutable, int, invalid_each, labels, list, map, some, text, texts};
use crate::field::{Error, Path};
use crate::names;
use crate::resource::Resource;
use serde_json::Value;

const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The check of a kind's names.
type NameCheck = fn(&str) -> Vec<String>;

fn name_check(resource: &Resource) -> NameCheck {
    match (&*resource.group, &*resource.plural) {
        _ if resource.is_custom() => names::dns1123_subdomain,
        ("", "services" | "namespaces") | ("apps", "statefulsets") => names::dns1123_label,
        // These have no check of their own: any part of a path will do.
        ("", "events") | ("policy", "poddisruptionbudgets") => names::path_segment,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        ("apiregistration.k8s.io", "apiservices") => names::path_segment,
        // Its rules depend on the signer.
        ("certificates.k8s.io", "clustertrustbundles") => |_| Vec::new(),
        // Told of with what else tags say.
        ("resource.k8s.io", "deviceclasses") => |_| Vec::new(),
        ("networking.k8s.io", "ipaddresses") => super::address::wrong,
        _ => names::dns1123_subdomain,
    }
}

fn path() -> Path<'static> {
    Path::root("metadata")
}

/// A new object's metadata.
pub(super) fn create(errors: &mut Errors, resource: &Resource, object: &Value) {
    named(errors, name_check(resource), resource.namespaced, object);
    known_finalizers(errors, resource, object);
}

/// Whether the metadata of a new object is looked at only when nothing else is wrong: the kind's own rules leave it out.
pub(super) fn is_last(resource: &Resource) -> bool {
    matches!(
        (&*resource.group, &*resource.plural),
        ("policy", "poddisruptionbudgets") | ("" | "events.k8s.io", "events")
    )
}

/// Kinds of the oldest groups take no finalizer without a domain but the garbage collector's own.
fn known_finalizers(errors: &mut Errors, resource: &Resource, object: &Value) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let any = resource.is_custom()
        || matches!(
            &*resource.group,
            "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "policy"
        );
    if any {
        return;
    }
    let (parent, detail) = (
        path(),
        "name is neither a standard finalizer name nor is it fully qualified",
    );
    let path = parent.field("finalizers");
    let all = list(&object["metadata"], "finalizers").iter().enumerate();
    for (i, name) in all.filter_map(|(i, f)| Some((i, f.as_str()?))) {
        if !name.contains('/') && !STANDARD.contains(&name) {
            errors.push(Error::invalid(&path.index(i), name, detail));
        }
    }
}

/// The metadata of a resource that is a part of a custom object: a name may be any, and is not needed.
pub(super) fn embedded(errors: &mut Errors, meta: &Value) {
    let mut meta = meta.clone();
    if text(&meta, "name").is_empty() {
        meta["name"] = "fakename".into();
    }
    let namespaced = !text(&meta, "namespace").is_empty();
    let object = serde_json::json!({"metadata": meta});
    named(errors, names::path_segment, namespaced, &object);
}

fn named(errors: &mut Errors, check: NameCheck, namespaced: bool, object: &Value) {
    let (meta, path) = (&object["metadata"], path());
    let base = text(meta, "generateName");
    if !base.is_empty() {
        let masked = names::mask_trailing_dash(base);
        invalid_each(errors, &path.field("generateName"), base, check(&masked));
    }
    let name = text(meta, "name");
    if name.is_empty() {
        errors.push(Error::required(
            &path.field("name"),
            "name or generateName is required",
        ));
    } else {
        invalid_each(errors, &path.field("name"), name, check(name));
    }
    let namespace = text(meta, "namespace");
    match (namespaced, namespace) {
        (true, "") => errors.push(Error::required(&path.field("namespace"), "")),
        (true, _) => invalid_each(
            errors,
            &path.field("namespace"),
            namespace,
            names::dns1123_label(namespace),
        ),
        (false, "") => {}
        (false, _) => errors.push(Error::forbidden(
            &path.field("namespace"),
            "not allowed on this type",
        )),
    }
    if int(meta, "generation") < 0 {
        let generation = int(meta, "generation");
        errors.push(Error::invalid(
            &path.field("generation"),
            generation,
            super::checks::NOT_NEGATIVE,
        ));
    }
    common(errors, meta);
    finalizers(errors, meta);
}

/// The metadata of a Pod's template, which has no name.
pub(super) fn template(errors: &mut Errors, path: &Path<'_>, meta: &Value) {
    labels(errors, &path.field("labels"), meta.get("labels"));
    annotations(errors, &path.field("annotations"), meta);
}

/// The metadata of a template that may have nothing but labels and annotations.
pub(super) fn bare_template(errors: &mut Errors, path: &Path<'_>, meta: &Value) {
    const OTHERS: [&str; 13] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    annotations(errors, &path.field("annotations"), meta);
    labels(errors, &path.field("labels"), meta.get("labels"));
    for member in OTHERS {
        let empty = |value: &Value| {
            value.is_null()
                || *value == ""
                || (*value == 0 && member == "generation")
                || value.as_array().is_some_and(Vec::is_empty)
        };
        if meta.get(member).is_some_and(|value| !empty(value)) {
            errors.push(Error::forbidden(&path.field(member), "cannot be set"));
        }
    }
}

fn common(errors: &mut Errors, meta: &Value) {
    let path = path();
    labels(errors, &path.field("labels"), meta.get("labels"));
    annotations(errors, &path.field("annotations"), meta);
    owners(errors, meta);
}

pub(super) fn annotations(errors: &mut Errors, path: &Path<'_>, meta: &Value) {
    let all = map(meta, "annotations");
    for (key, _) in all.clone() {
        invalid_each(
            errors,
            path,
            key,
            names::qualified_name(&key.to_lowercase()),
        );
    }
    let size: usize = all
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > ANNOTATIONS_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_MAX));
    }
}

fn owners(errors: &mut Errors, meta: &Value) {
    let parent = path();
    let path = parent.field("ownerReferences");
    let mut controllers = Vec::new();
    for owner in list(meta, "ownerReferences") {
        let api_version = text(owner, "apiVersion");
        let version = api_version.rsplit('/').next().unwrap_or("");
        for (member, what) in [
            ("apiVersion", "version"),
            ("kind", "kind"),
            ("name", "name"),
            ("uid", "uid"),
        ] {
            let value = text(owner, member);
            let empty = if member == "apiVersion" {
                version.is_empty()
            } else {
                value.is_empty()
            };
            if empty {
                errors.push(Error::invalid(
                    &path.field(member),
                    value,
                    format!("{what} must not be empty"),
                ));
            }
        }
        if (api_version, text(owner, "kind")) == ("v1", "Event") {
            errors.push(Error::invalid(
                &path,
                owner,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner["controller"] == true {
            controllers.push(format!("{}/{}", text(owner, "kind"), text(owner, "name")));
        }
    }
    // Told once: the text shows all owners.
    if let [first, second, ..] = &controllers[..] {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        errors.push(Error::invalid(&path, some(meta, "ownerReferences"), detail));
    }
}

fn finalizers(errors: &mut Errors, meta: &Value) {
    let parent = path();
    let path = parent.field("finalizers");
    let all = list(meta, "finalizers");
    for finalizer in all.iter().filter_map(Value::as_str) {
        invalid_each(errors, &path, finalizer, names::qualified_name(finalizer));
    }
    let has = |name: &str| all.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.push(Error::invalid(
            &path,
            some(meta, "finalizers"),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

/// Go's `%#v` of a list of texts.
fn go_strings(items: &[&Value]) -> String {
    let texts: Vec<String> = items
        .iter()
        .map(|i| crate::field::quote(i.as_str().unwrap_or("")))
        .collect();
    format!("[]string{{{}}}", texts.join(", "))
}

/// A changed object's metadata: all that a new one's may be, and what must stay.
pub(super) fn update(errors: &mut Errors, resource: &Resource, old: &Value, new: &Value) {
    named(errors, names::path_segment, resource.namespaced, new);
    {
        let (old, new, path) = (&old["metadata"], &new["metadata"], path());
        if some(old, "deletionTimestamp").is_some() {
            let before = texts(old, "finalizers");
            let added: Vec<&Value> = list(new, "finalizers")
                .iter()
                .filter(|f| f.as_str().is_some_and(|f| !before.contains(f)))
                .collect();
            if !added.is_empty() {
                let detail = format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    go_strings(&added)
                );
                errors.push(Error::forbidden(&path.field("finalizers"), detail));
            }
        }
        for member in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            immutable(errors, &path, old, new, member);
        }
    }
    if is_checked_whole(resource) {
        let (meta, check) = (&new["metadata"], name_check(resource));
        let (base, path) = (text(meta, "generateName"), path());
        if !base.is_empty() {
            let masked = names::mask_trailing_dash(base);
            invalid_each(errors, &path.field("generateName"), base, check(&masked));
        }
    }
    known_finalizers(errors, resource, new);
}

/// Whether upstream checks an updated object by the rules of a new one, its `generateName` among them.
fn is_checked_whole(resource: &Resource) -> bool {
    match (&*resource.group, &*resource.plural) {
        (
            "admissionregistration.k8s.io"
            | "apiregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io",
            _,
        )
        | ("node.k8s.io" | "storagemigration.k8s.io" | "discovery.k8s.io", _) => true,
        ("storage.k8s.io", plural) => plural != "csidrivers",
        ("networking.k8s.io", plural) => {
            matches!(plural, "ingressclasses" | "ingresses" | "ipaddresses")
        }
        ("apps", plural) => plural == "controllerrevisions",
        ("certificates.k8s.io", plural) => plural == "clustertrustbundles",
        ("resource.k8s.io", plural) => {
            matches!(plural, "resourceclaims" | "resourceclaimtemplates")
        }
        ("", plural) => matches!(
            plural,
            "configmaps"
                | "endpoints"
                | "limitranges"
                | "namespaces"
                | "nodes"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "secrets"
                | "serviceaccounts"
        ),
        _ => false,
    }
}
