//! What is wrong between a Service and an IPAddress, in upstream's words.

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{IPAddress, IPAddressSpec, ParentReference},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::{SignedDuration, Timestamp},
};

use crate::watch::Key;

const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// An address may be older than its Service by as much as a request may take.
const REQUEST_MAX: SignedDuration = SignedDuration::from_secs(60);
/// A write that was reverted may show for this long.
const REVERTED: SignedDuration = SignedDuration::from_secs(5);

/// What is done about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    Nothing,
    /// Made, or made anew.
    Write,
}

/// Something wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Reason and message, where people are told.
    pub(super) event: Option<(&'static str, String)>,
    pub(super) repair: Repair,
}

impl Finding {
    fn told(reason: &'static str, message: String, repair: Repair) -> Self {
        Self {
            event: Some((reason, message)),
            repair,
        }
    }
}

/// The ClusterIPs of a Service.
pub(super) fn addresses(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let first = spec.and_then(|spec| spec.cluster_ip.as_deref());
    if matches!(first, None | Some("" | "None")) {
        return Vec::new();
    }
    spec.and_then(|spec| spec.cluster_ips.clone())
        .unwrap_or_default()
}

fn family(address: &str) -> &'static str {
    match address.contains(':') {
        true => "IPv6",
        false => "IPv4",
    }
}

/// The Service that an address names, if it is one.
pub(super) fn parent(address: &IPAddress) -> Option<Key> {
    let parent = &address.spec.parent_ref;
    let is_service =
        parent.group.as_deref().unwrap_or_default().is_empty() && parent.resource == "services";
    is_service.then(|| {
        Key::new(
            parent.namespace.as_deref().unwrap_or_default(),
            &parent.name,
        )
    })
}

/// What is wrong with one address of a Service.
pub(super) fn service(
    service: &Service,
    text: &str,
    known: Option<&IPAddress>,
    in_range: &dyn Fn(IpAddr) -> bool,
    other: &dyn Fn(&Key) -> Option<Arc<Service>>,
) -> Option<Finding> {
    let (key, family) = (Key::of(service), family(text));
    let Ok(address) = text.parse::<IpAddr>() else {
        let message = format!("Cluster IP {text} is not a valid IP; please recreate Service");
        return Some(Finding::told("ClusterIPNotValid", message, Repair::Nothing));
    };
    if !in_range(address) {
        let message = format!(
            "Cluster IP [{family}]: {text} is not within any configured Service CIDR; please recreate service"
        );
        return Some(Finding::told(
            "ClusterIPOutOfRange",
            message,
            Repair::Nothing,
        ));
    }
    let Some(known) = known else {
        let message = format!("Cluster IP [{family}]: {text} is not allocated; repairing");
        return Some(Finding::told(
            "ClusterIPNotAllocated",
            message,
            Repair::Write,
        ));
    };
    let wrong = || {
        let message = format!(
            "the ClusterIP [{family}]: {text} for Service {key} has a wrong reference; repairing"
        );
        Some(Finding::told(
            "ClusterIPNotAllocated",
            message,
            Repair::Write,
        ))
    };
    let Some(named) = parent(known) else {
        return wrong();
    };
    if named != key {
        let Some(named) = other(&named) else {
            return wrong();
        };
        if addresses(&named).iter().any(|one| one == text) {
            let message = format!(
                "Cluster IP [{family}]:{text} was assigned to multiple services; please recreate service"
            );
            return Some(Finding::told(
                "ClusterIPAlreadyAllocated",
                message,
                Repair::Nothing,
            ));
        }
    }
    let label = |name: &str| {
        known
            .metadata
            .labels
            .as_ref()
            .and_then(|all| all.get(name))
            .map(String::as_str)
    };
    let labelled =
        label(FAMILY_LABEL) == Some(family) && label(MANAGED_BY_LABEL) == Some(ALLOCATOR);
    (!labelled).then_some(Finding {
        event: None,
        repair: Repair::Write,
    })
}

/// What an address is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// To be looked at again.
    NotYet(Duration),
    /// To be deleted.
    Wrong(Finding),
}

impl Verdict {
    pub(super) fn is_settled(&self) -> bool {
        *self == Self::Fine
    }
}

/// Whether an address of the allocator has its Service.
pub(super) fn address(address: &IPAddress, service: Option<&Service>, now: Timestamp) -> Verdict {
    let name = address.metadata.name.as_deref().unwrap_or_default();
    let labels = address.metadata.labels.as_ref();
    if labels
        .and_then(|all| all.get(MANAGED_BY_LABEL))
        .is_none_or(|by| by != ALLOCATOR)
    {
        return Verdict::Fine;
    }
    let wrong = |reason, message| Verdict::Wrong(Finding::told(reason, message, Repair::Nothing));
    let Some(parent) = parent(address) else {
        let shown = shown(&address.spec.parent_ref);
        let message = format!(
            "IPAddress {name} appears to have been modified, not referencing a Service {shown}: cleaning up"
        );
        return wrong("IPAddressNotAllocated", message);
    };
    let created = |meta: &ObjectMeta| {
        meta.creation_timestamp
            .as_ref()
            .map_or(now, |Time(time)| *time)
    };
    let age = now.duration_since(created(&address.metadata));
    let wait = |left: SignedDuration| Verdict::NotYet(Duration::try_from(left).unwrap_or_default());
    let Some(service) = service else {
        if age <= REQUEST_MAX {
            return wait(REQUEST_MAX - age + SignedDuration::from_secs(1));
        }
        let message =
            format!("IPAddress: {name} for Service {parent} appears to have leaked: cleaning up");
        return wrong("IPAddressNotAllocated", message);
    };
    let spec = service.spec.as_ref();
    let cluster_ips = spec
        .and_then(|spec| spec.cluster_ips.as_deref())
        .unwrap_or_default();
    if cluster_ips.iter().any(|one| one == name) {
        return Verdict::Fine;
    }
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") && age < REQUEST_MAX {
        return wait(REQUEST_MAX - age);
    }
    if created(&address.metadata) > created(&service.metadata) && age < REVERTED {
        return wait(REVERTED);
    }
    let message =
        format!("IPAddress: {name} for Service {parent} has a wrong reference; cleaning up");
    wrong("IPAddressWrongReference", message)
}

/// A reference as Go prints one.
fn shown(reference: &ParentReference) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    format!(
        "&ParentReference{{Group:{},Resource:{},Namespace:{},Name:{},}}",
        text(&reference.group),
        reference.resource,
        text(&reference.namespace),
        reference.name
    )
}

/// The IPAddress of a Service's address.
pub(super) fn new_address(text: &str, service: &Service) -> IPAddress {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    IPAddress {
        metadata: ObjectMeta {
            name: Some(text.to_owned()),
            labels: Some(
                [
                    label(FAMILY_LABEL, family(text)),
                    label(MANAGED_BY_LABEL, ALLOCATOR),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: None,
                resource: "services".into(),
                namespace: service.metadata.namespace.clone(),
                name: service.metadata.name.clone().unwrap_or_default(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(name: &str, ips: &[&str]) -> Service {
        let object = json!({
            "metadata": {"name": name, "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"clusterIP": ips.first(), "clusterIPs": ips},
        });
        serde_json::from_value(object).unwrap()
    }

    fn ip(name: &str, changes: Value) -> IPAddress {
        let mut object = serde_json::to_value(new_address(name, &of("s", &[name]))).unwrap();
        crate::fixture::merge(
            &mut object,
            &json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        crate::fixture::merge(&mut object, &changes);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn each_address_of_a_service_has_its_object() {
        let parent = |name: &str| json!({"spec": {"parentRef": {"name": name}}});
        let table = [
            (
                "10.0.0.5",
                Some(ip("10.0.0.5", json!({}))),
                None,
                Repair::Nothing,
            ),
            (
                "10.0.0.5",
                None,
                Some("ClusterIPNotAllocated"),
                Repair::Write,
            ),
            (
                "10.9.0.5",
                None,
                Some("ClusterIPOutOfRange"),
                Repair::Nothing,
            ),
            ("x", None, Some("ClusterIPNotValid"), Repair::Nothing),
            (
                "10.0.0.5",
                Some(ip("10.0.0.5", parent("gone"))),
                Some("ClusterIPNotAllocated"),
                Repair::Write,
            ),
            (
                "10.0.0.5",
                Some(ip("10.0.0.5", parent("twin"))),
                Some("ClusterIPAlreadyAllocated"),
                Repair::Nothing,
            ),
            (
                "10.0.0.5",
                Some(ip(
                    "10.0.0.5",
                    json!({"spec": {"parentRef": {"resource": "gateways"}}}),
                )),
                Some("ClusterIPNotAllocated"),
                Repair::Write,
            ),
            (
                "10.0.0.5",
                Some(ip(
                    "10.0.0.5",
                    json!({"metadata": {"labels": {FAMILY_LABEL: "IPv6"}}}),
                )),
                None,
                Repair::Write,
            ),
        ];
        let in_range = |address: IpAddr| address.to_string().starts_with("10.0.");
        let other = |key: &Key| (&*key.name == "twin").then(|| Arc::new(of("twin", &["10.0.0.5"])));
        for (text, known, reason, repair) in table {
            let finding = service(&of("s", &[text]), text, known.as_ref(), &in_range, &other);
            let found = finding
                .as_ref()
                .map_or(Repair::Nothing, |finding| finding.repair);
            let told = finding
                .and_then(|finding| finding.event)
                .map(|(reason, _)| reason);
            assert_eq!((told, found), (reason, repair), "{text} {known:?}");
        }
    }

    #[test]
    fn each_address_has_its_service() {
        let at = |second: i64| Timestamp::from_second(1_767_225_600 + second).unwrap();
        let reason = |verdict: Verdict| match verdict {
            Verdict::Fine => "fine",
            Verdict::NotYet(_) => "later",
            Verdict::Wrong(finding) => finding.event.unwrap().0,
        };
        let (own, other) = (of("s", &["10.0.0.5"]), of("s", &["10.0.0.6"]));
        let mut external = of("s", &[]);
        external.spec.as_mut().unwrap().type_ = Some("ExternalName".into());
        let plain = ip("10.0.0.5", json!({}));
        let young = ip(
            "10.0.0.5",
            json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:08Z"}}),
        );
        let foreign = ip(
            "10.0.0.5",
            json!({"metadata": {"labels": {MANAGED_BY_LABEL: "me"}}}),
        );
        let modified = ip(
            "10.0.0.5",
            json!({"spec": {"parentRef": {"resource": "gateways"}}}),
        );
        let table = [
            (&plain, Some(&own), 10, "fine"),
            (&plain, None, 10, "later"),
            (&plain, None, 100, "IPAddressNotAllocated"),
            (&plain, Some(&other), 10, "IPAddressWrongReference"),
            (&young, Some(&other), 10, "later"),
            (&plain, Some(&external), 10, "later"),
            (&plain, Some(&external), 100, "IPAddressWrongReference"),
            (&foreign, None, 100, "fine"),
            (&modified, Some(&own), 10, "IPAddressNotAllocated"),
        ];
        for (one, service, second, expected) in table {
            assert_eq!(
                reason(address(one, service, at(second))),
                expected,
                "{one:?} {second}"
            );
        }
    }
}
