//! Scenarios that were played against kube-apiserver v1.37.2: each step is a write with the errors that it got.
//!
//! The steps run here through decoding, defaults, strategies and validation, with a map for a store and the least of
//! allocation. Steps refused for other reasons (allocation, admission, conflicts) are not in the copy.

use super::*;
use crate::decode::conform::conform_value;
use crate::defaults::{self, admission};
use crate::patch::{self, Kind};
use crate::resource::Table;
use crate::schema::tidy::tidy;
use crate::schema::{Schema, Type};
use crate::strategy::{self, Caller, Creation, service as services};
use serde_json::json;
use std::collections::HashMap;

struct Server {
    objects: HashMap<String, Value>,
    allocated: u32,
}

struct Write<'a> {
    resource: &'a Resource,
    ty: Type<'a>,
    namespace: Option<&'a str>,
    subresource: &'a str,
}

impl Server {
    fn key(write: &Write<'_>, name: &str) -> String {
        format!(
            "{}/{}/{name}",
            write.resource.qualified(),
            write.namespace.unwrap_or("")
        )
    }

    /// What the allocators of a real server do to right Services.
    fn allocate(&mut self, spec: &mut Value) {
        let mut number = || {
            self.allocated += 1;
            self.allocated
        };
        if services::needs_cluster_ip(spec)
            && checks::text(spec, "clusterIP").is_empty()
            && spec["clusterIPs"].is_null()
        {
            let address = format!("10.96.77.{}", number());
            spec["clusterIP"] = address.as_str().into();
            spec["clusterIPs"] = json!([address]);
        }
        if services::needs_cluster_ip(spec) && spec["ipFamilies"].is_null() {
            let six = checks::text(spec, "clusterIP").contains(':');
            spec["ipFamilies"] = json!([if six { "IPv6" } else { "IPv4" }]);
        }
        if services::needs_cluster_ip(spec) && spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
        let wanted = spec["allocateLoadBalancerNodePorts"] != false;
        if services::needs_node_port(spec) && wanted {
            for port in spec["ports"].as_array_mut().into_iter().flatten() {
                if port["nodePort"].as_i64().unwrap_or(0) == 0 {
                    port["nodePort"] = (30_500 + number()).into();
                }
            }
        }
        if services::needs_health_check_port(spec) && checks::int(spec, "healthCheckNodePort") == 0
        {
            spec["healthCheckNodePort"] = (30_500 + number()).into();
        }
    }

    fn create(&mut self, write: &Write<'_>, body: &Value) -> (Value, Vec<Error>) {
        let resource = write.resource;
        let mut object = conform_value(body, write.ty).expect("decodes").value;
        if let Some(namespace) = write.namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        if resource.group == "events.k8s.io" {
            // Events are kept with the names that v1 gives.
            for (name, stored) in [
                ("regarding", "involvedObject"),
                ("note", "message"),
                ("reportingController", "reportingComponent"),
            ] {
                object[stored] = object[name].take();
            }
        }
        defaults::apply(resource, &mut object);
        admission::storage_protection(resource, &mut object);
        match &*resource.qualified() {
            "pods" => {
                admission::service_account(&mut object, &json!({}), "kube-api-access-xxxxx");
                admission::default_tolerations(&mut object);
            }
            "services" => {
                services::begin_create(&mut object);
                self.allocate(&mut object["spec"]);
            }
            _ => {}
        }
        let caller = Caller {
            name: "admin",
            uid: "",
            groups: &[],
            extra: None,
        };
        let creation = Creation {
            now: now(),
            uid: "the-uid",
            caller,
        };
        strategy::prepare_create(resource, &mut object, &creation);
        let errors = create(resource, &object);
        tidy(&mut object, write.ty);
        (object, errors)
    }

    fn update(&mut self, write: &Write<'_>, old: &Value, mut new: Value) -> (Value, Vec<Error>) {
        let resource = write.resource;
        if let Some(namespace) = write.namespace {
            new["metadata"]["namespace"] = namespace.into();
        }
        defaults::apply(resource, &mut new);
        if resource.plural == "pods" && write.subresource.is_empty() {
            admission::default_tolerations(&mut new);
        }
        if resource.plural == "services" && write.subresource.is_empty() {
            services::begin_update(old, &mut new);
            self.allocate(&mut new["spec"]);
        }
        strategy::prepare_update(resource, write.subresource, old, &mut new, now());
        let errors = update(resource, write.subresource, old, &new);
        tidy(&mut new, write.ty);
        (new, errors)
    }
}

fn now() -> jiff::Timestamp {
    "2026-11-24T20:00:00Z".parse().expect("a time")
}

/// Field and message of each error. Diffs of Go structs are cut off on both sides.
fn shown(
    errors: impl IntoIterator<Item = (String, String)>,
    sorted: bool,
) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = errors
        .into_iter()
        .map(|(field, message)| (field, message.split("\n@@").next().unwrap_or("").to_owned()))
        .collect();
    if sorted {
        all.sort();
    }
    all
}

fn play(server: &mut Server, scenario: &str, step: &Value, failures: &mut Vec<String>) {
    let resource_name = step["r"].as_str().expect("a resource");
    let mut parts = resource_name.split('/');
    let mut next = || parts.next().expect("three parts");
    let (group, version, plural) = (next(), next(), next());
    let resource = Table::builtin()
        .lookup(group, version, plural)
        .expect("built in");
    let write = Write {
        resource,
        ty: Schema::builtin()
            .kind(group, version, &resource.kind)
            .expect("has a type"),
        namespace: step["ns"].as_str(),
        subresource: step["sub"].as_str().unwrap_or(""),
    };
    let body = &step["b"];
    let name = step["n"]
        .as_str()
        .or(body["metadata"]["name"].as_str())
        .unwrap_or("");
    let key = Server::key(&write, name);
    let stored = server.objects.get(&key).cloned();
    let (object, errors) = match (step["m"].as_str().expect("a method"), stored) {
        ("DELETE", _) => {
            server.objects.remove(&key);
            return;
        }
        ("POST", _) | ("PUT", None) => server.create(&write, body),
        (_, None) => return,
        ("PUT", Some(old)) => {
            let new = conform_value(body, write.ty).expect("decodes").value;
            server.update(&write, &old, new)
        }
        (_, Some(old)) => {
            let kind = Kind::of(
                step["ct"]
                    .as_str()
                    .unwrap_or("application/strategic-merge-patch+json"),
            )
            .expect("a patch");
            let body = body.to_string();
            let Ok(new) = patch::patch(kind, &old, body.as_bytes(), write.ty) else {
                failures.push(format!("{scenario} {}: patch", step["i"]));
                return;
            };
            server.update(&write, &old, new.object)
        }
    };
    if errors.is_empty() && step["dry"] != true {
        server.objects.insert(key, object);
    }
    let unordered = step["u"] == true;
    let got = shown(
        errors.into_iter().map(|e| (e.field.clone(), e.body())),
        unordered,
    );
    let wanted = step["e"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let wanted = shown(wanted.map(|c| (text(&c[0]), text(&c[1]))), unordered);
    let same = got.len() == wanted.len()
        && got.iter().zip(&wanted).all(|(g, w)| {
            // The recording has marks for uids and addresses.
            g.0 == w.0 && (g.1 == w.1 || w.1.contains("<uid:") || w.1.contains("<ip"))
        });
    if !same {
        failures.push(format!(
            "{scenario} {}\n   got    {got:?}\n   wanted {wanted:?}",
            step["i"]
        ));
    }
}

#[test]
fn writes_are_refused_as_recorded() {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in include_str!("../../testdata/validation.jsonl").lines() {
        let scenario: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = scenario["s"].as_str().expect("a name");
        let mut server = Server {
            objects: HashMap::new(),
            allocated: 0,
        };
        for step in scenario["steps"].as_array().expect("steps") {
            count += 1;
            play(&mut server, name, step, &mut failures);
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn objects_that_were_taken_are_right() {
    for line in include_str!("../../testdata/defaults.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = case["resource"].as_str().expect("a name");
        let mut parts = name.split('/');
        let mut next = || parts.next().expect("three parts");
        let (group, version, plural) = (next(), next(), next());
        let group = if group == "core" { "" } else { group };
        let resource = Table::builtin()
            .lookup(group, version, plural)
            .expect("built in");
        let write = Write {
            resource,
            ty: Schema::builtin()
                .kind(group, version, &resource.kind)
                .expect("has a type"),
            namespace: resource.namespaced.then_some("default"),
            subresource: "",
        };
        let mut server = Server {
            objects: HashMap::new(),
            allocated: 0,
        };
        let mut sent = case["sent"].clone();
        if let Some(about) = sent.get_mut("involvedObject").or(None) {
            about["namespace"] = "default".into();
        }
        let (_, errors) = server.create(&write, &sent);
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

/// xorshift; the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Replaces one value somewhere below.
fn mutilate(value: &mut Value, random: &mut Random) {
    let children = match value {
        Value::Object(members) => members.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if children == 0 || random.below(4) == 0 {
        *value = match random.below(8) {
            0 => Value::Null,
            1 => json!({}),
            2 => json!([]),
            3 => json!(""),
            4 => json!(-1),
            5 => json!("a/b/c%"),
            6 => json!([null, {}, ""]),
            _ => json!(i64::MAX),
        };
        return;
    }
    let at = random.below(children);
    let child = match value {
        Value::Object(members) => members.values_mut().nth(at),
        Value::Array(items) => items.get_mut(at),
        _ => None,
    };
    if let Some(child) = child {
        mutilate(child, random);
    }
}

#[test]
fn mutilated_objects_are_refused_or_taken_but_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut decoded = 0;
    for line in include_str!("../../testdata/defaults.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let mut parts = case["resource"].as_str().expect("a name").split('/');
        let mut next = || parts.next().expect("three parts");
        let (group, version, plural) = (next(), next(), next());
        let group = if group == "core" { "" } else { group };
        let resource = Table::builtin()
            .lookup(group, version, plural)
            .expect("built in");
        let write = Write {
            resource,
            ty: Schema::builtin()
                .kind(group, version, &resource.kind)
                .expect("has a type"),
            namespace: resource.namespaced.then_some("default"),
            subresource: "",
        };
        let mut server = Server {
            objects: HashMap::new(),
            allocated: 0,
        };
        let whole = &case["came_back"];
        let old = server.create(&write, &case["sent"]).0;
        for round in 0..200 {
            let mut object = if round % 2 == 0 {
                whole.clone()
            } else {
                case["sent"].clone()
            };
            (0..=random.below(3)).for_each(|_| mutilate(&mut object, &mut random));
            if !object.is_object() || conform_value(&object, write.ty).is_err() {
                continue;
            }
            decoded += 1;
            let (made, _) = server.create(&write, &object);
            server.update(&write, &old, made.clone());
            for subresource in ["status", "resize", "ephemeralcontainers"] {
                let write = Write {
                    subresource,
                    ..write
                };
                server.update(&write, &old, made.clone());
            }
            crate::print::row(resource, &made, now());
            crate::print::row_conditions(resource, &made);
            strategy::warnings::object(resource, None, &made);
            strategy::scale::of(&made);
        }
    }
    assert!(decoded > 2000, "{decoded} objects decoded");
}
