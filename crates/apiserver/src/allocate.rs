//! Cluster addresses and node ports of Services.
//!
//! Both are keys in the store, made and deleted in the same commit as the Service: an IPAddress object is the lock of
//! an address, as upstream; a key below `/internal/nodeports/` is that of a port. What the store has committed is
//! what is allocated, so there is nothing to repair or to rebuild, and a failed or tried write needs no roll-back.
//!
//! Where a Service is plainly wrong nothing is allocated, and validation, which comes after, says what is wrong.

mod address;
mod families;
mod port;

use std::collections::BTreeSet;
use std::net::IpAddr;

use karve_api::resource::{Resource, Table};
use karve_api::status::Status;
use karve_api::strategy::service as strategy;
use karve_store::{Action, Expect, Op, Store};
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::call::Call;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::{keys, semantics, write};

pub use families::Family;

/// What a Service holds beside itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Held {
    fn of(service: &Value) -> Held {
        let spec = &service["spec"];
        let mut held = Held::default();
        if strategy::needs_cluster_ip(spec) {
            let list = spec["clusterIPs"].as_array();
            held.addresses = list
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str()?.parse().ok())
                .collect();
        }
        let numbers = spec["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| &p["nodePort"]);
        held.ports = numbers
            .chain([&spec["healthCheckNodePort"]])
            .filter_map(|n| u16::try_from(n.as_u64()?).ok())
            .filter(|n| *n > 0)
            .collect();
        held
    }
}

/// Whether the call is about Services, the only objects that hold anything.
fn is_service(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "services"
}

/// Allocates what a new Service needs; the operations belong to the commit that makes it.
pub fn for_create(
    server: &Server,
    call: &Call,
    service: &mut Value,
    dry_run: bool,
) -> Result<Vec<Op>, Refusal> {
    if !is_service(&call.resource) {
        return Ok(Vec::new());
    }
    strategy::begin_create(service);
    plan(server, call, None, service, dry_run)?;
    Ok(changes(server, call, &Held::default(), service, dry_run))
}

/// Allocates and releases for a change.
pub fn for_update(
    server: &Server,
    call: &Call,
    old: &Value,
    next: &mut Value,
    dry_run: bool,
) -> Result<Vec<Op>, Refusal> {
    if !is_service(&call.resource) || !call.path.subresource.is_empty() {
        return Ok(Vec::new());
    }
    strategy::begin_update(old, next);
    plan(server, call, Some(old), next, dry_run)?;
    // Unchanged fields of a type that needs them no more are dropped by the strategy, and so released.
    let mut after = next.clone();
    semantics::prepare_update(call, old, &mut after);
    Ok(changes(server, call, &Held::of(old), &after, dry_run))
}

/// Releases what a Service had, and deletes its Endpoints.
pub fn for_delete(server: &Server, call: &Call, service: &Value) -> Vec<Op> {
    if !is_service(&call.resource) {
        return Vec::new();
    }
    let held = Held::of(service);
    let mut gone: Vec<String> = held.addresses.iter().map(|a| address::key(*a)).collect();
    gone.extend(held.ports.iter().map(|p| port::key(*p)));
    gone.push(keys::core(
        "endpoints",
        service.meta("namespace"),
        service.meta("name"),
    ));
    release(&server.store, gone)
}

fn release(store: &Store, keys: Vec<String>) -> Vec<Op> {
    let delete = |key: String| Op {
        key: key.into(),
        expect: Expect::Any,
        action: Action::Delete,
    };
    keys.into_iter()
        .filter(|key| store.get(key).is_some())
        .map(delete)
        .collect()
}

/// The locks of a Service that is made when the cluster is.
pub fn locks(service: &Value) -> Vec<Op> {
    take(service, &Held::default(), &Held::of(service))
}

fn changes(server: &Server, call: &Call, before: &Held, service: &Value, dry_run: bool) -> Vec<Op> {
    if dry_run {
        return Vec::new();
    }
    let after = Held::of(service);
    let mut named = service.clone();
    let namespace = call.namespace().to_owned();
    named.set_meta("namespace", namespace);
    let mut ops = take(&named, before, &after);
    let addresses = before
        .addresses
        .difference(&after.addresses)
        .map(|a| address::key(*a));
    let ports = before.ports.difference(&after.ports).map(|p| port::key(*p));
    ops.extend(release(&server.store, addresses.chain(ports).collect()));
    ops
}

fn take(service: &Value, before: &Held, after: &Held) -> Vec<Op> {
    let (namespace, name) = (service.meta("namespace"), service.meta("name"));
    let resource = Table::builtin()
        .by_kind("networking.k8s.io", "v1", "IPAddress")
        .expect("built in");
    let addresses = after
        .addresses
        .difference(&before.addresses)
        .map(|address| {
            let lock = address::lock(*address, namespace, name);
            Op::create(address::key(*address), object::encode(&lock, resource))
        });
    let owner = karve_store::Value::plain(format!("{namespace}/{name}"));
    let ports = after.ports.difference(&before.ports);
    addresses
        .chain(ports.map(|port| Op::create(port::key(*port), owner.clone())))
        .collect()
}

/// Decides families, addresses and ports, and writes them into the Service.
fn plan(
    server: &Server,
    call: &Call,
    old: Option<&Value>,
    service: &mut Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    let name = service.meta("name").to_owned();
    families::set(service, old, &server.options.families())
        .map_err(|errors| semantics::invalid(call, &name, &errors))?;
    address::assign(server, call, old, service, dry_run)?;
    port::assign(server, call, old, service, dry_run)
}

/// 500 with upstream's words.
fn exhausted(what: &str) -> Refusal {
    Status::internal(format!("failed to allocate a {what}: range is full")).into()
}

/// Members of an IPAddress that every stored object has.
fn stored_metadata(name: String, labels: Value) -> Value {
    json!({
        "name": name,
        "uid": uuid::Uuid::new_v4().to_string(),
        "creationTimestamp": write::now(),
        "labels": labels,
    })
}
