//! Priority: a Pod's PriorityClass becomes a number; there is one default class.

use karve_api::defaults::admission as defaults;
use serde_json::Value;

use super::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::object::{self, Meta};
use crate::server::Server;

const GROUP: &str = "scheduling.k8s.io";
const PLURAL: &str = "priorityclasses";

/// Resolves the class of a Pod.
pub fn mutate(server: &Server, attributes: &mut Attributes<'_>) -> Result<(), Refusal> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    match attributes.operation {
        Operation::Create => resolve(server, attributes),
        Operation::Update => {
            keep(attributes);
            Ok(())
        }
        Operation::Delete | Operation::Connect => Ok(()),
    }
}

/// Updates that leave the numbers out mean them.
fn keep(attributes: &mut Attributes<'_>) {
    let (Some(pod), Some(old)) = (&mut attributes.object, attributes.old) else {
        return;
    };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            object::member_mut(pod, "spec").insert(field.to_owned(), old["spec"][field].clone());
        }
    }
}

fn resolve(server: &Server, attributes: &mut Attributes<'_>) -> Result<(), Refusal> {
    let spec = &attributes.object()["spec"];
    let name = spec["priorityClassName"].as_str().unwrap_or_default();
    let class = match name.is_empty() {
        true => default_class(server),
        false => Some(lookup::get(server, GROUP, PLURAL, "", name).ok_or_else(|| {
            attributes.forbidden(&format!("no PriorityClass with name {name} was found"))
        })?),
    };
    let value = class.as_ref().map_or(0, |c| object::number(&c["value"]));
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != value) {
        return Err(attributes.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    let policy = class.as_ref().and_then(|c| c["preemptionPolicy"].as_str());
    let policy = policy.unwrap_or("PreemptLowerPriority");
    let given = spec["preemptionPolicy"].as_str();
    if let Some(given) = given.filter(|given| *given != policy) {
        return Err(attributes.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let Some(pod) = &mut attributes.object {
        defaults::priority(pod, class.as_ref());
    }
    Ok(())
}

/// Of several default classes the one of least value.
fn default_class(server: &Server) -> Option<Value> {
    lookup::list(server, GROUP, PLURAL, "")
        .into_iter()
        .map(|(_, class)| class)
        .filter(|class| class["globalDefault"] == true)
        .min_by_key(|class| object::number(&class["value"]))
}

/// Refuses a second default class.
pub fn validate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !attributes.is(GROUP, PLURAL) || !writes || attributes.object()["globalDefault"] != true {
        return Ok(());
    }
    let Some(other) = default_class(server) else {
        return Ok(());
    };
    let name = other.meta("name");
    if attributes.operation == Operation::Update && name == attributes.object().meta("name") {
        return Ok(());
    }
    Err(attributes.forbidden(&format!(
        "PriorityClass {name} is already marked as default. Only one default can exist"
    )))
}
