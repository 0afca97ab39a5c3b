//! How kinds differ in what a write may do (api-surprises 6, 7 and 8 of the project's recordings).

use crate::resource::Resource;

/// Whether a `PUT` to a name that does not exist creates the object.
pub fn creates_on_update(resource: &Resource) -> bool {
    matches!(
        (&*resource.group, &*resource.plural),
        ("", "endpoints" | "events" | "limitranges" | "services")
            | ("events.k8s.io", "events")
            | ("coordination.k8s.io", "leases")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// Whether the metadata stays as it is when the status is written.
pub fn status_keeps_metadata(resource: &Resource) -> bool {
    !resource.is_custom()
        && matches!(
            (&*resource.group, &*resource.plural),
            (
                "admissionregistration.k8s.io"
                    | "flowcontrol.apiserver.k8s.io"
                    | "resource.k8s.io"
                    | "storagemigration.k8s.io",
                _
            ) | ("storage.k8s.io", "volumeattachments" | "csinodes")
                | ("networking.k8s.io", "servicecidrs")
                | ("certificates.k8s.io", "podcertificaterequests")
        )
}

/// Whether a `PUT` may leave out the resourceVersion. Where it may not, the answer is 422
/// (see [`crate::validate::version_required`]).
pub fn unconditional_update(resource: &Resource) -> bool {
    let needed = matches!(
        (&*resource.group, &*resource.plural),
        ("coordination.k8s.io", "leases")
            | ("policy", "poddisruptionbudgets")
            | ("node.k8s.io", "runtimeclasses")
            | ("apiextensions.k8s.io", "customresourcedefinitions")
            | ("apiregistration.k8s.io", "apiservices")
            | ("admissionregistration.k8s.io", _)
            | ("certificates.k8s.io", "clustertrustbundles")
            | ("resource.k8s.io", "devicetaintrules")
            | (
                "storage.k8s.io",
                "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments"
            )
    );
    !resource.is_custom() && !needed
}

/// Whether a `DELETE` that removes the object at once answers with it, and not with a `Status`. One that only marks the
/// object always answers with it.
pub fn deletes_with_object(resource: &Resource) -> bool {
    match (&*resource.group, &*resource.plural) {
        (
            "",
            "namespaces" | "persistentvolumeclaims" | "persistentvolumes" | "pods" | "podtemplates",
        ) => true,
        ("", "resourcequotas" | "serviceaccounts" | "services") => true,
        ("resource.k8s.io", "devicetaintrules") => false,
        ("resource.k8s.io", _) => true,
        ("storage.k8s.io", "csistoragecapacities") => false,
        ("storage.k8s.io", _) => true,
        _ => false,
    }
}
