//! A pod's resolver configuration: what `dnsPolicy` and `dnsConfig` make of the node's own.
//!
//! Pure, as upstream's `pkg/kubelet/network/dns`: base by policy, `dnsConfig` on top of it, then the limits. What was
//! left out or replaced is told in [`Formed::notes`], for events in upstream's words. The file itself is written by
//! the runtime.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodDNSConfigOption, PodSpec};
use karve_runtime::DnsConfig;

/// `resolv.conf(5)`: more name servers than these are ignored.
const NAMESERVERS_MAX: usize = 3;
/// Upstream's limits for search paths (KEP-2595).
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;
/// Some resolvers abort on a longer search path (glibc 2.28).
const SEARCH_MAX: usize = 253;
/// What pods that ask the cluster's DNS get.
const NDOTS: &str = "ndots:5";

/// What the cluster and the node give every pod.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// The cluster's DNS server.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The file that holds what the node itself uses.
    pub resolv_conf: std::path::PathBuf,
}

/// A resolver configuration and what a person should know of how it came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formed {
    /// The configuration.
    pub config: DnsConfig,
    /// Reason and text of warnings about the pod.
    pub notes: Vec<(&'static str, String)>,
}

/// What `dnsPolicy` and `dnsConfig` ask for, on a node that itself uses `node`.
pub fn form(pod: &Pod, spec: &PodSpec, resolver: &Resolver, node: DnsConfig) -> Formed {
    let mut formed = base(pod, spec, resolver, node);
    let config = &mut formed.config;
    if let Some(own) = &spec.dns_config {
        let servers = own.nameservers.iter().flatten();
        config
            .servers
            .extend(servers.filter_map(|server| server.parse::<IpAddr>().ok()));
        config
            .searches
            .extend(own.searches.iter().flatten().cloned());
        omit_duplicates(&mut config.servers);
        omit_duplicates(&mut config.searches);
        merge_options(
            &mut config.options,
            own.options.as_deref().unwrap_or_default(),
        );
    }
    bound_servers(&mut formed);
    bound_searches(&mut formed);
    formed
}

fn base(pod: &Pod, spec: &PodSpec, resolver: &Resolver, node: DnsConfig) -> Formed {
    let host_network = spec.host_network == Some(true);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let (config, notes) = match policy {
        "None" => (DnsConfig::default(), Vec::new()),
        "Default" => (node, Vec::new()),
        "ClusterFirst" if host_network => (node, Vec::new()),
        _ if resolver.cluster_dns.is_empty() => (node, vec![missing_cluster_dns(pod, policy)]),
        _ => (cluster_first(pod, resolver, node.searches), Vec::new()),
    };
    Formed { config, notes }
}

fn missing_cluster_dns(pod: &Pod, policy: &str) -> (&'static str, String) {
    let metadata = &pod.metadata;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let named = format!(
        "{}_{}({})",
        text(&metadata.name),
        text(&metadata.namespace),
        text(&metadata.uid)
    );
    let told = format!(
        "pod: {named:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using {policy:?} policy. \
         Falling back to \"Default\" policy."
    );
    ("MissingClusterDNS", told)
}

fn cluster_first(pod: &Pod, resolver: &Resolver, node: Vec<String>) -> DnsConfig {
    let domain = &resolver.cluster_domain;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut searches = match domain.is_empty() {
        true => Vec::new(),
        false => vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ],
    };
    searches.extend(node);
    omit_duplicates(&mut searches);
    DnsConfig {
        servers: resolver.cluster_dns.clone(),
        searches,
        options: vec![NDOTS.to_owned()],
    }
}

fn omit_duplicates<T: Clone + PartialEq>(list: &mut Vec<T>) {
    let mut unique: Vec<T> = Vec::with_capacity(list.len());
    for item in list.drain(..) {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    *list = unique;
}

/// The pod's options replace those of the same name. Upstream's order is that of a map; ours is by name.
fn merge_options(options: &mut Vec<String>, own: &[PodDNSConfigOption]) {
    for option in own {
        let Some(name) = option.name.as_deref() else {
            continue;
        };
        let value = option.value.as_deref().filter(|value| !value.is_empty());
        let text = value.map_or_else(|| name.to_owned(), |value| format!("{name}:{value}"));
        options.retain(|option| option.split(':').next() != Some(name));
        options.push(text);
    }
    options.sort();
}

fn bound_servers(formed: &mut Formed) {
    let servers = &mut formed.config.servers;
    if servers.len() <= NAMESERVERS_MAX {
        return;
    }
    servers.truncate(NAMESERVERS_MAX);
    let line: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    let told = format!(
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
        line.join(" ")
    );
    formed.notes.push(("DNSConfigForming", told));
}

fn bound_searches(formed: &mut Formed) {
    let searches = &mut formed.config.searches;
    let before = searches.len();
    searches.truncate(SEARCHES_MAX);
    searches.retain(|search| search.len() <= SEARCH_MAX);
    let mut chars = 0;
    let fitting = searches.iter().take_while(|search| {
        // The blanks between them count, too.
        chars += search.len() + usize::from(chars > 0);
        chars <= SEARCH_CHARS_MAX
    });
    let fitting = fitting.count();
    searches.truncate(fitting);
    if searches.len() == before {
        return;
    }
    let told = format!(
        "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
        searches.join(" ")
    );
    formed.notes.push(("DNSConfigForming", told));
}

/// Reads a `resolv.conf(5)` as upstream does: the last search line counts, later options replace earlier ones.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config
                .servers
                .extend(words.next().and_then(|w| w.parse::<IpAddr>().ok())),
            Some("search") => {
                config.searches = words
                    .filter(|word| *word != ".")
                    .map(|word| word.strip_suffix('.').unwrap_or(word).to_owned())
                    .collect();
            }
            Some("options") => {
                for word in words {
                    let name = word.split(':').next();
                    config
                        .options
                        .retain(|option| option.split(':').next() != name);
                    config.options.push(word.to_owned());
                }
            }
            _ => {}
        }
    }
    config
}

#[cfg(test)]
mod tests;
