//! Whether an object is right: upstream's rules, in upstream's order, with upstream's texts.
//!
//! [`create`] and [`update`] take objects that are decoded, defaulted and prepared (see [`crate::strategy`]) and give
//! what is wrong; nothing wrong is an empty list. The answer to errors is [`crate::status::Status::invalid`]. All kinds
//! have their metadata checked; kinds without a module here have no further rules yet. Absent: rules that need other
//! objects (allocation, quota, admission).

pub(crate) mod address;
mod admission_policy;
mod api_service;
mod autoscaling;
mod batch;
mod certificates;
mod checks;
mod classes;
mod cluster;
mod conditions;
mod config;
mod declarative;
mod dra;
mod endpoints;
mod flow_control;
mod ingress;
mod limits;
mod meta;
mod node;
mod pod;
mod policy;
mod service;
mod service_cidr;
mod service_ips;
mod storage;
mod storage_classes;
mod trust_bundle;
mod volume_source;
mod webhook;
mod workload;

pub use admission_policy::{Compile, Purpose, admission_policy, webhook_conditions};

use crate::field::{Error, Path};
use crate::resource::Resource;
use checks::Errors;
use serde_json::Value;

/// What is wrong with a new object.
pub fn create(resource: &Resource, object: &Value) -> Vec<Error> {
    let mut errors = Errors::new();
    if !meta::is_last(resource) {
        meta::create(&mut errors, resource, object);
    }
    if let Some(custom) = &resource.custom {
        let mut wrong = Errors::new();
        crate::crd::object::type_meta(&mut wrong, resource, object);
        if !wrong.is_empty() {
            return wrong;
        }
        crate::crd::object::create(&mut errors, resource, custom, object);
    } else {
        spec(&mut errors, resource, object);
    }
    if meta::is_last(resource) && errors.is_empty() {
        meta::create(&mut errors, resource, object);
    }
    declarative::order(&mut errors, resource);
    once(errors)
}

/// Rules that overlap say the same thing twice; it is told once.
fn once(errors: Errors) -> Errors {
    let mut seen = std::collections::HashSet::new();
    let mut fresh = |error: &Error| seen.insert((error.field.clone(), error.body()));
    match errors.len() {
        0 | 1 => errors,
        _ => errors.into_iter().filter(|e| fresh(e)).collect(),
    }
}

/// What is wrong with a changed object. `subresource` is empty for the object itself.
pub fn update(resource: &Resource, subresource: &str, old: &Value, new: &Value) -> Vec<Error> {
    let mut errors = Errors::new();
    meta::update(&mut errors, resource, old, new);
    if let Some(custom) = &resource.custom {
        let mut wrong = Errors::new();
        crate::crd::object::type_meta(&mut wrong, resource, new);
        if !wrong.is_empty() {
            return wrong;
        }
        crate::crd::object::update(&mut errors, resource, custom, subresource, old, new);
        return errors;
    }
    match subresource {
        "" => changed(&mut errors, resource, old, new),
        "status" => status(&mut errors, resource, old, new),
        "approval" => certificates::request(&mut errors, new, Some(old), subresource),
        "finalize" => cluster::namespace_finalize(&mut errors, new),
        "resize" => pod::resize(&mut errors, old, new),
        "ephemeralcontainers" => pod::ephemeral(&mut errors, old, new),
        _ => {}
    }
    declarative::order(&mut errors, resource);
    once(errors)
}

/// What is wrong with the metadata of a resource that is a part of a custom object.
pub fn embedded_metadata(errors: &mut Vec<Error>, path: &Path<'_>, metadata: &Value) {
    let mut found = Errors::new();
    meta::embedded(&mut found, metadata);
    errors.extend(found.into_iter().map(|mut error| {
        let rest = error.field.strip_prefix("metadata").unwrap_or_default();
        error.field = format!("{path}{rest}");
        error
    }));
}

/// What is wrong with labels.
pub fn labels(errors: &mut Vec<Error>, path: &Path<'_>, labels: &Value) {
    checks::labels(errors, path, Some(labels));
}

/// What is wrong with the annotations of some metadata.
pub fn annotations(errors: &mut Vec<Error>, path: &Path<'_>, metadata: &Value) {
    meta::annotations(errors, path, metadata);
}

/// The error of an update without a resourceVersion, for kinds that need it
/// (see [`crate::strategy::unconditional_update`]).
pub fn version_required() -> Error {
    let meta = Path::root("metadata");
    Error::invalid(
        &meta.field("resourceVersion"),
        0,
        "must be specified for an update",
    )
}

/// What is wrong with the Binding of a Pod to a Node.
pub fn binding(binding: &Value) -> Vec<Error> {
    let mut errors = Errors::new();
    let (target, path) = (&binding["target"], Path::root("target"));
    let kind = checks::text(target, "kind");
    if !kind.is_empty() && kind != "Node" {
        errors.push(Error::not_supported(
            &path.field("kind"),
            kind,
            &["Node", "<empty>"],
        ));
    }
    let (name, at) = (checks::text(target, "name"), path.field("name"));
    if name.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if matches!(kind, "" | "Node") {
        checks::invalid_each(
            &mut errors,
            &at,
            name,
            crate::names::dns1123_subdomain(name),
        );
    }
    errors
}

/// What is wrong with the families and cluster addresses of a Service before any are chosen for it.
pub fn service_families(spec: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Errors::new();
    service_ips::families(&mut errors, spec, old);
    errors
}

/// The error of a Scale with fewer than no replicas.
pub fn scale(scale: &Value) -> Vec<Error> {
    let mut errors = Errors::new();
    checks::non_negative(&mut errors, &Path::root("spec"), &scale["spec"], "replicas");
    errors
}

/// Everything but metadata, for objects new and changed.
fn spec(errors: &mut Errors, resource: &Resource, object: &Value) {
    match (&*resource.group, &*resource.plural) {
        ("apiextensions.k8s.io", _) => crate::crd::validate::create(errors, object),
        ("", "pods") => pod::create(errors, object),
        ("", "podtemplates") => pod::template(errors, &Path::root("template"), &object["template"]),
        ("", "services") => service::service(errors, object, None),
        ("", "replicationcontrollers") => workload::replication_controller(errors, object),
        ("", "nodes") => node::node(errors, object),
        ("", "namespaces") => cluster::namespace(errors, object),
        ("", "configmaps") => config::config_map(errors, object),
        ("", "secrets") => config::secret(errors, object),
        ("", "endpoints") => endpoints::endpoints(errors, object),
        ("", "events") => cluster::event(errors, object, None, false),
        ("events.k8s.io", _) => cluster::event(errors, object, None, true),
        ("", "resourcequotas") => limits::resource_quota(errors, object),
        ("", "limitranges") => limits::limit_range(errors, object),
        ("", "persistentvolumes") => storage::volume(errors, object),
        ("", "persistentvolumeclaims") => storage::claim(errors, object),
        ("apps", "deployments") => workload::deployment(errors, object),
        ("apps", "replicasets") => workload::replica_set(errors, object),
        ("apps", "daemonsets") => workload::daemon_set(errors, object),
        ("apps", "statefulsets") => workload::stateful_set(errors, object),
        ("batch", "jobs") => batch::job(errors, object),
        ("batch", "cronjobs") => batch::cron_job(errors, object, None),
        ("autoscaling", _) => autoscaling::autoscaler(errors, None, object),
        ("policy", _) => policy::disruption_budget(errors, object),
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => webhook::configuration(errors, object, None),
        ("apiregistration.k8s.io", "apiservices") => api_service::api_service(errors, object),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::request(errors, object, None, "");
        }
        ("certificates.k8s.io", "clustertrustbundles") => {
            trust_bundle::trust_bundle(errors, object, None);
        }
        ("resource.k8s.io", "deviceclasses") => dra::class(errors, object),
        ("resource.k8s.io", "resourceclaims") => dra::claim(errors, object),
        ("resource.k8s.io", "resourceclaimtemplates") => dra::template(errors, object),
        ("resource.k8s.io", "resourceslices") => dra::slice(errors, object, None),
        ("resource.k8s.io", "devicetaintrules") => dra::taint_rule(errors, object, None),
        ("coordination.k8s.io", "leases") => cluster::lease(errors, object),
        ("discovery.k8s.io", _) => endpoints::slice(errors, object, None),
        ("networking.k8s.io", "ingresses") => ingress::ingress(errors, object),
        ("networking.k8s.io", "servicecidrs") => service_cidr::service_cidr(errors, object),
        ("networking.k8s.io", "ipaddresses") => service_cidr::ip_address(errors, object),
        ("networking.k8s.io", "networkpolicies") => policy::network_policy(errors, object),
        ("storage.k8s.io", _) => storage_kind(errors, resource, object, None),
        ("scheduling.k8s.io", "priorityclasses") => classes::priority_class(errors, object, None),
        ("node.k8s.io", _) => classes::runtime_class(errors, object, None),
        ("networking.k8s.io", "ingressclasses") => classes::ingress_class(errors, object, None),
        ("storagemigration.k8s.io", _) => classes::migration(errors, object, None),
        ("apps", "controllerrevisions") => classes::controller_revision(errors, object, None),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => {
            flow_control::flow_schema(errors, object)
        }
        ("flowcontrol.apiserver.k8s.io", _) => flow_control::priority_level(errors, object),
        ("rbac.authorization.k8s.io", "roles") => policy::role(errors, object, true),
        ("rbac.authorization.k8s.io", "clusterroles") => {
            policy::role(errors, object, false);
            classes::aggregation(errors, object);
        }
        ("rbac.authorization.k8s.io", _) => policy::role_binding(errors, object),
        _ => {}
    }
}

/// The kinds of one group; `old` is the version that an update replaces.
fn storage_kind(errors: &mut Errors, resource: &Resource, object: &Value, old: Option<&Value>) {
    match &*resource.plural {
        "storageclasses" => storage_classes::storage_class(errors, object, old),
        "volumeattributesclasses" => storage_classes::attributes_class(errors, object, old),
        "volumeattachments" => storage_classes::attachment(errors, object, old),
        "csinodes" => storage_classes::csi_node(errors, object, old),
        "csidrivers" => storage_classes::csi_driver(errors, object, old),
        "csistoragecapacities" => storage_classes::capacity(errors, object, old),
        _ => {}
    }
}

fn changed(errors: &mut Errors, resource: &Resource, old: &Value, new: &Value) {
    match (&*resource.group, &*resource.plural) {
        ("apiextensions.k8s.io", _) => crate::crd::validate::update(errors, old, new),
        ("", "pods") => pod::update(errors, old, new),
        ("", "services") => service::update(errors, old, new),
        ("", "nodes") => node::update(errors, old, new),
        ("", "events") => cluster::event(errors, new, Some(old), false),
        ("events.k8s.io", _) => cluster::event(errors, new, Some(old), true),
        ("scheduling.k8s.io", "priorityclasses") => classes::priority_class(errors, new, Some(old)),
        ("node.k8s.io", _) => classes::runtime_class(errors, new, Some(old)),
        ("networking.k8s.io", "ingressclasses") => classes::ingress_class(errors, new, Some(old)),
        ("storagemigration.k8s.io", _) => classes::migration(errors, new, Some(old)),
        ("apps", "controllerrevisions") => classes::controller_revision(errors, new, Some(old)),
        ("", "secrets") => config::secret_update(errors, old, new),
        ("", "configmaps") => config::config_map_update(errors, old, new),
        ("", "resourcequotas") => limits::resource_quota_update(errors, old, new),
        ("", "persistentvolumeclaims") => storage::claim_update(errors, old, new),
        ("", "persistentvolumes") => storage::volume_update(errors, old, new),
        ("storage.k8s.io", _) => storage_kind(errors, resource, new, Some(old)),
        ("apps", "daemonsets") => {
            workload::selector_stays(errors, &old["spec"], &new["spec"]);
            spec(errors, resource, new);
        }
        ("apps", "deployments" | "replicasets") => {
            spec(errors, resource, new);
            workload::selector_stays(errors, &old["spec"], &new["spec"]);
        }
        ("apps", "statefulsets") => workload::stateful_set_update(errors, old, new),
        ("batch", "jobs") => batch::job_update(errors, old, new),
        ("autoscaling", _) => autoscaling::autoscaler(errors, Some(old), new),
        ("batch", "cronjobs") => batch::cron_job(errors, new, Some(old)),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            policy::role_binding_update(errors, old, new);
        }
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => webhook::configuration(errors, new, Some(old)),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::request(errors, new, Some(old), "");
        }
        ("certificates.k8s.io", "clustertrustbundles") => {
            trust_bundle::trust_bundle(errors, new, Some(old));
        }
        ("resource.k8s.io", "resourceclaims") => dra::claim_update(errors, old, new),
        ("resource.k8s.io", "resourceclaimtemplates") => dra::template_update(errors, old, new),
        ("resource.k8s.io", "resourceslices") => dra::slice(errors, new, Some(old)),
        ("resource.k8s.io", "devicetaintrules") => dra::taint_rule(errors, new, Some(old)),
        ("discovery.k8s.io", _) => endpoints::slice_update(errors, old, new),
        ("networking.k8s.io", "servicecidrs") => {
            service_cidr::service_cidr_update(errors, old, new)
        }
        ("networking.k8s.io", "ipaddresses") => service_cidr::ip_address_update(errors, old, new),
        _ => spec(errors, resource, new),
    }
}

fn status(errors: &mut Errors, resource: &Resource, old: &Value, new: &Value) {
    match (&*resource.group, &*resource.plural) {
        ("apiextensions.k8s.io", _) => crate::crd::validate::status(errors, new),
        ("apps", "deployments" | "replicasets" | "statefulsets")
        | ("", "replicationcontrollers") => {
            workload::replica_status(errors, &resource.plural, old, new);
        }
        ("apps", "daemonsets") => workload::daemon_status(errors, old, new),
        ("batch", "jobs") => batch::job_status(errors, old, new),
        ("autoscaling", _) => autoscaling::status(errors, new),
        ("flowcontrol.apiserver.k8s.io", _) => flow_control::conditions(errors, new),
        ("", "pods") => pod::status(errors, old, new),
        ("", "services") => service::status(errors, new),
        ("", "resourcequotas") => limits::resource_quota_status(errors, new),
        ("", "nodes") => node::changes(errors, old, new),
        ("resource.k8s.io", "resourceclaims") => dra::status(errors, old, new),
        ("resource.k8s.io", "devicetaintrules") => {
            let path = Path::root("status");
            conditions::conditions(errors, &path.field("conditions"), &new["status"]);
        }
        ("", "namespaces") => cluster::namespace_status(errors, new),
        ("policy", "poddisruptionbudgets") => policy::disruption_budget_status(errors, new),
        ("apiregistration.k8s.io", "apiservices") => api_service::status(errors, new),
        ("", "persistentvolumeclaims") => storage::claim_status(errors, new),
        ("storage.k8s.io", "csinodes") => storage_classes::csi_node_status(errors, new),
        ("storage.k8s.io", "volumeattachments") => {
            storage_classes::attachment(errors, new, Some(old))
        }
        ("networking.k8s.io", "ingresses") => ingress::status(errors, new),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::request(errors, new, Some(old), "status");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
