//! `binding`: a Pod gets its node.

use karve_api::resource::Table;
use karve_api::status::Status;
use karve_api::validate;
use karve_store::Op;
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write::{self, Committed, FieldValidation};
use crate::{admission, keys, respond};

/// How often a binding may meet another writer.
const ATTEMPTS: usize = 16;

/// Answers `POST pods/NAME/binding` and `POST bindings`.
pub async fn bind(server: &Server, call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("CreateOptions")?;
    let validation = FieldValidation::parse(call, "CreateOptions")?;
    let kind = call.body_kind();
    let mut binding = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &binding)?;
    admission::create(server, call, &mut binding, dry_run).await?;
    let target = validate(&binding)?;
    let pods = Table::builtin().by_kind("", "v1", "Pod").expect("built in");
    let name = if call.name().is_empty() {
        binding.meta("name")
    } else {
        call.name()
    }
    .to_owned();
    let key = keys::key(pods, &call.path.namespace, &name);
    for _ in 0..ATTEMPTS {
        let entry = server
            .store
            .get(&key)
            .ok_or_else(|| Status::not_found("", "pods", &name))?;
        let mut pod = object::decode(entry.value(), pods);
        check(&pod, &binding, &name)?;
        assign(&mut pod, &binding, target);
        if dry_run {
            break;
        }
        let op = Op::update(key.as_str(), entry.revision(), object::encode(&pod, pods));
        match write::commit(server, vec![op]).await? {
            Committed::Done(_) => break,
            Committed::Conflict => {}
        }
    }
    Ok(respond::status_to(call, &Status::created()))
}

fn validate(binding: &Value) -> Result<&str, Refusal> {
    let errors = validate::binding(binding);
    match errors.is_empty() {
        true => Ok(binding["target"]["name"].as_str().unwrap_or_default()),
        false => Err(Status::invalid("", "Binding", binding.meta("name"), &errors).into()),
    }
}

fn check(pod: &Value, binding: &Value, name: &str) -> Result<(), Refusal> {
    let conflict =
        |why: String| -> Refusal { Status::conflict("", "pods/binding", name, &why).into() };
    let uid = binding.meta("uid");
    if !uid.is_empty() && uid != pod.meta("uid") {
        let (wanted, stored) = (uid, pod.meta("uid"));
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {stored}"
        )));
    }
    if pod.is_deleting() {
        return Err(conflict(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !node.is_empty() {
        return Err(conflict(format!(
            "pod {name} is already assigned to node \"{node}\""
        )));
    }
    Ok(())
}

fn assign(pod: &mut Value, binding: &Value, node: &str) {
    object::member_mut(pod, "spec").insert("nodeName".into(), node.into());
    for member in ["annotations", "labels"] {
        if let Some(given) = binding["metadata"][member].as_object() {
            let own = pod.metadata_mut().entry(member).or_insert(json!({}));
            for (name, value) in given {
                own[name] = value.clone();
            }
        }
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": write::now(),
    });
    let status = object::member_mut(pod, "status");
    let conditions = status.entry("conditions").or_insert(json!([]));
    let Some(list) = conditions.as_array_mut() else {
        *conditions = json!([condition]);
        return;
    };
    match list.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(same) if same["status"] == "True" => {}
        Some(other) => *other = condition,
        None => list.push(condition),
    }
}
