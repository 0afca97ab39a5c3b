//! DefaultStorageClass and DefaultIngressClass: who names no class gets the newest of those marked as default.

use serde_json::Value;

use super::{Attributes, Operation, lookup};
use crate::object::{self, Meta};
use crate::server::Server;

/// A claim gets its storage class.
pub fn mutate_claim(server: &Server, attributes: &mut Attributes<'_>) {
    const MARKS: [&str; 2] = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ];
    const BY_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
    if !attributes.makes("", "persistentvolumeclaims")
        || is_named(attributes, "storageClassName", BY_ANNOTATION)
    {
        return;
    }
    if let Some(class) = newest(server, "storage.k8s.io", "storageclasses", &MARKS) {
        set(attributes, "storageClassName", class);
    }
}

/// An ingress gets its ingress class.
pub fn mutate_ingress(server: &Server, attributes: &mut Attributes<'_>) {
    const MARKS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];
    const BY_ANNOTATION: &str = "kubernetes.io/ingress.class";
    if attributes.operation != Operation::Create
        || !attributes.is("networking.k8s.io", "ingresses")
        || is_named(attributes, "ingressClassName", BY_ANNOTATION)
    {
        return;
    }
    if let Some(class) = newest(server, "networking.k8s.io", "ingressclasses", &MARKS) {
        set(attributes, "ingressClassName", class);
    }
}

fn is_named(attributes: &Attributes<'_>, field: &str, annotation: &str) -> bool {
    let object = attributes.object();
    let annotated = !object["metadata"]["annotations"][annotation].is_null();
    annotated || !object["spec"][field].is_null()
}

fn set(attributes: &mut Attributes<'_>, field: &str, class: String) {
    if let Some(object) = &mut attributes.object {
        object::member_mut(object, "spec").insert(field.to_owned(), class.into());
    }
}

/// Of those made in the same second, the first by name.
fn newest(server: &Server, group: &str, plural: &str, marks: &[&str]) -> Option<String> {
    let classes = lookup::list(server, group, plural, "");
    let is_default = |class: &Value| {
        marks
            .iter()
            .any(|mark| class["metadata"]["annotations"][*mark] == "true")
    };
    classes
        .iter()
        .map(|(_, class)| class)
        .filter(|class| is_default(class))
        .reduce(|best, class| {
            match class.meta("creationTimestamp") > best.meta("creationTimestamp") {
                true => class,
                false => best,
            }
        })
        .map(|class| class.meta("name").to_owned())
}
