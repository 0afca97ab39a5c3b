//! What a Service asks of the allocator. Parsed once, at the edge.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kube::ResourceExt;

/// Annotations of MetalLB, by the prefix of 0.9 to 0.14 and by that of later versions.
const PREFIXES: [&str; 2] = ["metallb.universe.tf/", "metallb.io/"];

/// A port on an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    protocol: String,
    number: i32,
}

/// `tcp/80`, as MetalLB writes it.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol.to_lowercase(), self.number)
    }
}

/// With whom a Service is ready to share its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sharing {
    /// Annotation `allow-shared-ip`; empty when it does not share.
    pub key: String,
    /// With externalTrafficPolicy Local both must have the same pods, or a node that is right for one
    /// would be wrong for the other.
    pub backend: String,
}

/// What the Service says about its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Any address.
    Any,
    /// Any address of this pool.
    Pool(String),
    /// This very address.
    Ip(Ipv4Addr),
    /// Something that can't be had, and why.
    Invalid(String),
}

/// A Service that needs an address from us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The Service's UID.
    pub uid: String,
    /// When it was made: the older one is served first.
    pub created: Option<String>,
    /// Which address it wants.
    pub wish: Wish,
    /// Its ports.
    pub ports: BTreeSet<Port>,
    /// With whom it shares.
    pub sharing: Sharing,
    /// The address in its status.
    pub current: Option<Ipv4Addr>,
    /// The status says exactly that, and nothing else.
    pub published: bool,
}

impl Request {
    /// Reads a Service; `None` when it needs no address from us.
    pub(super) fn parse(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
        if !is_load_balancer || spec.load_balancer_class.is_some() {
            return None;
        }
        let ports = spec.ports.iter().flatten().map(|port| Port {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            number: port.port,
        });
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let backend = if local {
            format!("{:?}", spec.selector)
        } else {
            String::new()
        };
        let key = annotation(service, "allow-shared-ip")
            .unwrap_or_default()
            .to_owned();
        let load_balancer = service
            .status
            .as_ref()
            .and_then(|s| s.load_balancer.as_ref());
        let ingress = load_balancer
            .and_then(|l| l.ingress.as_deref())
            .unwrap_or_default();
        let current = ingress.iter().find_map(|i| i.ip.as_deref()?.parse().ok());
        Some(Self {
            uid: service.uid().unwrap_or_default(),
            created: service.creation_timestamp().map(|time| time.0.to_string()),
            wish: wish(service, spec.load_balancer_ip.as_deref()),
            ports: ports.collect(),
            sharing: Sharing { key, backend },
            current,
            published: match ingress {
                [] => true,
                [one] => current.is_some_and(|ip| *one == published(ip)),
                _ => false,
            },
        })
    }
}

/// The entry of `status.loadBalancer.ingress` for an address.
fn published(ip: Ipv4Addr) -> LoadBalancerIngress {
    LoadBalancerIngress {
        ip: Some(ip.to_string()),
        ip_mode: Some("VIP".to_owned()),
        ..LoadBalancerIngress::default()
    }
}

fn annotation<'a>(service: &'a Service, name: &str) -> Option<&'a str> {
    let annotations = service.annotations();
    let found = PREFIXES
        .iter()
        .find_map(|prefix| annotations.get(&format!("{prefix}{name}")));
    found.map(String::as_str).filter(|text| !text.is_empty())
}

fn wish(service: &Service, load_balancer_ip: Option<&str>) -> Wish {
    let field = load_balancer_ip.filter(|text| !text.is_empty());
    let ip = match (annotation(service, "loadBalancerIPs"), field) {
        (Some(_), Some(_)) => {
            let text = "service can not have both metallb.universe.tf/loadBalancerIPs and svc.Spec.LoadBalancerIP";
            return Wish::Invalid(text.to_owned());
        }
        (annotation, field) => annotation.or(field),
    };
    let Some(text) = ip else {
        let pool = annotation(service, "address-pool");
        return pool.map_or(Wish::Any, |pool| Wish::Pool(pool.to_owned()));
    };
    match text.trim().parse() {
        Ok(ip) => Wish::Ip(ip),
        Err(_) => Wish::Invalid(format!("invalid spec.loadBalancerIP {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(metadata: Value, spec: Value, ingress: Value) -> Option<Request> {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        for (into, more) in [("metadata", metadata), ("spec", spec)] {
            let into = object[into].as_object_mut().expect("object");
            into.extend(more.as_object().expect("object").clone());
        }
        Request::parse(&serde_json::from_value(object).expect("a service"))
    }

    #[test]
    fn only_our_load_balancers_ask() {
        assert!(parse(json!({}), json!({}), json!(null)).is_some());
        assert!(parse(json!({}), json!({"type": "ClusterIP"}), json!(null)).is_none());
        assert!(
            parse(
                json!({}),
                json!({"loadBalancerClass": "example.com/lb"}),
                json!(null)
            )
            .is_none()
        );
    }

    #[test]
    fn wishes_come_from_field_or_annotations() {
        let annotated = |name: &str, value: &str| json!({"annotations": {name: value}});
        let address = json!({"loadBalancerIP": "10.0.0.9"});
        let ip = Wish::Ip(Ipv4Addr::new(10, 0, 0, 9));
        let rows = [
            (json!({}), json!({}), Wish::Any),
            (json!({}), address.clone(), ip.clone()),
            (annotated("metallb.universe.tf/loadBalancerIPs", "10.0.0.9"), json!({}), ip.clone()),
            (annotated("metallb.io/loadBalancerIPs", "10.0.0.9"), json!({}), ip),
            (annotated("metallb.universe.tf/address-pool", "blue"), json!({}), Wish::Pool("blue".into())),
            (
                json!({}),
                json!({"loadBalancerIP": "fd00::1"}),
                Wish::Invalid("invalid spec.loadBalancerIP \"fd00::1\"".into()),
            ),
            (
                annotated("metallb.universe.tf/loadBalancerIPs", "10.0.0.9"),
                address,
                Wish::Invalid(
                    "service can not have both metallb.universe.tf/loadBalancerIPs and svc.Spec.LoadBalancerIP".into(),
                ),
            ),
        ];
        for (metadata, spec, expected) in rows {
            let request = parse(metadata.clone(), spec, json!(null)).expect("asks");
            assert_eq!(request.wish, expected, "{metadata}");
        }
    }

    #[test]
    fn the_status_is_read_back() {
        let ip = Some(Ipv4Addr::new(10, 0, 0, 9));
        let rows = [
            (json!(null), None, true),
            (json!([{"ip": "10.0.0.9", "ipMode": "VIP"}]), ip, true),
            (json!([{"ip": "10.0.0.9"}]), ip, false),
            (json!([{"hostname": "example.com"}]), None, false),
            (
                json!([{"ip": "10.0.0.9", "ipMode": "VIP"}, {"ip": "10.0.0.10"}]),
                ip,
                false,
            ),
        ];
        for (ingress, current, published) in rows {
            let request = parse(json!({}), json!({}), ingress.clone()).expect("asks");
            assert_eq!(
                (request.current, request.published),
                (current, published),
                "{ingress}"
            );
        }
    }
}
