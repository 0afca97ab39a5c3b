//! What a node's kernel holds of one Service, beside what it should hold.
//!
//! Both are found without the running proxy: the kernel's maps are read, and the Service is planned anew
//! from the API's objects. What differs is told element by element.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use karve_sys::nft::{self, Data, Nft, Value as Bits, Verdict};
use serde::Serialize;

use crate::dataplane::{Chain, Family, Frontend, Key, List, Value};
use crate::objects::{Service, Site, Slice};
use crate::plan::plan;
use crate::table::{self, Map, TABLE};

/// One Service in one address family, on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Where it answers.
    pub addresses: Vec<Address>,
    /// Where the kernel differs from what it should hold; empty when all is well.
    pub differences: Vec<String>,
}

/// An address and port that a Service answers on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// `cluster IP`, `external IP` or `node port`.
    pub kind: &'static str,
    /// The address, port and protocol.
    pub address: String,
    /// What the kernel does with a new connection, in words.
    pub does: String,
    /// The endpoints that the kernel picks from.
    pub endpoints: Vec<SocketAddr>,
}

/// What the kernel has, by key.
type Held = HashMap<Map, HashMap<(Bits, Option<Bits>), Option<Data>>>;
/// The endpoints that the kernel has, by service port and list.
type Picks = BTreeMap<(Frontend, List), BTreeMap<u16, SocketAddr>>;

/// Describes a Service as the kernel has it in the calling thread's network namespace, in each family in which
/// it is proxied. `node` is this node's object.
///
/// # Errors
/// When the kernel's tables can't be read.
pub fn describe(
    service: &core::Service,
    slices: &[discovery::EndpointSlice],
    node: &core::Node,
) -> Result<Vec<Description>, nft::Error> {
    let mut nft = Nft::open()?;
    let site = Site::parse(node);
    let slices: Vec<Slice> = slices
        .iter()
        .filter_map(|slice| Slice::parse(slice, &site.node).map(|(_, slice)| slice))
        .collect();
    let mut found = Vec::new();
    for family in Family::BOTH {
        let Some(service) = Service::parse(service, family) else {
            continue;
        };
        let slices = slices.iter().filter(|slice| slice.family == family);
        found.push(describe_family(&mut nft, family, &service, slices, &site)?);
    }
    Ok(found)
}

fn describe_family<'a>(
    nft: &mut Nft,
    family: Family,
    service: &Service,
    slices: impl Iterator<Item = &'a Slice> + Clone,
    site: &Site,
) -> Result<Description, nft::Error> {
    let nft_family = table::nft_family(family);
    if nft.table(nft_family, TABLE)?.is_none() {
        let differences = vec![format!("there is no table {TABLE}: no proxy has been here")];
        return Ok(Description {
            family: family.name(),
            addresses: Vec::new(),
            differences,
        });
    }
    let mut held = Held::new();
    let (mut picks, mut before) = (Picks::new(), BTreeMap::new());
    for map in Map::ALL {
        for element in nft.elements(nft_family, TABLE, map.name())? {
            if let Some((key, value)) = table::parse_endpoint(family, &element)
                && matches!(map, Map::Endpoints | Map::AffinityPicks)
            {
                note(&mut picks, key, value);
                before.insert(key, value);
            }
            let of_map = held.entry(map).or_default();
            of_map.insert((element.key, element.key_end), element.data);
        }
    }
    let wanted = plan(service, slices, site, &before);
    let mut addresses = Vec::new();
    let mut differences = Vec::new();
    for (key, value) in &wanted.elements {
        let element = table::element(key, value);
        let of_map = held.get(&Map::of(key));
        let found = of_map.and_then(|of_map| of_map.get(&(element.key, element.key_end)));
        match found {
            Some(data) if *data == element.data => {}
            Some(data) => {
                differences.push(format!("{key}: the kernel has {}", show(data.as_ref())))
            }
            None => differences.push(format!(
                "{key}: missing from the kernel's {}",
                Map::of(key).name()
            )),
        }
        addresses.extend(address(service, key, value, found, &picks));
    }
    for (key, _) in before
        .iter()
        .filter(|(key, _)| !wanted.elements.contains_key(key))
    {
        let name = service_port(key);
        if name.is_some_and(|name| name.ip == service.cluster_ip) {
            differences.push(format!("{key}: the kernel has it, and should not"));
        }
    }
    Ok(Description {
        family: family.name(),
        addresses,
        differences,
    })
}

fn note(picks: &mut Picks, key: Key, value: Value) {
    if let (
        Key::Endpoint(name, list, slot) | Key::AffinityPick(name, list, slot),
        Value::Endpoint(address),
    ) = (key, value)
    {
        picks.entry((name, list)).or_default().insert(slot, address);
    }
}

fn service_port(key: &Key) -> Option<Frontend> {
    match key {
        Key::Endpoint(name, ..) | Key::AffinityPick(name, ..) => Some(*name),
        _ => None,
    }
}

/// What the kernel does at an address; `None` for elements that are not about one.
fn address(
    service: &Service,
    key: &Key,
    wanted: &Value,
    found: Option<&Option<Data>>,
    picks: &Picks,
) -> Option<Address> {
    let (kind, port) = match key {
        Key::ServiceIp(frontend) if frontend.ip == service.cluster_ip => {
            ("cluster IP", frontend.port)
        }
        Key::ServiceIp(frontend) => ("external IP", frontend.port),
        Key::NodePort(protocol, number) => {
            let mut ports = service.ports.iter();
            let port = ports.find(|p| p.protocol == *protocol && p.node_port == Some(*number))?;
            ("node port", port.port)
        }
        _ => return None,
    };
    let protocol = match key {
        Key::ServiceIp(frontend) => frontend.protocol,
        Key::NodePort(protocol, _) => *protocol,
        _ => return None,
    };
    let name = Frontend {
        ip: service.cluster_ip,
        protocol,
        port,
    };
    let (does, list) = match found {
        None => ("nothing: unknown to the kernel".to_owned(), None),
        Some(data) if *data == table::element(key, wanted).data => words(wanted),
        Some(data) => (show(data.as_ref()), None),
    };
    let endpoints = list.and_then(|list| picks.get(&(name, list)));
    Some(Address {
        kind,
        address: key.to_string(),
        does,
        endpoints: endpoints
            .into_iter()
            .flat_map(|slots| slots.values().copied())
            .collect(),
    })
}

/// A verdict in words, and the list that endpoints are picked from.
fn words(value: &Value) -> (String, Option<List>) {
    let Value::Goto(chain) = value else {
        return (
            "drops: no endpoint on this node (policy Local)".to_owned(),
            None,
        );
    };
    match chain {
        Chain::Refuse => ("refuses: no endpoints".to_owned(), None),
        Chain::Direct(pick) | Chain::Internal(pick) => (
            format!("picks one of {}{}", pick.count, sticky(pick.affinity)),
            Some(pick.list),
        ),
        Chain::External(pick) => {
            let sticky = sticky(pick.affinity);
            (
                format!("picks one of {}{sticky}, masquerades", pick.count),
                Some(pick.list),
            )
        }
        Chain::ExternalLocal { local: 0, .. } => (
            "drops what comes from outside: no endpoint on this node (policy Local)".to_owned(),
            Some(List::Local),
        ),
        Chain::ExternalLocal { pick, local } => (
            format!("picks one of {local} on this node{}", sticky(pick.affinity)),
            Some(List::Local),
        ),
        Chain::Guarded(guarded) => {
            let (does, list) = words(&Value::Goto(guarded.chain()));
            (format!("{does}, for source ranges only"), list)
        }
    }
}

fn sticky(affinity: Option<u32>) -> String {
    affinity
        .map(|seconds| format!(", a client keeps its own for {seconds} s"))
        .unwrap_or_default()
}

fn show(data: Option<&Data>) -> String {
    match data {
        Some(Data::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain))) => {
            format!("goes to {chain}")
        }
        Some(Data::Verdict(verdict)) => format!("{verdict:?}"),
        Some(Data::Value(_)) => "another value".to_owned(),
        None => "no value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use karve_sys::netns::NetNs;
    use serde_json::json;

    use super::*;
    use crate::kernel::Kernel;
    use crate::proxier::Proxier;
    use crate::table::Layout;
    use karve_watch::ObjectName;

    #[test]
    fn the_kernel_is_compared_with_the_api() {
        let netns = NetNs::anonymous().expect("namespace");
        let service: core::Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.50", "ports": [{"port": 80, "nodePort": 30080}]},
        }))
        .expect("a service");
        let slice = |endpoints: &[&str]| -> discovery::EndpointSlice {
            let endpoints: Vec<_> = endpoints
                .iter()
                .map(|ip| json!({"addresses": [ip], "nodeName": "node1"}))
                .collect();
            serde_json::from_value(json!({
                "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": [{"name": "", "port": 8080}], "endpoints": endpoints,
            }))
            .expect("a slice")
        };
        let node: core::Node =
            serde_json::from_value(json!({"metadata": {"name": "node1"}})).expect("a node");
        let look = |slice: &discovery::EndpointSlice| {
            let slices = std::slice::from_ref(slice);
            let found = netns
                .run_in(|| describe(&service, slices, &node))
                .expect("enter");
            let [description] = &found.expect("describe")[..] else {
                panic!("IPv4 only")
            };
            description.clone()
        };
        let two = slice(&["10.244.1.1", "10.244.1.2"]);
        assert_eq!(look(&two).differences.len(), 1, "no table");

        let layout = Layout {
            family: Family::V4,
            cluster_cidrs: vec![],
            service_cidrs: vec![],
            node_port_addresses: vec![],
        };
        let mut proxier = Proxier::new(Kernel::open_in(&netns, layout).expect("open"));
        let name = ObjectName::new("default", "web");
        proxier
            .state
            .set_service(name.clone(), Service::parse(&service, Family::V4));
        let parsed = Slice::parse(&two, "node1").map(|(_, slice)| (name.clone(), slice));
        proxier.state.set_slice(name, parsed);
        proxier.sync().expect("sync");
        let well = look(&two);
        assert_eq!(well.differences, [] as [&str; 0]);
        let shown: Vec<_> = well
            .addresses
            .iter()
            .map(|a| {
                (
                    a.kind,
                    a.address.as_str(),
                    a.does.as_str(),
                    a.endpoints.len(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("cluster IP", "10.96.0.50:80/TCP", "picks one of 2", 2),
                (
                    "node port",
                    "node port 30080/TCP",
                    "picks one of 2, masquerades",
                    2
                ),
            ]
        );
        let behind = look(&slice(&["10.244.1.1"]));
        assert_eq!(
            behind.differences.len(),
            3,
            "two verdicts and an endpoint: {behind:?}"
        );
        assert_eq!(behind.addresses[0].does, "goes to internal-2");
    }
}
