//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod, in the kubelet's and containerd's words.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::config::{DnsConfig, HostAlias, PodNetwork};
use crate::files::{self, Durability};
use crate::layout::Pod;
use crate::status::SandboxStatus;

/// Containers of any user read these files.
const MODE: u32 = 0o644;

pub(super) fn write(pod: &Pod, status: &SandboxStatus) -> io::Result<()> {
    let config = &status.config;
    let write =
        |path: &Path, text: &str| files::write(path, text.as_bytes(), MODE, Durability::Volatile);
    write(&pod.hostname(), &format!("{}\n", config.hostname))?;
    let hosts = match (config.network, status.ip) {
        (PodNetwork::Pod { .. }, Some(ip)) => pod_hosts(
            &ip.to_string(),
            match config.short_name.as_str() {
                "" => &config.hostname,
                short => short,
            },
            config.fqdn.as_deref(),
            &config.host_aliases,
        ),
        _ => node_hosts(
            &fs::read_to_string("/etc/hosts").unwrap_or_default(),
            &config.host_aliases,
        ),
    };
    write(&pod.hosts(), &hosts)?;
    let resolv_conf = match &config.dns {
        Some(dns) => resolv_conf(dns),
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    write(&pod.resolv_conf(), &resolv_conf)
}

fn pod_hosts(ip: &str, hostname: &str, fqdn: Option<&str>, aliases: &[HostAlias]) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
                    127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    fe00::0\tip6-mcastprefix\n\
                    fe00::1\tip6-allnodes\n\
                    fe00::2\tip6-allrouters\n"
        .to_owned();
    let names = fqdn.map_or_else(|| hostname.to_owned(), |fqdn| format!("{fqdn}\t{hostname}"));
    let _ = writeln!(text, "{ip}\t{names}");
    append_aliases(&mut text, aliases);
    text
}

fn node_hosts(node: &str, aliases: &[HostAlias]) -> String {
    let mut text = format!("# Kubernetes-managed hosts file (host network).\n{node}");
    append_aliases(&mut text, aliases);
    text
}

fn append_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
    }
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let alias = HostAlias {
            ip: "1.2.3.4".to_owned(),
            hostnames: vec!["a".to_owned(), "b".to_owned()],
        };
        let text = pod_hosts(
            "10.244.1.2",
            "web",
            Some("web.sub.ns.svc.cluster.local"),
            &[alias],
        );
        assert!(text.ends_with(
            "fe00::2\tip6-allrouters\n10.244.1.2\tweb.sub.ns.svc.cluster.local\tweb\n\n\
             # Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
        ));
        assert!(pod_hosts("10.244.1.2", "web", None, &[]).ends_with("\n10.244.1.2\tweb\n"));
    }

    #[test]
    fn resolver_lines_come_in_containerds_order() {
        let dns = DnsConfig {
            servers: vec!["10.96.0.10".parse().expect("address")],
            searches: vec!["a.svc".to_owned(), "svc".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.svc svc\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
    }
}
