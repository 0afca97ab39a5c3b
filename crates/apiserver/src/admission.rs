//! Admission: what the rest of the cluster says about a write before it is validated.

use karve_api::defaults::admission as defaults;
use karve_api::names;
use karve_api::resource::Table;
use karve_store::Range;
use rand::Rng as _;
use serde_json::Value;

use crate::answer::Refusal;
use crate::call::Call;
use crate::keys;
use crate::object::{self, Meta};
use crate::server::Server;

/// Mutates and refuses new objects.
pub fn before_create(server: &Server, call: &mut Call, object: &mut Value) -> Result<(), Refusal> {
    namespace_lifecycle(server, call, object)?;
    match (&*call.resource.group, &*call.resource.plural) {
        ("", "pods") => pod(server, call, object)?,
        ("", "nodes") => node(call, object)?,
        ("", "persistentvolumeclaims") => {
            default_class(
                server,
                object,
                "storage.k8s.io",
                "storageclasses",
                "storageClassName",
            );
        }
        ("networking.k8s.io", "ingresses") => {
            default_class(
                server,
                object,
                "networking.k8s.io",
                "ingressclasses",
                "ingressClassName",
            );
        }
        _ => {}
    }
    defaults::storage_protection(&call.resource.clone(), object);
    Ok(())
}

/// Mutates updates, and refuses those that the cluster forbids.
pub fn before_update(call: &Call, old: &Value, next: &mut Value) -> Result<(), Refusal> {
    let whole = call.path.subresource.is_empty() && call.resource.group.is_empty();
    if whole && call.resource.plural == "pods" {
        defaults::default_tolerations(next);
    }
    own_pod(call, old, "update pod status for")
}

/// Refuses deletions that the cluster forbids.
pub fn before_delete(call: &Call, object: &Value) -> Result<(), Refusal> {
    let name = object.meta("name");
    let core = call.resource.group.is_empty();
    if core && call.resource.plural == "namespaces" && IMMORTAL.contains(&name) {
        return Err(call.forbidden(name, "this namespace may not be deleted"));
    }
    own_pod(call, object, "delete")
}

/// Namespaces that every cluster has.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// NodeRestriction: a node's agent touches only Pods that are bound to it.
fn own_pod(call: &Call, pod: &Value, what: &str) -> Result<(), Refusal> {
    let Some(node) = call.identity.node() else {
        return Ok(());
    };
    if !call.resource.group.is_empty()
        || call.resource.plural != "pods"
        || pod["spec"]["nodeName"] == node
    {
        return Ok(());
    }
    let why = format!("node \"{node}\" can only {what} pods with spec.nodeName set to itself");
    Err(call.forbidden(pod.meta("name"), &why))
}

/// Nothing is made in a namespace that does not exist or goes away.
fn namespace_lifecycle(server: &Server, call: &Call, object: &Value) -> Result<(), Refusal> {
    if !call.resource.namespaced {
        return Ok(());
    }
    let namespace = call.namespace();
    let Some(entry) = server.store.get(&keys::core("namespaces", "", namespace)) else {
        return Err(karve_api::status::Status::not_found("", "namespaces", namespace).into());
    };
    // Marking a namespace sets its phase; looking for the text saves decoding it for every object that is made.
    if !contains(entry.value(), b"deletionTimestamp") {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut refusal = call.forbidden(object.meta("name"), &why).into_status();
    if let Some(details) = &mut refusal.details {
        details.causes.push(karve_api::status::Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    Err(refusal.into())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

fn stored(
    server: &Server,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Option<Value> {
    let resource = Table::builtin().lookup(group, "v1", plural)?;
    let entry = server.store.get(&keys::key(resource, namespace, name))?;
    Some(object::decode(entry.value(), resource))
}

fn pod(server: &Server, call: &mut Call, pod: &mut Value) -> Result<(), Refusal> {
    if let Some(node) = call.identity.node()
        && !defaults::is_mirror(pod)
    {
        let why = format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{node}\" can only create mirror pods"
        );
        return Err(call.forbidden(pod.meta("name"), &why));
    }
    service_account(server, call, pod)?;
    priority(server, call, pod)?;
    defaults::default_tolerations(pod);
    Ok(())
}

fn service_account(server: &Server, call: &Call, pod: &mut Value) -> Result<(), Refusal> {
    if defaults::is_mirror(pod) {
        return Ok(());
    }
    let (namespace, name) = (
        call.namespace(),
        defaults::service_account_name(pod).to_owned(),
    );
    let Some(account) = stored(server, "", "serviceaccounts", namespace, &name) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        );
        return Err(call.forbidden(pod.meta("name"), &why));
    };
    let mut random = rand::rng();
    let volume = names::generate("kube-api-access-", |n| random.random_range(0..n));
    if server.options.service_account_tokens {
        defaults::service_account(pod, &account, &volume);
        return Ok(());
    }
    // DEVIATION: no token volume, while no tokens are issued.
    const AUTOMOUNT: &str = "automountServiceAccountToken";
    let spec = object::member_mut(pod, "spec");
    let wanted = spec.insert(AUTOMOUNT.to_owned(), false.into());
    defaults::service_account(pod, &account, &volume);
    let spec = object::member_mut(pod, "spec");
    match wanted {
        Some(wanted) => spec.insert(AUTOMOUNT.to_owned(), wanted),
        None => spec.remove(AUTOMOUNT),
    };
    Ok(())
}

fn priority(server: &Server, call: &Call, pod: &mut Value) -> Result<(), Refusal> {
    let name = pod["spec"]["priorityClassName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if name.is_empty() {
        defaults::priority(pod, None);
        return Ok(());
    }
    let Some(class) = stored(server, "scheduling.k8s.io", "priorityclasses", "", &name) else {
        let why = format!("no PriorityClass with name {name} was found");
        return Err(call.forbidden(pod.meta("name"), &why));
    };
    defaults::priority(pod, Some(&class));
    Ok(())
}

/// DefaultStorageClass and DefaultIngressClass: who names no class gets the newest of those that are marked as default.
fn default_class(server: &Server, object: &mut Value, group: &str, plural: &str, field: &str) {
    let old_annotation = match plural {
        "ingressclasses" => "kubernetes.io/ingress.class",
        _ => "volume.beta.kubernetes.io/storage-class",
    };
    let named = object["spec"]
        .get(field)
        .is_some_and(|class| !class.is_null());
    if named
        || object["metadata"]["annotations"]
            .get(old_annotation)
            .is_some()
    {
        return;
    }
    let Some(resource) = Table::builtin().lookup(group, "v1", plural) else {
        return;
    };
    let mark = match plural {
        "ingressclasses" => "ingressclass.kubernetes.io/is-default-class",
        _ => "storageclass.kubernetes.io/is-default-class",
    };
    let prefix = keys::prefix(resource, "");
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let classes = server
        .store
        .range(&range)
        .map(|page| page.entries)
        .unwrap_or_default();
    let newest = classes
        .iter()
        .filter(|entry| {
            let class = object::decode(entry.value(), resource);
            class["metadata"]["annotations"][mark] == "true"
        })
        .max_by_key(|entry| entry.create_revision());
    if let Some(name) = newest.and_then(|entry| entry.key().rsplit('/').next()) {
        object::member_mut(object, "spec").insert(field.to_owned(), name.into());
    }
}

/// A node's agent may only make its own Node; a new Node is not ready until somebody says so.
fn node(call: &Call, node: &mut Value) -> Result<(), Refusal> {
    if let Some(own) = call.identity.node()
        && node.meta("name") != own
    {
        let why = format!(
            "node \"{own}\" is not allowed to modify node \"{}\"",
            node.meta("name")
        );
        return Err(call.forbidden(node.meta("name"), &why));
    }
    defaults::not_ready_taint(node);
    Ok(())
}
