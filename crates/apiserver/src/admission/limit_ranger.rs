//! LimitRanger: containers get defaults, and nothing is smaller or larger than the ranges of its namespace allow.

use karve_api::amounts::{self, Amounts, Side};
use karve_api::quantity::Quantity;
use serde_json::{Value, json};

use super::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::object::{self, Meta};
use crate::server::Server;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives containers the defaults of each range.
pub fn mutate(server: &Server, attributes: &mut Attributes<'_>) -> Result<(), Refusal> {
    if !attributes.concerns("", "pods") || !is_limited(attributes) {
        return Ok(());
    }
    let ranges = lookup::list(server, "", "limitranges", attributes.namespace());
    if let Some(pod) = &mut attributes.object {
        ranges
            .iter()
            .for_each(|(_, range)| set_defaults(range, pod));
    }
    Ok(())
}

/// Refuses what breaks a range; of each range all that is wrong is told.
pub fn validate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    if !is_limited(attributes) {
        return Ok(());
    }
    let is_pod = attributes.concerns("", "pods");
    for (_, range) in lookup::list(server, "", "limitranges", attributes.namespace()) {
        let limits = range["spec"]["limits"].as_array();
        let errors: Vec<String> = limits
            .into_iter()
            .flatten()
            .flat_map(|limit| match is_pod {
                true => check_pod(limit, attributes.object()),
                false => check_claim(limit, attributes.object()),
            })
            .collect();
        if !errors.is_empty() {
            return Err(attributes.forbidden(&aggregate(errors)));
        }
    }
    Ok(())
}

/// New Pods and claims, resizes, and updates of claims; not of what is being deleted.
fn is_limited(attributes: &Attributes<'_>) -> bool {
    let pod = attributes.concerns("", "pods");
    if !pod && !attributes.concerns("", "persistentvolumeclaims") {
        return false;
    }
    let handled = match (attributes.operation, &*attributes.call.path.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => !pod,
        (Operation::Update, "resize") => pod,
        _ => false,
    };
    handled && !attributes.old.is_some_and(|old| old.is_deleting())
}

/// As upstream's aggregate of errors prints itself: each text once.
fn aggregate(errors: Vec<String>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match &mut texts[..] {
        [only] => std::mem::take(only),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn set_defaults(range: &Value, pod: &mut Value) {
    let limits = range["spec"]["limits"].as_array().into_iter().flatten();
    let (mut requests, mut maxima) = (Amounts::new(), Amounts::new());
    for limit in limits.filter(|limit| limit["type"] == "Container") {
        requests.extend(amounts::read(&limit["defaultRequest"]));
        maxima.extend(amounts::read(&limit["default"]));
    }
    let mut notes = Vec::new();
    for (list, what) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|c| c.is_object()) {
            let name = container
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            for (side, defaults) in [(Side::Requests, &requests), (Side::Limits, &maxima)] {
                let set = fill(container, side, defaults);
                if !set.is_empty() {
                    let side = side.name().trim_end_matches('s');
                    notes.push(format!("{} {side} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        object::member_of(pod.metadata_mut().entry("annotations").or_insert(json!({})))
            .insert(ANNOTATION.to_owned(), text.into());
    }
}

/// Adds what a container does not have; answers the names.
fn fill<'d>(container: &mut Value, side: Side, defaults: &'d Amounts) -> Vec<&'d str> {
    let have = |name: &str| container["resources"][side.name()].get(name).is_some();
    let missing: Vec<&str> = defaults
        .keys()
        .map(String::as_str)
        .filter(|n| !have(n))
        .collect();
    if !missing.is_empty() {
        let resources = object::member_mut(container, "resources");
        let list = object::member_of(resources.entry(side.name()).or_insert(json!({})));
        for name in &missing {
            list.insert((*name).to_owned(), defaults[*name].to_string().into());
        }
    }
    missing
}

fn check_pod(limit: &Value, pod: &Value) -> Vec<String> {
    match limit["type"].as_str() {
        Some("Container") => {
            let items = |list: &str| pod["spec"][list].as_array().into_iter().flatten();
            let check = |container: &Value| {
                let resources = &container["resources"];
                let (requests, limits) = (
                    amounts::read(&resources["requests"]),
                    amounts::read(&resources["limits"]),
                );
                check_amounts(limit, &requests, &limits)
            };
            items("containers")
                .chain(items("initContainers"))
                .flat_map(check)
                .collect()
        }
        Some("Pod") => {
            let requests = amounts::of_spec(pod, Side::Requests);
            check_amounts(limit, &requests, &amounts::of_spec(pod, Side::Limits))
        }
        _ => Vec::new(),
    }
}

fn check_amounts(limit: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let of = |member: &str| amounts::read(&limit[member]);
    let kind = limit["type"].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    for (name, least) in of("min") {
        errors.extend(minimum(
            kind,
            &name,
            &least,
            requests.get(&name),
            limits.get(&name),
        ));
    }
    for (name, most) in of("max") {
        errors.extend(maximum(
            kind,
            &name,
            &most,
            requests.get(&name),
            limits.get(&name),
        ));
    }
    for (name, most) in of("maxLimitRequestRatio") {
        errors.extend(ratio(
            kind,
            &name,
            &most,
            requests.get(&name),
            limits.get(&name),
        ));
    }
    errors
}

fn check_claim(limit: &Value, claim: &Value) -> Vec<String> {
    let kind = limit["type"].as_str().unwrap_or_default();
    if kind != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let requests = amounts::read(&claim["spec"]["resources"]["requests"]);
    let mut errors = Vec::new();
    for (name, least) in amounts::read(&limit["min"]) {
        errors.extend(minimum(kind, &name, &least, requests.get(&name), None));
    }
    for (name, most) in amounts::read(&limit["max"]) {
        errors.extend(match requests.get(&name) {
            None => Some(format!(
                "maximum {name} usage per {kind} is {most}.  No request is specified"
            )),
            Some(request) if request.milli_value() > most.milli_value() => Some(format!(
                "maximum {name} usage per {kind} is {most}, but request is {request}"
            )),
            Some(_) => None,
        });
    }
    errors
}

fn minimum(
    kind: &str,
    name: &str,
    least: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("minimum {name} usage per {kind} is {least}");
    let below = |amount: &Quantity| amount.milli_value() < least.milli_value();
    match (request, limit) {
        (None, _) => Some(format!("{bound}.  No request is specified")),
        (Some(request), _) if below(request) => Some(format!("{bound}, but request is {request}")),
        (_, Some(limit)) if below(limit) => Some(format!("{bound}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(
    kind: &str,
    name: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("maximum {name} usage per {kind} is {most}");
    let above = |amount: &Quantity| amount.milli_value() > most.milli_value();
    match (limit, request) {
        (None, _) => Some(format!("{bound}.  No limit is specified")),
        (Some(limit), _) if above(limit) => Some(format!("{bound}, but limit is {limit}")),
        (_, Some(request)) if above(request) => Some(format!("{bound}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("{name} max limit to request ratio per {kind} is {most}");
    let some = |amount: Option<&Quantity>| amount.map(Quantity::milli_value).filter(|n| *n != 0);
    let Some(request) = some(request) else {
        return Some(format!(
            "{bound}, but no request is specified or request is 0"
        ));
    };
    let Some(limit) = some(limit) else {
        return Some(format!("{bound}, but no limit is specified or limit is 0"));
    };
    let observed = limit as f64 / request as f64;
    (observed * 1000.0 > most.milli_value() as f64)
        .then(|| format!("{bound}, but provided ratio is {observed:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_what_is_missing_and_are_noted() {
        let range = json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]}});
        let mut pod = json!({"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1"}}}, {"name": "b"}]}});
        set_defaults(&range, &mut pod);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; \
             cpu request for container b; cpu, memory limit for container b"
        );
    }

    #[test]
    fn ranges_refuse_with_upstreams_words() {
        let pod = |requests: Value, limits: Value| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}});
        let rows = [
            (
                json!({"type": "Container", "min": {"cpu": "1"}}),
                pod(json!({}), json!({})),
                "minimum cpu usage per Container is 1.  No request is specified",
            ),
            (
                json!({"type": "Container", "min": {"cpu": "1"}}),
                pod(json!({"cpu": "1"}), json!({"cpu": "999m"})),
                "minimum cpu usage per Container is 1, but limit is 999m",
            ),
            (
                json!({"type": "Pod", "max": {"memory": "1Gi"}}),
                pod(json!({}), json!({"memory": "2Gi"})),
                "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "1500m"}}),
                pod(json!({"cpu": "1"}), json!({"cpu": "2"})),
                "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
            ),
            (
                json!({"type": "Container", "max": {"cpu": "2"}}),
                pod(json!({}), json!({"cpu": "2"})),
                "",
            ),
        ];
        for (limit, pod, want) in rows {
            assert_eq!(check_pod(&limit, &pod).join("; "), want, "{limit}");
        }
        let claim = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
        let limit = json!({"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}});
        assert_eq!(
            check_claim(&limit, &claim),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]
        );
        assert_eq!(
            aggregate(vec!["a".into(), "b".into(), "a".into()]),
            "[a, b]"
        );
    }
}
