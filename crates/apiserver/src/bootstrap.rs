//! What every cluster has before its first request.
//!
//! Idempotent, and one commit: a cluster has all of it or, after a crash, makes it again. While the server runs, what is
//! deleted of it comes back.

use karve_api::resource::{Resource, Table};
use karve_store::{Op, Store, Watch};
use serde_json::{Value, json};

use crate::authorize::rbac;
use crate::object::{self, Meta};
use crate::{Options, aggregate, allocate, flow, keys, write};

/// Makes what is missing.
pub fn run(store: &Store, options: &Options) -> Result<(), karve_store::Error> {
    let mut ops = lacking(store, options);
    ops.extend(aggregate::missing_local(store));
    ops.extend(
        rbac::bootstrap_policy()
            .into_iter()
            .filter_map(|object| policy(store, object)),
    );
    ops.extend(aggregate::publish_authentication(store, options));
    if !ops.is_empty() {
        store.commit_blocking(ops)?;
    }
    // As with etcd after compaction: what was before this server is not there to be watched.
    store.compact(store.revision());
    Ok(())
}

/// Makes again what somebody deletes or changes of it, as upstream's API server does, until `shutdown`.
pub async fn keep(store: Store, options: Options) {
    let keys = wanted(&options).into_iter().chain(own_endpoints(&options));
    let keys: Vec<String> = keys
        .filter_map(|object| place(&object))
        .map(|(_, key)| key)
        .collect();
    while !options.shutdown.is_cancelled() {
        let revision = store.revision();
        let watches: Result<Vec<Watch>, _> =
            keys.iter().map(|key| store.watch(key, revision)).collect();
        // The history went on meanwhile.
        let Ok(mut watches) = watches else { continue };
        let ops = lacking(&store, &options);
        if !ops.is_empty()
            && let Err(err) = store.commit(ops).await
        {
            tracing::warn!(
                err = &err as &dyn std::error::Error,
                "objects of the cluster not made again"
            );
        }
        let changes = watches.iter_mut().map(|watch| Box::pin(watch.next()));
        tokio::select! {
            () = options.shutdown.cancelled() => return,
            (change, ..) = futures::future::select_all(changes) => if matches!(change, Ok(None)) { return },
        }
    }
}

/// The operations that make what is missing.
fn lacking(store: &Store, options: &Options) -> Vec<Op> {
    let mut ops: Vec<Op> = wanted(options)
        .into_iter()
        .flat_map(|object| missing(store, object))
        .collect();
    ops.extend(
        own_endpoints(options)
            .into_iter()
            .filter_map(|object| moved(store, object)),
    );
    ops
}

/// The operation that makes a role or binding, or adds what it lacks. As upstream, only when a server starts.
fn policy(store: &Store, wanted: Value) -> Option<Op> {
    let (resource, key) = place(&wanted)?;
    let Some(entry) = store.get(&key) else {
        return one_missing(store, wanted);
    };
    let stored = object::decode(entry.value(), resource);
    let next = rbac::reconciled(&stored, &wanted)?;
    Some(Op::update(
        key,
        entry.revision(),
        object::encode(&next, resource),
    ))
}

/// The operation that makes the server's endpoints, or brings them to where it is now.
fn moved(store: &Store, wanted: Value) -> Option<Op> {
    let (resource, key) = place(&wanted)?;
    let Some(entry) = store.get(&key) else {
        return one_missing(store, wanted);
    };
    let mut stored = object::decode(entry.value(), resource);
    let before = stored.clone();
    for member in ["subsets", "endpoints", "ports"] {
        if !wanted[member].is_null() {
            stored[member] = wanted[member].clone();
        }
    }
    if let Some(ty) = resource.stored_type() {
        karve_api::schema::tidy::tidy(&mut stored, ty);
    }
    (stored != before).then(|| Op::update(key, entry.revision(), object::encode(&stored, resource)))
}

fn place(object: &Value) -> Option<(&'static Resource, String)> {
    let (group, version) = karve_api::resource::split_api_version(object["apiVersion"].as_str()?)?;
    let resource = Table::builtin().by_kind(group, version, object["kind"].as_str()?)?;
    Some((
        resource,
        keys::key(resource, object.meta("namespace"), object.meta("name")),
    ))
}

/// The operations that make an object (and what it holds) unless it is there.
fn missing(store: &Store, object: Value) -> Vec<Op> {
    let service = object["kind"] == "Service";
    let locks = if service {
        allocate::locks(&object)
    } else {
        Vec::new()
    };
    let absent = locks.into_iter().filter(|op| store.get(&op.key).is_none());
    one_missing(store, object)
        .into_iter()
        .chain(absent)
        .collect()
}

fn one_missing(store: &Store, mut object: Value) -> Option<Op> {
    let (resource, key) = place(&object)?;
    if store.get(&key).is_some() {
        return None;
    }
    complete(resource, &mut object);
    Some(Op::create(key, object::encode(&object, resource)))
}

fn complete(resource: &Resource, object: &mut Value) {
    karve_api::defaults::apply(resource, object);
    object.set_meta("uid", uuid::Uuid::new_v4().to_string());
    object.set_meta("creationTimestamp", write::now());
    if let Some(ty) = resource.stored_type() {
        karve_api::schema::tidy::tidy(object, ty);
    }
}

fn wanted(options: &Options) -> Vec<Value> {
    let mut objects: Vec<Value> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(namespace)
        .into();
    objects.extend([
        priority_class("system-node-critical", 2_000_001_000),
        priority_class("system-cluster-critical", 2_000_000_000),
    ]);
    objects.push(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": options.service_cidrs().iter().map(ToString::to_string).collect::<Vec<_>>()},
    }));
    let first = options
        .service_cidr
        .hosts()
        .next()
        .expect("a service CIDR has addresses")
        .to_string();
    objects.push(service("default", "kubernetes", &first, json!({
        "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": options.advertise.port()}]},
    })));
    objects.extend(options.cluster_dns.map(cluster_dns));
    let flow = flow::bootstrap::all();
    objects.extend(flow.levels);
    objects.extend(flow.schemas);
    objects
}

/// The Service of the cluster's names.
fn cluster_dns(address: std::net::Ipv4Addr) -> Value {
    service(
        "kube-system",
        "kube-dns",
        &address.to_string(),
        json!({
            "metadata": {"labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
                // Each node answers at this address itself, so that proxies must leave it alone.
                "service.kubernetes.io/service-proxy-name": "karve-dns",
            }},
            "spec": {"ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ]},
        }),
    )
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

fn priority_class(name: &str, value: i64) -> Value {
    let scope = if name == "system-node-critical" {
        "Used for system critical pods that must not be moved from their current node."
    } else {
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
    };
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "generation": 1},
        "value": value,
        "description": scope,
        "preemptionPolicy": "PreemptLowerPriority",
    })
}

fn service(namespace: &str, name: &str, address: &str, rest: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": rest["metadata"]["labels"]},
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": rest["spec"]["ports"],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    });
    if !rest["spec"]["selector"].is_null() {
        service["spec"]["selector"] = rest["spec"]["selector"].clone();
    }
    service
}

/// The server's own address as Endpoints and as EndpointSlice.
fn own_endpoints(options: &Options) -> Vec<Value> {
    if !options.publish_endpoints {
        return Vec::new();
    }
    let (address, port) = (options.advertise.ip().to_string(), options.advertise.port());
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    vec![endpoints, slice]
}
