//! Search walks: which names a Pod's resolver will ask for, one after the other, told from the first of them.
//!
//! With `ndots:5`, a Pod asks for `example.org.NAMESPACE.svc.cluster.local`, then for three or more further names, and
//! only then for `example.org`. Knowing the Pod by its address, and with it its search list, the walk can be done here
//! and the last name's answer given at once, as an alias. `docs/dns.md` tells why that stays correct.
//!
//! Pure: Pods in, candidates out.

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use karve_watch::ObjectName;

/// The search list of one Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The Pod.
    pub pod: ObjectName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its search list, lowered, without final dots.
    pub searches: Vec<String>,
    /// A name with so many dots is asked for as it is, first.
    pub ndots: usize,
}

/// What all Pods' search lists are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The cluster's domain.
    pub domain: String,
    /// The nodes' own search list.
    pub node_searches: Vec<String>,
}

/// As upstream's kubelet has it.
const NDOTS: usize = 5;
/// Its limits for search paths (KEP-2595).
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

impl Client {
    /// What there is to know of a Pod; `None` for one that asks otherwise or not at all: it is over, has no address of
    /// its own, or the node's resolver.
    pub fn of(pod: &Pod, around: &Surroundings) -> Option<Client> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref()?;
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if over || spec.host_network == Some(true) {
            return None;
        }
        let addresses: Vec<IpAddr> = match &status.pod_ips {
            Some(ips) => ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            None => status
                .pod_ip
                .iter()
                .filter_map(|ip| ip.parse().ok())
                .collect(),
        };
        let mut searches = match spec.dns_policy.as_deref() {
            None | Some("ClusterFirst" | "ClusterFirstWithHostNet") => {
                let namespace = pod.metadata.namespace.as_deref()?;
                let domain = &around.domain;
                let mut all = vec![
                    format!("{namespace}.svc.{domain}"),
                    format!("svc.{domain}"),
                    domain.clone(),
                ];
                all.extend(around.node_searches.iter().cloned());
                all
            }
            Some("None") => Vec::new(),
            Some(_) => return None,
        };
        let mut ndots = NDOTS;
        if let Some(own) = &spec.dns_config {
            searches.extend(own.searches.iter().flatten().cloned());
            for option in own.options.iter().flatten() {
                if option.name.as_deref() == Some("ndots") {
                    ndots = option.value.as_deref()?.parse().ok()?;
                }
            }
        }
        let mut unique: Vec<String> = Vec::new();
        for search in searches {
            let lowered = search.trim_end_matches('.').to_ascii_lowercase();
            if !unique.contains(&lowered) {
                unique.push(lowered);
            }
        }
        bound(&mut unique);
        (!addresses.is_empty()).then(|| Client {
            pod: ObjectName::of(pod),
            addresses,
            searches: unique,
            ndots,
        })
    }

    /// The names that follow `name` when that is the first step of a walk; the last is the name as the program gave
    /// it. A name of a single label is left alone: it is hardly ever one of the outside.
    pub fn walk(&self, name: &str) -> Option<Vec<String>> {
        let (first, rest) = self.searches.split_first()?;
        let bare = name.strip_suffix(first.as_str())?.strip_suffix('.')?;
        let dots = bare.bytes().filter(|byte| *byte == b'.').count();
        if first.is_empty() || dots == 0 || dots >= self.ndots || bare.contains('\0') {
            return None;
        }
        let searched = rest.iter().map(|search| match search.as_str() {
            // A lone dot: the name as it is, in the middle of the list.
            "" => bare.to_owned(),
            search => format!("{bare}.{search}"),
        });
        let mut names: Vec<String> = searched.collect();
        if names.last().is_none_or(|last| last != bare) {
            names.push(bare.to_owned());
        }
        // Resolvers pass over what is no name.
        names.retain(|name| name.len() <= 253);
        Some(names)
    }
}

/// As the kubelet cuts a list that is too long, so that no domain is tried that the Pod does not have.
fn bound(searches: &mut Vec<String>) {
    searches.truncate(SEARCHES_MAX);
    searches.retain(|search| search.len() <= 253);
    let mut chars = 0;
    let fitting = searches.iter().take_while(|search| {
        chars += search.len() + usize::from(chars > 0);
        chars <= SEARCH_CHARS_MAX
    });
    let fitting = fitting.count();
    searches.truncate(fitting);
}

/// Pods by address.
#[derive(Debug, Default)]
pub struct Clients {
    pods: HashMap<ObjectName, Client>,
    addresses: HashMap<IpAddr, Vec<ObjectName>>,
}

impl Clients {
    /// Takes a Pod as it now is; `None`: it is gone, or asks otherwise.
    pub fn set(&mut self, name: &ObjectName, client: Option<Client>) {
        if let Some(old) = self.pods.remove(name) {
            for address in &old.addresses {
                if let Some(names) = self.addresses.get_mut(address) {
                    names.retain(|other| other != name);
                    if names.is_empty() {
                        self.addresses.remove(address);
                    }
                }
            }
        }
        let Some(client) = client else { return };
        for address in &client.addresses {
            let names = self.addresses.entry(*address).or_default();
            names.push(name.clone());
        }
        self.pods.insert(name.clone(), client);
    }

    /// Who asks from `address`; `None` when that is not known without doubt.
    pub fn at(&self, address: IpAddr) -> Option<&Client> {
        match self.addresses.get(&address.to_canonical())?.as_slice() {
            [one] => self.pods.get(one),
            _ => None,
        }
    }

    /// A Pod by name.
    pub fn named(&self, name: &ObjectName) -> Option<&Client> {
        self.pods.get(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn client(spec: Value, status: Value) -> Option<Client> {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let metadata = json!({"name": "p", "namespace": "Shop".to_lowercase()});
        let pod = json!({"metadata": metadata, "spec": spec, "status": status});
        let around = Surroundings {
            domain: "cluster.local".to_owned(),
            node_searches: vec!["Corp.example.".to_owned()],
        };
        Client::of(&serde_json::from_value(pod).unwrap(), &around)
    }

    fn running() -> Value {
        json!({"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}]})
    }

    #[test]
    fn a_walk_is_known_by_its_first_name() {
        let client = client(json!({}), running()).unwrap();
        let walk = client
            .walk("www.example.org.shop.svc.cluster.local")
            .unwrap();
        assert_eq!(
            walk,
            [
                "www.example.org.svc.cluster.local",
                "www.example.org.cluster.local",
                "www.example.org.corp.example",
                "www.example.org"
            ]
        );
        for other in [
            "redis.shop.svc.cluster.local",
            "www.example.org.svc.cluster.local",
            "www.example.org",
            "a.b.c.d.e.f.shop.svc.cluster.local",
            "www.example.org.other.svc.cluster.local",
            "shop.svc.cluster.local",
        ] {
            assert_eq!(client.walk(other), None, "{other}");
        }
    }

    #[test]
    fn the_pod_s_own_list_and_ndots_count() {
        let own = json!({"dnsConfig": {"searches": ["x.y", "."], "options": [{"name": "ndots", "value": "2"}]}});
        let own = client(own, running()).unwrap();
        assert_eq!(own.walk("a.b.c.shop.svc.cluster.local"), None);
        let walk = own.walk("a.b.shop.svc.cluster.local").unwrap();
        assert_eq!(walk[3..], ["a.b.x.y", "a.b"]);
    }

    #[test]
    fn who_asks_otherwise_is_not_known() {
        for (spec, status) in [
            (json!({"hostNetwork": true}), running()),
            (json!({"dnsPolicy": "Default"}), running()),
            (
                json!({}),
                json!({"phase": "Succeeded", "podIP": "10.244.1.2"}),
            ),
            (json!({}), json!({"phase": "Pending"})),
        ] {
            assert_eq!(client(spec.clone(), status), None, "{spec}");
        }
    }

    #[test]
    fn an_address_of_two_pods_is_nobody_s() {
        let mut clients = Clients::default();
        let known = client(json!({}), running());
        let [one, two] = ["one", "two"].map(|name| ObjectName::new("shop", name));
        let address = IpAddr::from([10, 244, 1, 2]);
        clients.set(&one, known.clone());
        assert!(clients.at(address).is_some());
        clients.set(&two, known);
        assert!(clients.at(address).is_none());
        clients.set(&one, None);
        assert!(clients.at(address).is_some());
        clients.set(&two, None);
        assert!(clients.addresses.is_empty());
    }
}
