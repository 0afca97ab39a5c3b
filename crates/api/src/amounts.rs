//! Amounts of several resources at once: requests, limits, quotas.
//!
//! What a whole Pod asks for follows upstream's `component-helpers/resource` (KEP-753 for sidecars, KEP-2837 for
//! resources of the Pod, KEP-1287 for resizes). Absent: devices of resource claims, which ask for nothing here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// A quantity for each resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads an object of quantities; what is no quantity is left out.
pub fn read(list: &Value) -> Amounts {
    let members = list.as_object().into_iter().flatten();
    members
        .filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?)))
        .collect()
}

/// As an object of texts.
pub fn to_value(amounts: &Amounts) -> Value {
    let members = amounts
        .iter()
        .map(|(name, amount)| (name.clone(), amount.to_string().into()));
    Value::Object(members.collect::<Map<_, _>>())
}

/// Adds amounts to amounts.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match to.get_mut(name) {
            Some(have) => *have = have.checked_add(amount).unwrap_or_else(|| have.clone()),
            None => {
                to.insert(name.clone(), amount.clone());
            }
        }
    }
}

/// Raises each amount to that of the other, if it is more.
pub fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if to.get(name).is_none_or(|have| amount > have) {
            to.insert(name.clone(), amount.clone());
        }
    }
}

/// `cpu=2,pods=1`: as upstream's refusals list amounts.
pub fn list(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    parts.join(",")
}

/// Which of the two lists of a container's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `requests`
    Requests,
    /// `limits`
    Limits,
}

impl Side {
    /// The member's name.
    pub fn name(self) -> &'static str {
        match self {
            Side::Requests => "requests",
            Side::Limits => "limits",
        }
    }
}

/// What the containers of a Pod's spec ask for together, with the Pod's own amounts over them.
pub fn of_spec(pod: &Value, side: Side) -> Amounts {
    let mut total = of_containers(pod, |container| read(&container["resources"][side.name()]));
    override_by_pod(pod, side, &mut total);
    total
}

/// What a Pod uses of a quota or a node: the most of what it asks for, was given and has, and its overhead.
pub fn of_pod(pod: &Value, side: Side) -> Amounts {
    let infeasible = items(&pod["status"]["conditions"])
        .find(|c| c["type"] == "PodResizePending")
        .is_some_and(|c| c["reason"] == "Infeasible");
    let spec = |container: &Value| read(&container["resources"][side.name()]);
    let unless_infeasible = |container: &Value| match infeasible {
        true => Amounts::new(),
        false => spec(container),
    };
    let mut total = match infeasible {
        true => Amounts::new(),
        false => of_containers(pod, spec),
    };
    let actuated = of_containers(pod, |container| {
        let status = status_of(pod, container);
        let actual = &status["resources"][side.name()];
        match (actual.is_object(), &status["allocatedResources"]) {
            (true, _) => read(actual),
            (false, allocated) if side == Side::Requests && allocated.is_object() => {
                read(allocated)
            }
            _ => unless_infeasible(container),
        }
    });
    raise(&mut total, &actuated);
    if side == Side::Requests {
        let allocated = of_containers(pod, |container| {
            match &status_of(pod, container)["allocatedResources"] {
                Value::Object(_) => read(&status_of(pod, container)["allocatedResources"]),
                _ => unless_infeasible(container),
            }
        });
        raise(&mut total, &allocated);
    }
    override_by_pod(pod, side, &mut total);
    let overhead = read(&pod["spec"]["overhead"]);
    match side {
        Side::Requests => add(&mut total, &overhead),
        // Who has no limit gets none by the overhead.
        Side::Limits => {
            let limited = |name: &String| total.get(name).is_some_and(|limit| !limit.is_zero());
            let more = overhead
                .into_iter()
                .filter(|(name, _)| limited(name))
                .collect();
            add(&mut total, &more);
        }
    }
    total
}

/// Whether a Pod has amounts of its own.
pub fn has_pod_level(pod: &Value) -> bool {
    let own = &pod["spec"]["resources"];
    [Side::Requests, Side::Limits].iter().any(|side| {
        read(&own[side.name()])
            .keys()
            .any(|name| is_pod_level(name))
    })
}

fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn override_by_pod(pod: &Value, side: Side, total: &mut Amounts) {
    let own = read(&pod["spec"]["resources"][side.name()]);
    total.extend(own.into_iter().filter(|(name, _)| is_pod_level(name)));
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn status_of<'a>(pod: &'a Value, container: &Value) -> &'a Value {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|list| items(&pod["status"][*list]))
        .find(|status| status["name"] == container["name"])
        .unwrap_or(&Value::Null)
}

/// Containers run together; an init container runs beside the sidecars that began before it.
fn of_containers(pod: &Value, amounts: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut total = Amounts::new();
    for container in items(&pod["spec"]["containers"]) {
        add(&mut total, &amounts(container));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in items(&pod["spec"]["initContainers"]) {
        let mut own = amounts(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut most, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut most, &own);
        }
    }
    raise(&mut total, &most);
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str) -> Value {
        json!({"name": cpu, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn init_containers_count_beside_sidecars() {
        let mut sidecar = container("1");
        sidecar["restartPolicy"] = "Always".into();
        let rows = [
            (json!([container("4")]), "4"),
            (json!([sidecar, container("4")]), "5"),
            (json!([container("4"), sidecar]), "4"),
            (json!([]), "3"),
        ];
        for (init, want) in rows {
            let pod = json!({"spec": {"containers": [container("1"), container("2")], "initContainers": init}});
            assert_eq!(
                list(&of_spec(&pod, Side::Requests)),
                format!("cpu={want}"),
                "{pod}"
            );
        }
    }

    #[test]
    fn pods_own_amounts_and_overhead_count() {
        let pod = json!({"spec": {
            "containers": [container("1")],
            "resources": {"requests": {"cpu": "3"}, "limits": {"memory": "1Gi"}},
            "overhead": {"cpu": "250m", "memory": "1Gi"},
        }});
        assert!(has_pod_level(&pod));
        assert_eq!(list(&of_pod(&pod, Side::Requests)), "cpu=3250m,memory=1Gi");
        assert_eq!(list(&of_pod(&pod, Side::Limits)), "memory=2Gi");
    }

    #[test]
    fn resize_counts_the_most_until_it_is_done() {
        let pod = |spec: &str, reason: &str| {
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": spec}}}]}, "status": {
                "conditions": [{"type": "PodResizePending", "reason": reason}],
                "containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "1"}}}],
            }})
        };
        for (spec, reason, want) in [
            ("3", "Deferred", "3"),
            ("1", "Deferred", "2"),
            ("3", "Infeasible", "2"),
        ] {
            assert_eq!(
                list(&of_pod(&pod(spec, reason), Side::Requests)),
                format!("cpu={want}")
            );
        }
    }
}
