//! What a pod asks for and what a node has.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Node, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

use super::quantity::{milli, whole};

pub(super) const CPU: &str = "cpu";
pub(super) const MEMORY: &str = "memory";
pub(super) const PODS: &str = "pods";

/// What a container without requests counts as, for spreading only.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource name: CPU in thousandths, all else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts(BTreeMap<String, i64>);

impl Amounts {
    fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amount = |(name, quantity): (&String, &Quantity)| {
            let amount = if name == CPU {
                milli(quantity)
            } else {
                whole(quantity)
            };
            (name.clone(), amount)
        };
        Self(list.into_iter().flatten().map(amount).collect())
    }

    pub(super) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

/// What pods may use of a node.
pub(super) fn allocatable(node: &Node) -> Amounts {
    let status = node.status.as_ref();
    Amounts::of(status.and_then(|status| status.allocatable.as_ref()))
}

/// What a pod asks for: its containers together, or more if an init container
/// alone needs more; sidecars count with those that come after them (KEP-753);
/// requests of the pod as a whole replace the sum (KEP-2837).
pub(super) fn requests(spec: &PodSpec) -> Amounts {
    total(spec, |container| {
        let resources = container.resources.as_ref();
        Amounts::of(resources.and_then(|resources| resources.requests.as_ref()))
    })
}

/// As [`requests`], with a guess for containers that ask for nothing, so that
/// many of these do not all go to one node.
pub(super) fn likely_use(spec: &PodSpec) -> (i64, i64) {
    let amounts = total(spec, |container| {
        let resources = container.resources.as_ref();
        let mut amounts = Amounts::of(resources.and_then(|resources| resources.requests.as_ref()));
        amounts.0.entry(CPU.into()).or_insert(DEFAULT_MILLI_CPU);
        amounts.0.entry(MEMORY.into()).or_insert(DEFAULT_MEMORY);
        amounts
    });
    (amounts.get(CPU), amounts.get(MEMORY))
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut running = Amounts::default();
    let mut most = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        let amounts = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&amounts);
            most.raise_to(&running);
        } else {
            let mut with_sidecars = running.clone();
            with_sidecars.add(&amounts);
            most.raise_to(&with_sidecars);
        }
    }
    for container in &spec.containers {
        running.add(&of(container));
    }
    most.raise_to(&running);
    let whole_pod = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    most.0.extend(Amounts::of(whole_pod).0);
    most.add(&Amounts::of(spec.overhead.as_ref()));
    most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_follow_the_order_of_starting() {
        let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        let table = [
            (
                json!({"containers": [container("1"), container("500m")]}),
                1500,
            ),
            (
                json!({"initContainers": [container("2")], "containers": [container("1")]}),
                2000,
            ),
            (
                json!({"initContainers": [sidecar, container("1")], "containers": [container("1")]}),
                1100,
            ),
            (
                json!({"containers": [container("1")], "resources": {"requests": {"cpu": "3"}}}),
                3000,
            ),
            (
                json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}),
                1250,
            ),
        ];
        for (spec, expected) in table {
            let parsed: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(requests(&parsed).get(CPU), expected, "{spec}");
        }
    }
}
