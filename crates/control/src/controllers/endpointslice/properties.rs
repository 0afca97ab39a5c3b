//! Random histories of pods against a model: every endpoint is in one slice, and few slices are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use proptest::prelude::*;
use serde_json::json;

use super::plan::{ENDPOINTS_PER_SLICE, Family, Nodes, Plan, plan};

/// Pods by number: whether each is ready, and which of two ports it has the name `web` for.
type World = BTreeMap<u16, (bool, bool)>;

fn service() -> Service {
    let object = json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "s1"},
        "spec": {"clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"], "selector": {"app": "x"},
            "ports": [{"port": 80, "targetPort": "web", "protocol": "TCP"}]},
    });
    serde_json::from_value(object).unwrap()
}

fn address(number: u16) -> String {
    format!("10.244.{}.{}", number / 200, number % 200 + 1)
}

fn pod(number: u16, (ready, other): (bool, bool)) -> Arc<Pod> {
    let name = format!("p{number}");
    let status = if ready { "True" } else { "False" };
    let object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "x"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c",
            "ports": [{"name": "web", "containerPort": if other { 81 } else { 80 }}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address(number)}],
            "conditions": [{"type": "Ready", "status": status}]},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn planned(world: &World, existing: &[Arc<EndpointSlice>]) -> Plan {
    let pods: Vec<_> = world
        .iter()
        .map(|(number, state)| pod(*number, *state))
        .collect();
    let nodes = Nodes {
        zone: &|_| Some(None),
        shares: &|| None,
    };
    plan(&service(), &pods, existing, Family::V4, &nodes, None)
}

/// What slices say: for each its endpoints by address, with readiness and port.
fn said(slice: &EndpointSlice) -> BTreeMap<String, (bool, Option<i32>)> {
    let port = slice
        .ports
        .iter()
        .flatten()
        .next()
        .and_then(|port| port.port);
    let endpoints = slice.endpoints.iter().flatten();
    let ready = |one: &k8s_openapi::api::discovery::v1::Endpoint| {
        one.conditions.as_ref().unwrap().ready.unwrap()
    };
    endpoints
        .map(|one| (one.addresses[0].clone(), (ready(one), port)))
        .collect()
}

fn wanted(world: &World) -> BTreeMap<String, (bool, Option<i32>)> {
    let one = |(number, (ready, other)): (&u16, &(bool, bool))| {
        (
            address(*number),
            (*ready, Some(if *other { 81 } else { 80 })),
        )
    };
    world.iter().map(one).collect()
}

fn check(
    before: &[Arc<EndpointSlice>],
    world: &World,
    plan: &Plan,
    after: &[Arc<EndpointSlice>],
) -> Result<(), TestCaseError> {
    let wanted = wanted(world);
    let mut all = BTreeMap::new();
    for slice in after {
        let said = said(slice);
        prop_assert!(said.len() <= ENDPOINTS_PER_SLICE);
        let count = all.len() + said.len();
        all.extend(said);
        prop_assert_eq!(all.len(), count, "an endpoint is in two slices");
    }
    prop_assert_eq!(&all, &wanted);
    prop_assert!(!after.is_empty());
    // The model of what must be written: slices with an endpoint that changed or went, and room for those that came.
    let stale = before.iter().filter(|slice| {
        said(slice)
            .iter()
            .any(|(address, state)| wanted.get(address) != Some(state))
    });
    let stale: BTreeSet<_> = stale.map(|slice| slice.metadata.name.clone()).collect();
    let old: BTreeMap<_, _> = before.iter().flat_map(|slice| said(slice)).collect();
    let came = |port: i32| {
        let new = wanted.iter().filter(|(address, state)| {
            state.1 == Some(port) && old.get(*address).is_none_or(|old| old.1 != state.1)
        });
        new.count()
    };
    let most = stale.len()
        + came(80).div_ceil(ENDPOINTS_PER_SLICE)
        + came(81).div_ceil(ENDPOINTS_PER_SLICE)
        + 1;
    let written = plan.create.len() + plan.update.len() + plan.delete.len();
    prop_assert!(written <= most, "{} writes, {} at most", written, most);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn histories_of_pods_are_packed_as_the_model_says(
        worlds in proptest::collection::vec(
            proptest::collection::btree_map(0u16..400, (any::<bool>(), proptest::bool::weighted(0.2)), 0..330),
            1..5,
        )
    ) {
        let mut slices: Vec<Arc<EndpointSlice>> = Vec::new();
        for world in &worlds {
            let plan = planned(world, &slices);
            let before = slices.clone();
            slices = super::tests::applied(&before, planned(world, &before));
            check(&before, world, &plan, &slices)?;
            let again = planned(world, &slices);
            prop_assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        }
    }
}
