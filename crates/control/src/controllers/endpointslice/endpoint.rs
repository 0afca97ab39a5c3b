//! A pod as an endpoint of a Service, and the ports it answers on.

use k8s_openapi::{
    api::{
        core::v1::{Container, ObjectReference, Pod, Service, ServicePort},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{hints, plan::Family};
use crate::pod;

/// True if two states of a pod are the same endpoint of a slice, and its readiness is as old.
///
/// Beyond upstream's rule it sees a pod that ended, so that its address leaves at once, and a pod's first condition, which
/// upstream's controller has seen when it looks again one second after each write.
pub(super) fn is_same(old: &Pod, new: &Pod) -> bool {
    let ready_at = |pod: &Pod| {
        let ready = pod::condition(pod, "Ready")?;
        Some((ready.status.clone(), ready.last_transition_time.clone()))
    };
    is_same_address(old, new)
        && pod::is_finished(old) == pod::is_finished(new)
        && pod::node_name(old) == pod::node_name(new)
        && ready_at(old) == ready_at(new)
}

/// True if two states of a pod are the same address of Endpoints: upstream's `podEndpointsChanged`, which does not look
/// at the phase.
pub(in crate::controllers) fn is_same_address(old: &Pod, new: &Pod) -> bool {
    let addresses = |pod: &Pod| {
        let status = pod.status.as_ref();
        status.and_then(|status| status.pod_ips.clone())
    };
    let names = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        spec.map(|spec| (spec.hostname.clone(), spec.subdomain.clone()))
    };
    old.metadata.uid == new.metadata.uid
        && old.metadata.labels == new.metadata.labels
        && pod::is_terminating(old) == pod::is_terminating(new)
        && pod::is_ready(old) == pod::is_ready(new)
        && names(old) == names(new)
        && addresses(old) == addresses(new)
}

/// The pod's address of a family, if it may be an endpoint at all.
pub(in crate::controllers) fn address(pod: &Pod, family: Family) -> Option<&str> {
    if pod::is_finished(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
    let mut addresses = listed.chain(status.pod_ip.as_deref());
    addresses.find(|address| Family::of(address) == Some(family))
}

/// The pod as an endpoint; `None` if it has no address of the family.
pub(super) fn endpoint(
    pod: &Pod,
    service: &Service,
    family: Family,
    zone: Option<String>,
) -> Option<Endpoint> {
    let address = address(pod, family)?;
    let node = pod::node_name(pod);
    let serving = pod::is_ready(pod);
    let terminating = pod::is_terminating(pod);
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let mut endpoint = Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: node.map(str::to_owned),
        target_ref: Some(target(pod)),
        zone,
        ..Endpoint::default()
    };
    endpoint.hints = hints::hints(service, &endpoint);
    Some(endpoint)
}

pub(in crate::controllers) fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.publish_not_ready_addresses)
        .unwrap_or(false)
}

pub(in crate::controllers) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The name of the pod within a headless Service's domain.
pub(in crate::controllers) fn hostname<'p>(pod: &'p Pod, service: &Service) -> Option<&'p str> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_deref().filter(|name| !name.is_empty())?;
    (spec.subdomain == service.metadata.name).then_some(hostname)
}

/// The Service's ports as this pod has them; a named port that the pod does
/// not know is left out.
pub(in crate::controllers) fn ports(pod: &Pod, service: &Service) -> Vec<EndpointPort> {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    let resolved = ports.filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn number(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => serving_containers(pod)
            .flat_map(|container| container.ports.iter().flatten())
            .find(|port| {
                port.name.as_deref() == Some(name)
                    && port.protocol.as_deref().unwrap_or("TCP") == protocol
            })
            .map(|port| port.container_port),
    }
}

/// Containers that live as long as the pod: also sidecars (KEP-753).
fn serving_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    let sidecars = spec
        .clone()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    spec.flat_map(|spec| &spec.containers).chain(sidecars)
}
