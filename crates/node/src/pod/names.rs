//! A pod's hostname and resolver configuration.
//!
//! Pure. The files themselves (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`) are written by the runtime.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use karve_runtime::DnsConfig;

/// A hostname is at most this long (`sethostname(2)` allows 64, DNS labels 63).
const HOSTNAME_MAX: usize = 63;
/// `resolv.conf(5)`: more name servers than these are ignored.
const NAMESERVERS_MAX: usize = 3;
/// Upstream's limits for search paths (KEP-2595).
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// What the cluster and the node give every pod.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// The cluster's DNS server.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// What the node itself uses.
    pub node: DnsConfig,
}

/// The hostname inside the pod, and its full name when it has a subdomain.
pub fn hostname(pod: &Pod, spec: &PodSpec, node: &str, domain: &str) -> (String, Option<String>) {
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), None);
    }
    if spec.host_network == Some(true) {
        return (node.to_owned(), None);
    }
    let own = spec
        .hostname
        .clone()
        .filter(|h| !h.is_empty())
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_default();
    let short = own
        .get(..HOSTNAME_MAX)
        .unwrap_or(&own)
        .trim_end_matches(['-', '.'])
        .to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let fqdn = spec
        .subdomain
        .as_deref()
        .filter(|s| !s.is_empty())
        .map(|s| format!("{short}.{s}.{namespace}.svc.{domain}"));
    match fqdn {
        Some(fqdn) if spec.set_hostname_as_fqdn == Some(true) => (fqdn.clone(), Some(fqdn)),
        fqdn => (short, fqdn),
    }
}

/// The resolver configuration that `dnsPolicy` and `dnsConfig` ask for.
pub fn dns(pod: &Pod, spec: &PodSpec, resolver: &Resolver) -> DnsConfig {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host_network = spec.host_network == Some(true);
    let mut config = match policy {
        "None" => DnsConfig::default(),
        "ClusterFirstWithHostNet" => cluster_first(pod, resolver),
        "ClusterFirst" if !host_network => cluster_first(pod, resolver),
        _ => resolver.node.clone(),
    };
    if let Some(own) = &spec.dns_config {
        config.servers.extend(
            own.nameservers
                .iter()
                .flatten()
                .filter_map(|s| s.parse::<IpAddr>().ok()),
        );
        config
            .searches
            .extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = option.name.as_deref() else {
                continue;
            };
            config.options.retain(|o| o.split(':').next() != Some(name));
            let value = option.value.as_deref().filter(|v| !v.is_empty());
            config
                .options
                .push(value.map_or_else(|| name.to_owned(), |v| format!("{name}:{v}")));
        }
        config.options.sort();
    }
    bound(&mut config);
    config
}

fn cluster_first(pod: &Pod, resolver: &Resolver) -> DnsConfig {
    let domain = &resolver.cluster_domain;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    searches.extend(resolver.node.searches.iter().cloned());
    DnsConfig {
        servers: resolver.cluster_dns.clone(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn bound(config: &mut DnsConfig) {
    let mut seen = Vec::new();
    config.servers.retain(|s| {
        !seen.contains(s) && {
            seen.push(*s);
            true
        }
    });
    config.servers.truncate(NAMESERVERS_MAX);
    let mut unique: Vec<String> = Vec::new();
    let mut chars = 0;
    for search in std::mem::take(&mut config.searches) {
        if unique.contains(&search) {
            continue;
        }
        chars += search.len() + 1;
        if unique.len() == SEARCHES_MAX || chars > SEARCH_CHARS_MAX + 1 {
            break;
        }
        unique.push(search);
    }
    config.searches = unique;
}

/// Reads a `resolv.conf(5)`.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config
                .servers
                .extend(words.next().and_then(|w| w.parse::<IpAddr>().ok())),
            // The last search line counts.
            Some("search" | "domain") => {
                config.searches = words
                    .map(|w| w.trim_end_matches('.').to_owned())
                    .filter(|w| !w.is_empty())
                    .collect();
            }
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(
            json!({"metadata": {"name": "plain", "namespace": "ns"}, "spec": spec}),
        )
        .expect("a pod")
    }

    fn text(config: &DnsConfig) -> String {
        let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
        format!(
            "{} | {} | {}",
            config.searches.join(" "),
            servers.join(" "),
            config.options.join(" ")
        )
    }

    /// The recorded scenario net-dns-policies.
    #[test]
    fn each_policy_gives_the_recorded_resolv_conf() {
        let resolver = Resolver {
            cluster_dns: vec!["10.96.0.10".parse().expect("ip")],
            cluster_domain: "cluster.local".to_owned(),
            node: parse_resolv_conf(
                "nameserver 192.168.64.53\nsearch example.test\noptions ndots:1\n",
            ),
        };
        let first = "ns.svc.cluster.local svc.cluster.local cluster.local example.test";
        let node = "example.test | 192.168.64.53 | ndots:1".to_owned();
        let rows = [
            (json!({}), format!("{first} | 10.96.0.10 | ndots:5")),
            (json!({"dnsPolicy": "Default"}), node.clone()),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                "a.b | 1.1.1.1 | edns0 ndots:2".to_owned(),
            ),
            (
                json!({"dnsConfig": {"nameservers": ["1.1.1.2"], "searches": ["x.y"],
                "options": [{"name": "ndots", "value": "3"}, {"name": "rotate"}]}}),
                format!("{first} x.y | 10.96.0.10 1.1.1.2 | ndots:3 rotate"),
            ),
            (
                json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"}),
                node,
            ),
            (
                json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                format!("{first} | 10.96.0.10 | ndots:5"),
            ),
        ];
        for (spec, want) in rows {
            let pod = pod(spec.clone());
            let config = dns(&pod, pod.spec.as_ref().expect("spec"), &resolver);
            assert_eq!(text(&config), want, "{spec}");
        }
    }

    /// The recorded scenario net-hostname.
    #[test]
    fn hostnames_are_the_recorded_ones() {
        let fqdn = "hh.sub.ns.svc.cluster.local";
        let rows = [
            (json!({}), "plain", None),
            (
                json!({"hostname": "hh", "subdomain": "sub"}),
                "hh",
                Some(fqdn),
            ),
            (
                json!({"hostname": "hh", "subdomain": "sub", "setHostnameAsFQDN": true}),
                fqdn,
                Some(fqdn),
            ),
            (json!({"hostNetwork": true}), "node1", None),
        ];
        for (spec, name, full) in rows {
            let pod = pod(spec.clone());
            let got = hostname(
                &pod,
                pod.spec.as_ref().expect("spec"),
                "node1",
                "cluster.local",
            );
            assert_eq!(got, (name.to_owned(), full.map(str::to_owned)), "{spec}");
        }
        let mut long = pod(json!({}));
        long.metadata.name = Some(format!("{}-yy", "x".repeat(62)));
        let got = hostname(
            &long,
            long.spec.as_ref().expect("spec"),
            "node1",
            "cluster.local",
        );
        assert_eq!(got.0, "x".repeat(62));
    }
}
