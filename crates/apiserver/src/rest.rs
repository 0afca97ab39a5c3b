//! What differs from kind to kind in how requests are served: upstream's REST strategies as small tables.

use karve_api::resource::Resource;

fn names<'a>(resource: &'a Resource) -> (&'a str, &'a str) {
    (&resource.group, &resource.plural)
}

/// Whether `PUT` of a name that does not exist makes it.
pub fn creates_on_update(resource: &Resource) -> bool {
    matches!(
        names(resource),
        ("", "endpoints" | "events" | "limitranges" | "services")
            | ("events.k8s.io", "events")
            | ("coordination.k8s.io", "leases")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// Whether `PUT` must say which version it replaces.
pub fn needs_version(resource: &Resource) -> bool {
    resource.custom
        || matches!(
            names(resource),
            ("coordination.k8s.io", _)
                | ("policy", "poddisruptionbudgets")
                | ("node.k8s.io", _)
                | ("apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io", _)
                | ("certificates.k8s.io", "clustertrustbundles")
                | ("resource.k8s.io", "devicetaintrules")
                | (
                    "storage.k8s.io",
                    "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments"
                )
        )
}

/// Whether `DELETE` answers with the object rather than with a Status.
pub fn delete_returns_object(resource: &Resource) -> bool {
    matches!(
            names(resource),
            (
                "",
                "namespaces"
                    | "persistentvolumeclaims"
                    | "persistentvolumes"
                    | "pods"
                    | "podtemplates"
                    | "replicationcontrollers"
                    | "resourcequotas"
                    | "serviceaccounts"
                    | "services"
            ) | ("apiextensions.k8s.io", _)
                | ("batch", "jobs")
                | ("resource.k8s.io", "deviceclasses" | "resourceclaims" | "resourceclaimtemplates" | "resourceslices")
                | (
                    "storage.k8s.io",
                    "csidrivers" | "csinodes" | "storageclasses" | "volumeattachments" | "volumeattributesclasses"
                )
        )
}

/// Whether dependents are orphaned when the client does not say.
pub fn orphans_by_default(resource: &Resource) -> bool {
    matches!(names(resource), ("", "replicationcontrollers") | ("batch", "jobs"))
}
